package storage

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// What becomes of media after their upload: protection, deletion.

// MediaID names media.
type MediaID struct {
	Origin matrix.ServerName
	ID     string
}

// StaleMedia says which media may go.
type StaleMedia struct {
	Server  matrix.ServerName // ours
	Remote  bool              // those of other servers, else our own
	Ownless bool              // only those of our own that no user has uploaded
	Before  int64             // not used since, Unix ms
	MinSize int64             // bytes
	Keep    bool              // not those that are an avatar of a local user
	Limit   int
}

var (
	touchMedia = database.SQL(`
		UPDATE media
		SET used_at = $3
		WHERE origin = $1 AND media_id = $2`)
	protectMedia = database.SQL(`
		UPDATE media
		SET protected = $3
		WHERE origin = $1 AND media_id = $2`)
	selectMediaOfUser = database.SQL(`
		SELECT origin, media_id, COALESCE(hash, $4), size, content_type, file_name, created_at, COALESCE(used_at, 0),
			COALESCE(quarantined_by, ''), protected
		FROM media
		WHERE user_id = $1
		ORDER BY created_at, media_id
		LIMIT $2 OFFSET $3`)
	countMediaOfUser = database.SQL(`
		SELECT COUNT(*)
		FROM media
		WHERE user_id = $1`)
	deleteMedia = database.SQL(`
		DELETE FROM media
		WHERE origin = $1 AND media_id = $2`)
	selectStaleMedia = database.SQL(`
		SELECT origin, media_id
		FROM media
		WHERE hash IS NOT NULL AND (origin = $1) <> $2 AND (user_id IS NULL OR NOT $3) AND size >= $4
			AND COALESCE(used_at, created_at) < $5 AND quarantined_by IS NULL AND NOT protected
			AND (NOT $6 OR NOT EXISTS (
				SELECT 1
				FROM user_directory d
				WHERE d.avatar_url = 'mxc://' || media.origin || '/' || media.media_id))
		ORDER BY origin, media_id
		LIMIT $7`)
	selectFileInUse = database.SQL(`
		SELECT 1
		WHERE EXISTS (SELECT 1 FROM media WHERE hash = $1)
			OR EXISTS (SELECT 1 FROM media_thumbnails WHERE thumbnail_hash = $1)`)
	selectMediaInUse = database.SQL(`
		SELECT 1
		WHERE EXISTS (SELECT 1 FROM media WHERE hash = $1)`)
	selectThumbnailFiles = database.SQL(`
		SELECT thumbnail_hash
		FROM media_thumbnails
		WHERE hash = $1
		ORDER BY thumbnail_hash
		LIMIT 1000`)
	deleteThumbnails = database.SQL(`
		DELETE FROM media_thumbnails
		WHERE hash = $1`)
)

// Touch notes when media were asked for.
func (s *Media) Touch(ctx context.Context, tx *database.Tx, id MediaID, now int64) error {
	_, err := tx.Exec(ctx, touchMedia, id.Origin, id.ID, now)
	return err
}

// Protect keeps media from being hidden, or no longer.
func (s *Media) Protect(ctx context.Context, tx *database.Tx, id MediaID, protected bool) (bool, error) {
	n, err := tx.Exec(ctx, protectMedia, id.Origin, id.ID, protected)
	return n > 0, err
}

// OfUser is a page of what a user has uploaded, oldest first, and how many there are.
func (s *Media) OfUser(ctx context.Context, user matrix.UserID, from, limit int64) (list []MediaEntry, total int64, err error) {
	if err := s.db.Read().QueryRow(ctx, countMediaOfUser, user).Scan(&total); err != nil {
		return nil, 0, err
	}
	rows, err := s.db.Read().Query(ctx, selectMediaOfUser, user, limit, from, []byte{})
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		m := MediaEntry{User: user}
		if err := rows.Scan(&m.Origin, &m.ID, &m.Hash, &m.Size, &m.ContentType, &m.FileName, &m.CreatedAt, &m.UsedAt,
			&m.QuarantinedBy, &m.Protected); err != nil {
			return nil, 0, err
		}
		list = append(list, m)
	}
	return list, total, rows.Err()
}

// Delete forgets media; false if there are none of that ID.
func (s *Media) Delete(ctx context.Context, tx *database.Tx, id MediaID) (bool, error) {
	n, err := tx.Exec(ctx, deleteMedia, id.Origin, id.ID)
	return n > 0, err
}

// Stale is some of the media that may go.
func (s *Media) Stale(ctx context.Context, q StaleMedia) ([]MediaID, error) {
	rows, err := s.db.Read().Query(ctx, selectStaleMedia, q.Server, q.Remote, q.Ownless, q.MinSize, q.Before, q.Keep, q.Limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []MediaID
	for rows.Next() {
		var id MediaID
		if err := rows.Scan(&id.Origin, &id.ID); err != nil {
			return nil, err
		}
		list = append(list, id)
	}
	return list, rows.Err()
}

// FileInUse reports whether a file is any media or thumbnail.
func (s *Media) FileInUse(ctx context.Context, q database.Querier, hash []byte) (bool, error) {
	return exists(ctx, q, selectFileInUse, hash)
}

// DropThumbnails forgets the thumbnails of a picture that is no media any
// more, and returns their files.
func (s *Media) DropThumbnails(ctx context.Context, tx *database.Tx, hash []byte) ([][]byte, error) {
	if used, err := exists(ctx, tx, selectMediaInUse, hash); err != nil || used {
		return nil, err
	}
	rows, err := tx.Query(ctx, selectThumbnailFiles, hash)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var files [][]byte
	for rows.Next() {
		var file []byte
		if err := rows.Scan(&file); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows.Close()
	_, err = tx.Exec(ctx, deleteThumbnails, hash)
	return files, err
}

// exists reports whether a statement has a row.
func exists(ctx context.Context, q database.Querier, stmt *database.Statement, args ...any) (bool, error) {
	rows, err := q.Query(ctx, stmt, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	return rows.Next(), rows.Err()
}
