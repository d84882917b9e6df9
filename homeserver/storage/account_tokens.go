package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Tokens holds access and refresh tokens, by their SHA-256 hashes.
type Tokens struct{ db *database.DB }

// A Token is an access token.
type Token struct {
	ID        int64
	UserID    matrix.UserID
	DeviceID  matrix.DeviceID
	RefreshID int64 // of the refresh token that came with it, or 0
	ExpiresAt int64 // Unix ms; 0: never
	Replaces  int64 // the refresh token that ends when this one is used, or 0

	Guest, Admin, Deactivated, Locked, Suspended bool // of the account
}

// A RefreshToken can be turned into a new access token.
type RefreshToken struct {
	ID       int64
	UserID   matrix.UserID
	DeviceID matrix.DeviceID
	Replaces int64 // the refresh token that ends when this one is used, or 0
}

var (
	insertToken = database.SQL(`
		INSERT INTO access_tokens (token_hash, token_id, user_id, device_id, refresh_id, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6)`)
	selectToken = database.SQL(`
		SELECT t.token_id, t.user_id, t.device_id, COALESCE(t.refresh_id, 0), COALESCE(t.expires_at, 0),
			COALESCE(r.replaces_id, 0), a.guest, a.admin, a.deactivated, a.locked, a.suspended
		FROM access_tokens t
		JOIN accounts a ON a.user_id = t.user_id
		LEFT JOIN refresh_tokens r ON r.refresh_id = t.refresh_id
		WHERE t.token_hash = $1`)
	deleteDeviceTokens = database.SQL(`
		DELETE FROM access_tokens
		WHERE user_id = $1 AND device_id = ANY($2)`)
	deleteTokensOfRefresh = database.SQL(`
		DELETE FROM access_tokens
		WHERE refresh_id = $1`)
	deleteTokensReplacing = database.SQL(`
		DELETE FROM access_tokens
		WHERE refresh_id IN (SELECT refresh_id FROM refresh_tokens WHERE replaces_id = $1)`)

	insertRefreshToken = database.SQL(`
		INSERT INTO refresh_tokens (refresh_id, token_hash, user_id, device_id, replaces_id)
		VALUES ($1, $2, $3, $4, $5)`)
	selectRefreshToken = database.SQL(`
		SELECT refresh_id, user_id, device_id, COALESCE(replaces_id, 0)
		FROM refresh_tokens
		WHERE token_hash = $1`)
	deleteDeviceRefreshTokens = database.SQL(`
		DELETE FROM refresh_tokens
		WHERE user_id = $1 AND device_id = ANY($2)`)
	deleteRefreshToken = database.SQL(`
		DELETE FROM refresh_tokens
		WHERE refresh_id = $1`)
	deleteRefreshReplacing = database.SQL(`
		DELETE FROM refresh_tokens
		WHERE replaces_id = $1`)
	clearReplaces = database.SQL(`
		UPDATE refresh_tokens
		SET replaces_id = NULL
		WHERE replaces_id = $1`)

	insertSpentToken = database.SQL(`
		INSERT INTO oauth_spent_tokens (token_hash, user_id, device_id, refresh_id)
		SELECT r.token_hash, r.user_id, r.device_id, r.refresh_id
		FROM refresh_tokens r
		JOIN oauth_sessions s ON s.user_id = r.user_id AND s.device_id = r.device_id
		WHERE r.refresh_id = $1
		ON CONFLICT DO NOTHING`)
	trimSpentTokens = database.SQL(`
		DELETE FROM oauth_spent_tokens
		WHERE user_id = (SELECT user_id FROM oauth_spent_tokens WHERE refresh_id = $1)
			AND device_id = (SELECT device_id FROM oauth_spent_tokens WHERE refresh_id = $1)
			AND refresh_id < (
				SELECT old.refresh_id
				FROM oauth_spent_tokens new
				JOIN oauth_spent_tokens old ON old.user_id = new.user_id AND old.device_id = new.device_id
				WHERE new.refresh_id = $1
				ORDER BY old.refresh_id DESC
				LIMIT 1 OFFSET 100)`)
	deleteDeviceSpentTokens = database.SQL(`
		DELETE FROM oauth_spent_tokens
		WHERE user_id = $1 AND device_id = ANY($2)`)
	deleteDeviceOAuthSessions = database.SQL(`
		DELETE FROM oauth_sessions
		WHERE user_id = $1 AND device_id = ANY($2)`)
)

// Insert stores an access token.
func (s *Tokens) Insert(ctx context.Context, tx *database.Tx, hash []byte, t Token) error {
	_, err := tx.Exec(ctx, insertToken, hash, t.ID, t.UserID, t.DeviceID, accountNumber(t.RefreshID), accountNumber(t.ExpiresAt))
	return err
}

// Find is the access token with this hash, or nil.
func (s *Tokens) Find(ctx context.Context, hash []byte) (*Token, error) {
	var t Token
	err := s.db.Read().QueryRow(ctx, selectToken, hash).
		Scan(&t.ID, &t.UserID, &t.DeviceID, &t.RefreshID, &t.ExpiresAt, &t.Replaces, &t.Guest, &t.Admin, &t.Deactivated, &t.Locked, &t.Suspended)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// InsertRefresh stores a refresh token.
func (s *Tokens) InsertRefresh(ctx context.Context, tx *database.Tx, hash []byte, r RefreshToken) error {
	_, err := tx.Exec(ctx, insertRefreshToken, r.ID, hash, r.UserID, r.DeviceID, accountNumber(r.Replaces))
	return err
}

// FindRefresh is the refresh token with this hash, or nil.
func (s *Tokens) FindRefresh(ctx context.Context, q database.Querier, hash []byte) (*RefreshToken, error) {
	var r RefreshToken
	err := q.QueryRow(ctx, selectRefreshToken, hash).Scan(&r.ID, &r.UserID, &r.DeviceID, &r.Replaces)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// DeleteOfDevices ends all tokens of devices, and what is known of how they
// were got.
func (s *Tokens) DeleteOfDevices(ctx context.Context, tx *database.Tx, user matrix.UserID, devices []matrix.DeviceID) error {
	for _, stmt := range []*database.Statement{deleteDeviceTokens, deleteDeviceRefreshTokens, deleteDeviceSpentTokens, deleteDeviceOAuthSessions, deleteDeviceSSOSessions} {
		if _, err := tx.Exec(ctx, stmt, user, devices); err != nil {
			return err
		}
	}
	return nil
}

// Retire ends a refresh token whose successor has been used, and the access
// tokens that came with it. Of those that came by OAuth the last hundred of a
// device are remembered: they are signs of theft.
func (s *Tokens) Retire(ctx context.Context, tx *database.Tx, refreshID int64) error {
	for _, stmt := range []*database.Statement{insertSpentToken, trimSpentTokens, deleteTokensOfRefresh, deleteRefreshToken, clearReplaces} {
		if _, err := tx.Exec(ctx, stmt, refreshID); err != nil {
			return err
		}
	}
	return nil
}

// DropSuccessors ends what was given out for a refresh token and never used.
func (s *Tokens) DropSuccessors(ctx context.Context, tx *database.Tx, refreshID int64) error {
	if _, err := tx.Exec(ctx, deleteTokensReplacing, refreshID); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, deleteRefreshReplacing, refreshID)
	return err
}

// accountNumber is a number column that is NULL instead of 0.
func accountNumber(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

// AuthSessions holds unfinished sessions of user-interactive authentication.
type AuthSessions struct{ db *database.DB }

var (
	insertAuthSession = database.SQL(`
		INSERT INTO auth_sessions (session_id, completed, started_at)
		VALUES ($1, $2, $3)
		ON CONFLICT (session_id) DO NOTHING`)
	updateAuthSession = database.SQL(`
		UPDATE auth_sessions
		SET completed = $3
		WHERE session_id = $1 AND completed = $2`)
	selectAuthSession = database.SQL(`
		SELECT completed
		FROM auth_sessions
		WHERE session_id = $1 AND started_at >= $2`)
	deleteAuthSession = database.SQL(`
		DELETE FROM auth_sessions
		WHERE session_id = $1`)
	deleteOldAuthSessions = database.SQL(`
		DELETE FROM auth_sessions
		WHERE started_at < $1`)
	trimAuthSessions = database.SQL(`
		DELETE FROM auth_sessions
		WHERE started_at < (SELECT started_at FROM auth_sessions ORDER BY started_at DESC LIMIT 1 OFFSET 10000)`)
)

// Begin keeps what a session has completed first, as JSON, and reports false if something is
// kept already. The 10,000 sessions that began last are kept.
func (s *AuthSessions) Begin(ctx context.Context, tx *database.Tx, session, completed string, now int64) (bool, error) {
	n, err := tx.Exec(ctx, insertAuthSession, session, completed, now)
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, trimAuthSessions)
	return n > 0, err
}

// Advance keeps what a session has completed now, and reports false if what was kept is not
// what it was before any more.
func (s *AuthSessions) Advance(ctx context.Context, tx *database.Tx, session, before, completed string) (bool, error) {
	n, err := tx.Exec(ctx, updateAuthSession, session, before, completed)
	return n > 0, err
}

// Completed is what was saved of a session that began after the time, or
// empty.
func (s *AuthSessions) Completed(ctx context.Context, session string, since int64) (string, error) {
	var completed string
	err := s.db.Read().QueryRow(ctx, selectAuthSession, session, since).Scan(&completed)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return completed, err
}

// Delete forgets a session, and those from before a time. It reports whether there was that one.
func (s *AuthSessions) Delete(ctx context.Context, tx *database.Tx, session string, before int64) (bool, error) {
	n, err := tx.Exec(ctx, deleteAuthSession, session)
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, deleteOldAuthSessions, before)
	return n > 0, err
}
