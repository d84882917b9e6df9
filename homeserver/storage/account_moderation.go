package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	updateLocked = database.SQL(`
		UPDATE accounts
		SET locked = $2
		WHERE user_id = $1 AND NOT deactivated`)
	updateSuspended = database.SQL(`
		UPDATE accounts
		SET suspended = $2
		WHERE user_id = $1 AND NOT deactivated`)
	updateErased = database.SQL(`
		UPDATE accounts
		SET erased = TRUE
		WHERE user_id = $1`)
	selectErased = database.SQL(`
		SELECT user_id
		FROM accounts
		WHERE erased
		ORDER BY user_id
		LIMIT 1000000`)
)

// SetLocked reports whether there is such a user, not deactivated.
func (s *Accounts) SetLocked(ctx context.Context, tx *database.Tx, user matrix.UserID, locked bool) (bool, error) {
	n, err := tx.Exec(ctx, updateLocked, user, locked)
	return n > 0, err
}

// SetSuspended reports whether there is such a user, not deactivated.
func (s *Accounts) SetSuspended(ctx context.Context, tx *database.Tx, user matrix.UserID, suspended bool) (bool, error) {
	n, err := tx.Exec(ctx, updateSuspended, user, suspended)
	return n > 0, err
}

// SetErased notes that a user's events are to be forgotten.
func (s *Accounts) SetErased(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, updateErased, user)
	return err
}

// Erased is all users whose events are to be forgotten.
func (s *Accounts) Erased(ctx context.Context) ([]matrix.UserID, error) {
	rows, err := s.db.Read().Query(ctx, selectErased)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []matrix.UserID
	for rows.Next() {
		var user matrix.UserID
		if err := rows.Scan(&user); err != nil {
			return nil, err
		}
		list = append(list, user)
	}
	return list, rows.Err()
}

var (
	upsertConsent = database.SQL(`
		INSERT INTO consents (user_id, policy, version, agreed_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id, policy) DO UPDATE
		SET version = excluded.version, agreed_at = excluded.agreed_at`)
	selectConsents = database.SQL(`
		SELECT policy, version
		FROM consents
		WHERE user_id = $1
		ORDER BY policy
		LIMIT 1000`)
)

// SetConsent notes that a user has agreed to a version of a policy.
func (s *Accounts) SetConsent(ctx context.Context, tx *database.Tx, user matrix.UserID, policy, version string, now int64) error {
	_, err := tx.Exec(ctx, upsertConsent, user, policy, version, now)
	return err
}

// Consents is the versions of policies that a user has agreed to.
func (s *Accounts) Consents(ctx context.Context, user matrix.UserID) (map[string]string, error) {
	rows, err := s.db.Read().Query(ctx, selectConsents, user)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	versions := map[string]string{}
	for rows.Next() {
		var policy, version string
		if err := rows.Scan(&policy, &version); err != nil {
			return nil, err
		}
		versions[policy] = version
	}
	return versions, rows.Err()
}

// OpenIDTokens holds the tokens by which users prove to others who they are.
type OpenIDTokens struct{ db *database.DB }

var (
	insertOpenIDToken = database.SQL(`
		INSERT INTO openid_tokens (token_hash, user_id, expires_at)
		VALUES ($1, $2, $3)`)
	selectOpenIDToken = database.SQL(`
		SELECT user_id
		FROM openid_tokens
		WHERE token_hash = $1 AND expires_at > $2`)
	trimOpenIDTokens = database.SQL(`
		DELETE FROM openid_tokens
		WHERE user_id = $1 AND expires_at < (SELECT expires_at FROM openid_tokens WHERE user_id = $1 ORDER BY expires_at DESC LIMIT 1 OFFSET 99)`)
	deleteOpenIDTokens = database.SQL(`
		DELETE FROM openid_tokens
		WHERE user_id = $1`)
	deleteOldOpenIDTokens = database.SQL(`
		DELETE FROM openid_tokens
		WHERE expires_at <= $1`)
)

// Insert stores a token by its hash. A user has about 100: older ones go.
func (s *OpenIDTokens) Insert(ctx context.Context, tx *database.Tx, hash []byte, user matrix.UserID, expiresAt int64) error {
	if _, err := tx.Exec(ctx, insertOpenIDToken, hash, user, expiresAt); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, trimOpenIDTokens, user)
	return err
}

// User is whose token this is, or empty.
func (s *OpenIDTokens) User(ctx context.Context, hash []byte, now int64) (matrix.UserID, error) {
	var user matrix.UserID
	err := s.db.Read().QueryRow(ctx, selectOpenIDToken, hash, now).Scan(&user)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return user, err
}

// DeleteAll ends all tokens of a user.
func (s *OpenIDTokens) DeleteAll(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deleteOpenIDTokens, user)
	return err
}

// DeleteExpired forgets tokens that are no good any more.
func (s *OpenIDTokens) DeleteExpired(ctx context.Context, tx *database.Tx, now int64) error {
	_, err := tx.Exec(ctx, deleteOldOpenIDTokens, now)
	return err
}
