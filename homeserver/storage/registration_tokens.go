package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
)

// RegistrationTokens holds the tokens that let their holders register.
type RegistrationTokens struct{ db *database.DB }

// A RegistrationToken is one of them.
type RegistrationToken struct {
	Token       string
	UsesAllowed *int64 // nil: any number
	Pending     int64
	Completed   int64
	ExpiresAt   *int64 // Unix ms; nil: never
}

const registrationTokenColumns = `token, uses_allowed, pending, completed, expires_at`

var (
	insertRegistrationToken = database.SQL(`
		INSERT INTO registration_tokens (token, uses_allowed, pending, completed, expires_at)
		VALUES ($1, $2, 0, 0, $3)
		ON CONFLICT (token) DO NOTHING`)
	selectRegistrationToken = database.SQL(`
		SELECT ` + registrationTokenColumns + `
		FROM registration_tokens
		WHERE token = $1`)
	selectRegistrationTokens = database.SQL(`
		SELECT ` + registrationTokenColumns + `
		FROM registration_tokens
		ORDER BY token
		LIMIT $1`)
	updateRegistrationToken = database.SQL(`
		UPDATE registration_tokens
		SET uses_allowed = $2, expires_at = $3
		WHERE token = $1`)
	useRegistrationToken = database.SQL(`
		UPDATE registration_tokens
		SET completed = completed + 1
		WHERE token = $1 AND (uses_allowed IS NULL OR pending + completed < uses_allowed)
			AND (expires_at IS NULL OR expires_at > $2)`)
	deleteRegistrationToken = database.SQL(`
		DELETE FROM registration_tokens
		WHERE token = $1`)
)

// Insert stores a token; false if there is one of that text.
func (s *RegistrationTokens) Insert(ctx context.Context, tx *database.Tx, t RegistrationToken) (bool, error) {
	n, err := tx.Exec(ctx, insertRegistrationToken, t.Token, t.UsesAllowed, t.ExpiresAt)
	return n > 0, err
}

// Find is a token, or nil.
func (s *RegistrationTokens) Find(ctx context.Context, q database.Querier, token string) (*RegistrationToken, error) {
	var t RegistrationToken
	err := q.QueryRow(ctx, selectRegistrationToken, token).Scan(&t.Token, &t.UsesAllowed, &t.Pending, &t.Completed, &t.ExpiresAt)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// List is the first tokens, by their texts.
func (s *RegistrationTokens) List(ctx context.Context, limit int) ([]RegistrationToken, error) {
	rows, err := s.db.Read().Query(ctx, selectRegistrationTokens, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []RegistrationToken
	for rows.Next() {
		var t RegistrationToken
		if err := rows.Scan(&t.Token, &t.UsesAllowed, &t.Pending, &t.Completed, &t.ExpiresAt); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// Update sets how often and how long a token lets register.
func (s *RegistrationTokens) Update(ctx context.Context, tx *database.Tx, t RegistrationToken) error {
	_, err := tx.Exec(ctx, updateRegistrationToken, t.Token, t.UsesAllowed, t.ExpiresAt)
	return err
}

// Use takes one use of a token; false if it has none left.
func (s *RegistrationTokens) Use(ctx context.Context, tx *database.Tx, token string, now int64) (bool, error) {
	n, err := tx.Exec(ctx, useRegistrationToken, token, now)
	return n > 0, err
}

// Delete reports whether there was such a token.
func (s *RegistrationTokens) Delete(ctx context.Context, tx *database.Tx, token string) (bool, error) {
	n, err := tx.Exec(ctx, deleteRegistrationToken, token)
	return n > 0, err
}
