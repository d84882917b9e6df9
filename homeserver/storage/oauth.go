package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// OAuth holds what the OAuth 2.0 API remembers: applications, their sessions,
// and who has allowed what. Codes and cookies are kept as SHA-256 hashes.
type OAuth struct{ db *database.DB }

// An OAuthSession is a device whose tokens came by OAuth.
type OAuthSession struct {
	UserID   matrix.UserID
	DeviceID matrix.DeviceID
	ClientID string
	Scope    string
}

var (
	upsertOAuthClient = database.SQL(`
		INSERT INTO oauth_clients (client_id, metadata, used_at)
		VALUES ($1, $2, $3)
		ON CONFLICT (client_id) DO UPDATE
		SET used_at = excluded.used_at`)
	selectOAuthClient = database.SQL(`
		SELECT metadata
		FROM oauth_clients
		WHERE client_id = $1`)
	deleteIdleOAuthClients = database.SQL(`
		DELETE FROM oauth_clients
		WHERE used_at < $1
			AND client_id NOT IN (SELECT client_id FROM oauth_sessions)
			AND client_id NOT IN (SELECT client_id FROM oauth_device_codes)
			AND client_id NOT IN (SELECT client_id FROM oauth_codes)`)
	touchOAuthClients = database.SQL(`
		UPDATE oauth_clients
		SET used_at = $1
		WHERE used_at < $2 AND client_id IN (SELECT client_id FROM oauth_sessions)`)
	selectOAuthClientAge = database.SQL(`
		SELECT used_at
		FROM oauth_clients
		ORDER BY used_at DESC
		LIMIT 1 OFFSET $1`)

	upsertOAuthSession = database.SQL(`
		INSERT INTO oauth_sessions (user_id, device_id, client_id, scope, code_hash)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id, device_id) DO UPDATE
		SET client_id = excluded.client_id, scope = excluded.scope, code_hash = excluded.code_hash`)
	selectOAuthSession = database.SQL(`
		SELECT user_id, device_id, client_id, scope
		FROM oauth_sessions
		WHERE user_id = $1 AND device_id = $2`)
	selectOAuthSessionOfCode = database.SQL(`
		SELECT user_id, device_id, client_id, scope
		FROM oauth_sessions
		WHERE code_hash = $1
		ORDER BY user_id
		LIMIT 1`)
	selectOAuthSessionSpent = database.SQL(`
		SELECT s.user_id, s.device_id, s.client_id, s.scope
		FROM oauth_spent_tokens t
		JOIN oauth_sessions s ON s.user_id = t.user_id AND s.device_id = t.device_id
		WHERE t.token_hash = $1`)
)

// SaveClient keeps what an application says about itself, or notes that it has
// said so again. At most keep idle ones are kept beside those with sessions.
func (s *OAuth) SaveClient(ctx context.Context, tx *database.Tx, id, metadata string, now, keep int64) error {
	if _, err := tx.Exec(ctx, upsertOAuthClient, id, metadata, now); err != nil {
		return err
	}
	var oldest int64
	err := tx.QueryRow(ctx, selectOAuthClientAge, keep).Scan(&oldest)
	if errors.Is(err, database.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, deleteIdleOAuthClients, oldest)
	return err
}

// Client is what an application has said about itself, or empty.
func (s *OAuth) Client(ctx context.Context, id string) (string, error) {
	var metadata string
	err := s.db.Read().QueryRow(ctx, selectOAuthClient, id).Scan(&metadata)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return metadata, err
}

// SaveSession notes by which application and code a device has got its tokens.
func (s *OAuth) SaveSession(ctx context.Context, tx *database.Tx, o OAuthSession, code []byte) error {
	_, err := tx.Exec(ctx, upsertOAuthSession, o.UserID, o.DeviceID, o.ClientID, o.Scope, code)
	return err
}

// Session is the session of a device, or nil.
func (s *OAuth) Session(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (*OAuthSession, error) {
	return s.session(ctx, selectOAuthSession, user, device)
}

// SessionOfCode is the session that began with a code, or nil.
func (s *OAuth) SessionOfCode(ctx context.Context, code []byte) (*OAuthSession, error) {
	return s.session(ctx, selectOAuthSessionOfCode, code)
}

// SessionOfSpent is the session that a refresh token belonged to whose
// successor is in use, or nil.
func (s *OAuth) SessionOfSpent(ctx context.Context, token []byte) (*OAuthSession, error) {
	return s.session(ctx, selectOAuthSessionSpent, token)
}

func (s *OAuth) session(ctx context.Context, stmt *database.Statement, args ...any) (*OAuthSession, error) {
	var o OAuthSession
	err := s.db.Read().QueryRow(ctx, stmt, args...).Scan(&o.UserID, &o.DeviceID, &o.ClientID, &o.Scope)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &o, nil
}
