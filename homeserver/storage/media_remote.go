package storage

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Media of other servers, which these have still. Hidden and protected ones are the operators' business, and do
// not count.

const remote = `origin <> $1 AND user_id IS NULL AND hash IS NOT NULL AND quarantined_by IS NULL AND NOT protected`

var (
	sumRemoteMedia = database.SQL(`
		SELECT COALESCE(SUM(size), 0)::BIGINT
		FROM media
		WHERE ` + remote)
	selectOldestRemote = database.SQL(`
		SELECT origin, media_id, size
		FROM media
		WHERE ` + remote + `
		ORDER BY COALESCE(used_at, created_at), origin, media_id
		LIMIT $2`)
)

// A RemoteMedia is one of them.
type RemoteMedia struct {
	MediaID
	Size int64
}

// SizeOfRemote is how many bytes they have.
func (s *Media) SizeOfRemote(ctx context.Context, server matrix.ServerName) (int64, error) {
	var n int64
	err := s.db.Read().QueryRow(ctx, sumRemoteMedia, server).Scan(&n)
	return n, err
}

// OldestRemote is some of them, those first that nobody has asked for longest.
func (s *Media) OldestRemote(ctx context.Context, server matrix.ServerName, limit int) ([]RemoteMedia, error) {
	rows, err := s.db.Read().Query(ctx, selectOldestRemote, server, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []RemoteMedia
	for rows.Next() {
		var m RemoteMedia
		if err := rows.Scan(&m.Origin, &m.ID, &m.Size); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.Err()
}
