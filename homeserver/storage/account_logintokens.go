package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// LoginTokens holds the tokens that log in once, by their SHA-256 hashes.
type LoginTokens struct{ db *database.DB }

var (
	insertLoginToken = database.SQL(`
		INSERT INTO login_tokens (token_hash, user_id, issuer, subject, session, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6)`)
	selectLoginToken = database.SQL(`
		SELECT user_id, issuer, subject, session
		FROM login_tokens
		WHERE token_hash = $1 AND expires_at > $2`)
	deleteLoginToken = database.SQL(`
		DELETE FROM login_tokens
		WHERE token_hash = $1`)
	deleteOldLoginTokens = database.SQL(`
		DELETE FROM login_tokens
		WHERE expires_at <= $1`)
	deleteUsersLoginTokens = database.SQL(`
		DELETE FROM login_tokens
		WHERE user_id = $1`)
)

// Insert stores a token, of a login at another place if it has come of one, and
// deletes those that have expired by now.
func (s *LoginTokens) Insert(ctx context.Context, tx *database.Tx, hash []byte, user matrix.UserID, of SSOSession, expiresAt, now int64) error {
	if _, err := tx.Exec(ctx, deleteOldLoginTokens, now); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, insertLoginToken, hash, user, of.Issuer, of.Subject, of.Session, expiresAt)
	return err
}

// Find is whose a token is that has not expired by now, or empty, and of which
// login it has come.
func (s *LoginTokens) Find(ctx context.Context, hash []byte, now int64) (user matrix.UserID, of SSOSession, err error) {
	err = s.db.Read().QueryRow(ctx, selectLoginToken, hash, now).Scan(&user, &of.Issuer, &of.Subject, &of.Session)
	if errors.Is(err, database.ErrNoRows) {
		return "", of, nil
	}
	return user, of, err
}

// Use deletes a token; false if it was used before.
func (s *LoginTokens) Use(ctx context.Context, tx *database.Tx, hash []byte) (bool, error) {
	n, err := tx.Exec(ctx, deleteLoginToken, hash)
	return n > 0, err
}

// DeleteOfUser deletes all tokens of a user.
func (s *LoginTokens) DeleteOfUser(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deleteUsersLoginTokens, user)
	return err
}
