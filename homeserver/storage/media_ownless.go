package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Media of our own that no user has uploaded: what this server has fetched for
// its users. Hidden and protected ones are the operators' business, and do not
// count.

const ownless = `origin = $1 AND user_id IS NULL AND hash IS NOT NULL AND quarantined_by IS NULL AND NOT protected`

var (
	sumOwnlessMedia = database.SQL(`
		SELECT COALESCE(SUM(size), 0)::BIGINT
		FROM media
		WHERE ` + ownless)
	selectOldestOwnless = database.SQL(`
		SELECT media_id, size
		FROM media
		WHERE ` + ownless + `
		ORDER BY COALESCE(used_at, created_at), media_id
		LIMIT $2`)
	selectOwnlessOfHash = database.SQL(`
		SELECT media_id
		FROM media
		WHERE ` + ownless + ` AND hash = $2 AND content_type = $3
		ORDER BY media_id
		LIMIT 1`)
)

// An OwnlessMedia is one of them.
type OwnlessMedia struct {
	ID   string
	Size int64
}

// SizeOfOwnless is how many bytes they have.
func (s *Media) SizeOfOwnless(ctx context.Context, server matrix.ServerName) (int64, error) {
	var n int64
	err := s.db.Read().QueryRow(ctx, sumOwnlessMedia, server).Scan(&n)
	return n, err
}

// OldestOwnless is some of them, those first that nobody has asked for longest.
func (s *Media) OldestOwnless(ctx context.Context, server matrix.ServerName, limit int) ([]OwnlessMedia, error) {
	rows, err := s.db.Read().Query(ctx, selectOldestOwnless, server, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []OwnlessMedia
	for rows.Next() {
		var m OwnlessMedia
		if err := rows.Scan(&m.ID, &m.Size); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

// OwnlessOf is the ID of one of them that has this content, or empty.
func (s *Media) OwnlessOf(ctx context.Context, q database.Querier, server matrix.ServerName, hash []byte, contentType string) (string, error) {
	var id string
	err := q.QueryRow(ctx, selectOwnlessOfHash, server, hash, contentType).Scan(&id)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return id, err
}
