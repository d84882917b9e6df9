package storage

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/internal/database"
)

// Previews holds what pages say about themselves.
type Previews struct{ db *database.DB }

// NewPreviews prepares the subject.
func NewPreviews(db *database.DB) *Previews { return &Previews{db: db} }

// A Preview is the answer to one URL.
type Preview struct {
	Hash      []byte // SHA-256 of the URL
	URL       string
	Answer    []byte // JSON
	FetchedAt int64
	ExpiresAt int64
}

var (
	upsertPreview = database.SQL(`
		INSERT INTO url_previews (url_hash, url, answer, fetched_at, expires_at)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (url_hash) DO UPDATE
		SET answer = excluded.answer, fetched_at = excluded.fetched_at, expires_at = excluded.expires_at`)
	selectPreview = database.SQL(`
		SELECT answer
		FROM url_previews
		WHERE url_hash = $1 AND expires_at > $2`)
	deleteExpiredPreviews = database.SQL(`
		DELETE FROM url_previews
		WHERE url_hash IN (
			SELECT url_hash
			FROM url_previews
			WHERE expires_at <= $1
			ORDER BY expires_at
			LIMIT $2)`)
	deleteOldestPreviews = database.SQL(`
		DELETE FROM url_previews
		WHERE url_hash IN (
			SELECT url_hash
			FROM url_previews
			ORDER BY fetched_at DESC, url_hash DESC
			LIMIT $2 OFFSET $1)`)
)

// Set stores an answer, in place of an older one.
func (s *Previews) Set(ctx context.Context, tx *database.Tx, p Preview) error {
	_, err := tx.Exec(ctx, upsertPreview, p.Hash, p.URL, p.Answer, p.FetchedAt, p.ExpiresAt)
	return err
}

// Find is an answer that has not expired, or nil.
func (s *Previews) Find(ctx context.Context, hash []byte, now int64) (json.RawMessage, error) {
	var answer []byte
	err := s.db.Read().QueryRow(ctx, selectPreview, hash, now).Scan(&answer)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return answer, err
}

// DeleteExpired removes some of the answers that have expired, and says how many.
func (s *Previews) DeleteExpired(ctx context.Context, tx *database.Tx, now int64, limit int) (int64, error) {
	return tx.Exec(ctx, deleteExpiredPreviews, now, limit)
}

// DeleteOldest removes some of the answers beyond the newest ones, and says how many.
func (s *Previews) DeleteOldest(ctx context.Context, tx *database.Tx, newest, limit int) (int64, error) {
	return tx.Exec(ctx, deleteOldestPreviews, newest, limit)
}
