package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// ServerKeys holds what other servers sign with.
type ServerKeys struct{ db *database.DB }

// NewServerKeys prepares the subject.
func NewServerKeys(db *database.DB) *ServerKeys { return &ServerKeys{db: db} }

// A ServerKey is a public key of a server.
type ServerKey struct {
	ID         matrix.KeyID
	Public     []byte
	ValidUntil int64
	Current    bool // it may sign requests, too
}

// A ServerKeyAnswer is what a server said last about its keys.
type ServerKeyAnswer struct {
	Server     matrix.ServerName
	Answer     []byte // JSON, signed; nil: none is known
	FetchedAt  int64
	ValidUntil int64
	Kept       bool // an event was verified with one of the keys
}

var (
	upsertServerKey = database.SQL(`
		INSERT INTO server_keys (server_name, key_id, public_key, valid_until, current)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (server_name, key_id) DO UPDATE
		SET public_key = excluded.public_key, valid_until = excluded.valid_until, current = excluded.current`)
	selectServerKeys = database.SQL(`
		SELECT key_id, public_key, valid_until, current
		FROM server_keys
		WHERE server_name = $1
		ORDER BY valid_until DESC, key_id
		LIMIT $2`)
	deleteOldestServerKeys = database.SQL(`
		DELETE FROM server_keys
		WHERE server_name = $1 AND key_id IN (
			SELECT key_id
			FROM server_keys
			WHERE server_name = $1
			ORDER BY valid_until DESC, key_id
			LIMIT 1000 OFFSET $2)`)
	upsertServerKeyAnswer = database.SQL(`
		INSERT INTO server_key_answers (server_name, answer, fetched_at, valid_until, kept)
		VALUES ($1, $2, $3, $4, FALSE)
		ON CONFLICT (server_name) DO UPDATE
		SET answer = excluded.answer, fetched_at = excluded.fetched_at, valid_until = excluded.valid_until`)
	selectServerKeyAnswer = database.SQL(`
		SELECT answer, fetched_at, valid_until, kept
		FROM server_key_answers
		WHERE server_name = $1`)
	keepServerKeys = database.SQL(`
		UPDATE server_key_answers
		SET kept = TRUE
		WHERE server_name = $1`)
	selectStaleServerKeys = database.SQL(`
		SELECT server_name
		FROM server_key_answers
		WHERE NOT kept AND fetched_at < $1
		ORDER BY fetched_at, server_name
		LIMIT $2`)
	selectOldestServerKeys = database.SQL(`
		SELECT server_name
		FROM server_key_answers
		WHERE NOT kept
		ORDER BY fetched_at DESC, server_name DESC
		LIMIT $2 OFFSET $1`)
	deleteServerKeys = database.SQL(`
		DELETE FROM server_keys
		WHERE server_name = $1`)
	deleteServerKeyAnswer = database.SQL(`
		DELETE FROM server_key_answers
		WHERE server_name = $1 AND NOT kept`)
)

// Save stores an answer, and the keys that are told of in it in place of those with their IDs. Of all keys
// of the server the newest so many stay.
func (s *ServerKeys) Save(ctx context.Context, tx *database.Tx, a ServerKeyAnswer, keys []ServerKey, most int) error {
	if _, err := tx.Exec(ctx, upsertServerKeyAnswer, a.Server, a.Answer, a.FetchedAt, a.ValidUntil); err != nil {
		return err
	}
	for _, key := range keys {
		if _, err := tx.Exec(ctx, upsertServerKey, a.Server, key.ID, key.Public, key.ValidUntil, key.Current); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, deleteOldestServerKeys, a.Server, most)
	return err
}

// Answer is the last answer of a server.
func (s *ServerKeys) Answer(ctx context.Context, q database.Querier, server matrix.ServerName) (ServerKeyAnswer, error) {
	a := ServerKeyAnswer{Server: server}
	err := q.QueryRow(ctx, selectServerKeyAnswer, server).Scan(&a.Answer, &a.FetchedAt, &a.ValidUntil, &a.Kept)
	if errors.Is(err, database.ErrNoRows) {
		return a, nil
	}
	return a, err
}

// Keys is the keys of a server that were valid last.
func (s *ServerKeys) Keys(ctx context.Context, q database.Querier, server matrix.ServerName, limit int) ([]ServerKey, error) {
	rows, err := q.Query(ctx, selectServerKeys, server, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []ServerKey
	for rows.Next() {
		var key ServerKey
		if err := rows.Scan(&key.ID, &key.Public, &key.ValidUntil, &key.Current); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// Keep has the keys of a server stay.
func (s *ServerKeys) Keep(ctx context.Context, tx *database.Tx, server matrix.ServerName) error {
	_, err := tx.Exec(ctx, keepServerKeys, server)
	return err
}

// DeleteStale forgets some servers that have not been asked since a time, or that are not among the newest so
// many, and whose keys verify nothing that is here; it says how many.
func (s *ServerKeys) DeleteStale(ctx context.Context, tx *database.Tx, before int64, newest, limit int) (int, error) {
	stale, err := s.names(ctx, tx, selectStaleServerKeys, before, limit)
	if err != nil {
		return 0, err
	}
	oldest, err := s.names(ctx, tx, selectOldestServerKeys, newest, limit)
	if err != nil {
		return 0, err
	}
	for _, name := range append(stale, oldest...) {
		if _, err := tx.Exec(ctx, deleteServerKeys, name); err != nil {
			return 0, err
		}
		if _, err := tx.Exec(ctx, deleteServerKeyAnswer, name); err != nil {
			return 0, err
		}
	}
	return len(stale) + len(oldest), nil
}

func (s *ServerKeys) names(ctx context.Context, q database.Querier, stmt *database.Statement, args ...any) ([]matrix.ServerName, error) {
	rows, err := q.Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []matrix.ServerName
	for rows.Next() {
		var name matrix.ServerName
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}
