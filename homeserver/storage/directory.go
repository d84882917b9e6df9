package storage

import (
	"context"
	"strings"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Directory holds what the user directory shows.
type Directory struct {
	db *database.DB
}

// A DirectoryUser is a hit in the user directory.
type DirectoryUser struct {
	UserID      matrix.UserID
	DisplayName string
	AvatarURL   string
}

var (
	upsertDirectoryUser = database.SQL(`
		INSERT INTO user_directory (user_id, display_name, avatar_url, search)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id) DO UPDATE
		SET display_name = excluded.display_name, avatar_url = excluded.avatar_url, search = excluded.search`)
	deleteDirectoryUser = database.SQL(`
		DELETE FROM user_directory
		WHERE user_id = $1`)
	// Users whom the searcher shares a room with, and members of rooms that anybody can see or
	// join, the searcher among them.
	searchDirectory = database.SQL(`
		SELECT d.user_id, COALESCE(d.display_name, ''), COALESCE(d.avatar_url, '')
		FROM user_directory d
		JOIN user_ids u ON u.user_id = d.user_id
		WHERE d.search LIKE $1 ESCAPE '!' AND EXISTS (
			SELECT 1
			FROM memberships m
			JOIN rooms r ON r.room_nid = m.room_nid
			WHERE m.user_nid = u.user_nid AND m.membership = 'join' AND (
				r.join_rule = 'public' OR r.world_readable OR EXISTS (
					SELECT 1
					FROM memberships mine
					JOIN user_ids me ON me.user_nid = mine.user_nid
					WHERE me.user_id = $2 AND me.user_nid <> m.user_nid
						AND mine.room_nid = m.room_nid AND mine.membership = 'join')))
		ORDER BY d.user_id
		LIMIT $3`)
)

// Set stores what the directory shows of a user.
func (s *Directory) Set(ctx context.Context, tx *database.Tx, u DirectoryUser) error {
	search := strings.ToLower(string(u.UserID) + "\n" + u.DisplayName)
	_, err := tx.Exec(ctx, upsertDirectoryUser, string(u.UserID), optional(u.DisplayName), optional(u.AvatarURL), search)
	return err
}

// Remove takes a user out.
func (s *Directory) Remove(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deleteDirectoryUser, string(user))
	return err
}

// Search is up to limit users, visible to the searcher, whose ID or name contains the text.
func (s *Directory) Search(ctx context.Context, searcher matrix.UserID, text string, limit int) ([]DirectoryUser, error) {
	rows, err := s.db.Read().Query(ctx, searchDirectory, likePattern(text), string(searcher), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []DirectoryUser
	for rows.Next() {
		var id string
		var u DirectoryUser
		if err := rows.Scan(&id, &u.DisplayName, &u.AvatarURL); err != nil {
			return nil, err
		}
		u.UserID = matrix.UserID(id)
		list = append(list, u)
	}
	return list, rows.Err()
}
