package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// An OAuthBrowser is a browser in which somebody has signed in.
type OAuthBrowser struct {
	UserID    matrix.UserID
	Since     int64 // Unix ms
	ExpiresAt int64 // Unix ms
	Suspended bool  // the account
}

var (
	insertOAuthBrowser = database.SQL(`
		INSERT INTO oauth_browsers (cookie_hash, user_id, since, expires_at)
		VALUES ($1, $2, $3, $4)`)
	trimOAuthBrowsers = database.SQL(`
		DELETE FROM oauth_browsers
		WHERE user_id = $1 AND since < (
			SELECT since
			FROM oauth_browsers
			WHERE user_id = $1
			ORDER BY since DESC
			LIMIT 1 OFFSET 50)`)
	selectOAuthBrowser = database.SQL(`
		SELECT b.user_id, b.since, b.expires_at, a.suspended
		FROM oauth_browsers b
		JOIN accounts a ON a.user_id = b.user_id
		WHERE b.cookie_hash = $1 AND b.expires_at > $2 AND NOT a.deactivated AND NOT a.locked`)
	deleteOAuthBrowser = database.SQL(`
		DELETE FROM oauth_browsers
		WHERE cookie_hash = $1`)
	deleteOldOAuthBrowsers = database.SQL(`
		DELETE FROM oauth_browsers
		WHERE expires_at < $1`)
	deleteUsersOAuthBrowsers = database.SQL(`
		DELETE FROM oauth_browsers
		WHERE user_id = $1`)

	upsertOAuthReset = database.SQL(`
		INSERT INTO oauth_resets (user_id, expires_at)
		VALUES ($1, $2)
		ON CONFLICT (user_id) DO UPDATE
		SET expires_at = excluded.expires_at`)
	takeOAuthReset = database.SQL(`
		DELETE FROM oauth_resets
		WHERE user_id = $1 AND expires_at > $2`)
	deleteOldOAuthResets = database.SQL(`
		DELETE FROM oauth_resets
		WHERE expires_at <= $1`)
	deleteUsersOAuthResets = database.SQL(`
		DELETE FROM oauth_resets
		WHERE user_id = $1`)
)

// SaveBrowser notes that somebody has signed in. The 50 last browsers of a
// user are kept.
func (s *OAuth) SaveBrowser(ctx context.Context, tx *database.Tx, cookie []byte, b OAuthBrowser) error {
	if _, err := tx.Exec(ctx, insertOAuthBrowser, cookie, b.UserID, b.Since, b.ExpiresAt); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, trimOAuthBrowsers, b.UserID)
	return err
}

// Browser is who has signed in with a cookie and may still use their account,
// or nil.
func (s *OAuth) Browser(ctx context.Context, cookie []byte, now int64) (*OAuthBrowser, error) {
	var b OAuthBrowser
	err := s.db.Read().QueryRow(ctx, selectOAuthBrowser, cookie, now).Scan(&b.UserID, &b.Since, &b.ExpiresAt, &b.Suspended)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &b, nil
}

// DeleteBrowser signs a browser out.
func (s *OAuth) DeleteBrowser(ctx context.Context, tx *database.Tx, cookie []byte) error {
	_, err := tx.Exec(ctx, deleteOAuthBrowser, cookie)
	return err
}

// DeleteOfUser signs all browsers of a user out, and takes back what the user
// has allowed and nobody has come for yet.
func (s *OAuth) DeleteOfUser(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	if _, err := tx.Exec(ctx, deleteUsersOAuthBrowsers, user); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, deleteUsersOAuthResets, user); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, deleteUsersOAuthCodes, user); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, deleteUsersOAuthDeviceCodes, user)
	return err
}

// AllowReset lets a user's cross-signing keys be replaced, until a time.
func (s *OAuth) AllowReset(ctx context.Context, tx *database.Tx, user matrix.UserID, until int64) error {
	_, err := tx.Exec(ctx, upsertOAuthReset, user, until)
	return err
}

// TakeReset uses up what AllowReset gave; false if there was nothing.
func (s *OAuth) TakeReset(ctx context.Context, tx *database.Tx, user matrix.UserID, now int64) (bool, error) {
	n, err := tx.Exec(ctx, takeOAuthReset, user, now)
	return n > 0, err
}

// OAuthAges are times, Unix ms: codes that have expired before one are deleted,
// and applications that nobody has used since another.
type OAuthAges struct{ Now, Expired, Idle int64 }

// usedEvery is how exactly it is known when an application was used last, in ms.
const usedEvery = 24 * 60 * 60_000

// Tidy deletes what has expired, and applications that nobody has used since a
// time: those with a session are in use.
func (s *OAuth) Tidy(ctx context.Context, tx *database.Tx, at OAuthAges) error {
	if _, err := tx.Exec(ctx, touchOAuthClients, at.Now, at.Now-usedEvery); err != nil {
		return err
	}
	for _, stmt := range []*database.Statement{deleteOldOAuthCodes, deleteOldOAuthDeviceCodes, deleteOldOAuthBrowsers, deleteOldOAuthResets} {
		if _, err := tx.Exec(ctx, stmt, at.Expired); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, deleteIdleOAuthClients, at.Idle)
	return err
}
