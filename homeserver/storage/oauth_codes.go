package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// An OAuthCode is an authorization code: what a user has allowed, and which
// application may come for it.
type OAuthCode struct {
	ClientID    string
	UserID      matrix.UserID
	Scope       string
	RedirectURI string
	Challenge   string
	Nonce       string
	Lasting     int64 // ms that an application service may act; 0: it is for a device
	Used        bool
	ExpiresAt   int64 // Unix ms
}

// An OAuthDeviceCode is an application that waits for somebody to allow it.
type OAuthDeviceCode struct {
	Hash      []byte
	UserCode  string
	ClientID  string
	Scope     string
	UserID    matrix.UserID // who has allowed it, or empty
	Denied    bool
	Lasting   int64 // as in OAuthCode, of who has allowed it
	Pace      int64 // ms between two questions
	AskAfter  int64 // Unix ms
	ExpiresAt int64 // Unix ms
}

const oauthDeviceCodeColumns = `code_hash, user_code, client_id, scope, COALESCE(user_id, ''), denied, lasting, pace, ask_after, expires_at`

var (
	insertOAuthCode = database.SQL(`
		INSERT INTO oauth_codes (code_hash, client_id, user_id, scope, redirect_uri, challenge, nonce, lasting, used, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, FALSE, $9)`)
	selectOAuthCode = database.SQL(`
		SELECT client_id, user_id, scope, redirect_uri, challenge, nonce, lasting, used, expires_at
		FROM oauth_codes
		WHERE code_hash = $1`)
	useOAuthCode = database.SQL(`
		UPDATE oauth_codes
		SET used = TRUE
		WHERE code_hash = $1 AND NOT used`)
	// Those that were used are known still, should they come again.
	deleteUsersOAuthCodes = database.SQL(`
		DELETE FROM oauth_codes
		WHERE user_id = $1 AND NOT used`)
	deleteOldOAuthCodes = database.SQL(`
		DELETE FROM oauth_codes
		WHERE expires_at < $1`)

	insertOAuthDeviceCode = database.SQL(`
		INSERT INTO oauth_device_codes (code_hash, user_code, client_id, scope, denied, pace, ask_after, expires_at)
		VALUES ($1, $2, $3, $4, FALSE, $5, $6, $7)
		ON CONFLICT DO NOTHING`)
	trimOAuthDeviceCodes = database.SQL(`
		DELETE FROM oauth_device_codes
		WHERE expires_at < (SELECT expires_at FROM oauth_device_codes ORDER BY expires_at DESC LIMIT 1 OFFSET 10000)`)
	selectOAuthDeviceCode = database.SQL(`
		SELECT ` + oauthDeviceCodeColumns + `
		FROM oauth_device_codes
		WHERE code_hash = $1`)
	selectOAuthUserCode = database.SQL(`
		SELECT ` + oauthDeviceCodeColumns + `
		FROM oauth_device_codes
		WHERE user_code = $1 AND user_id IS NULL AND NOT denied AND expires_at > $2`)
	answerOAuthDeviceCode = database.SQL(`
		UPDATE oauth_device_codes
		SET user_id = $2, denied = $3, lasting = $5
		WHERE user_code = $1 AND user_id IS NULL AND NOT denied AND expires_at > $4`)
	paceOAuthDeviceCode = database.SQL(`
		UPDATE oauth_device_codes
		SET pace = $2, ask_after = $3
		WHERE code_hash = $1`)
	deleteOAuthDeviceCode = database.SQL(`
		DELETE FROM oauth_device_codes
		WHERE code_hash = $1`)
	deleteUsersOAuthDeviceCodes = database.SQL(`
		DELETE FROM oauth_device_codes
		WHERE user_id = $1`)
	deleteOldOAuthDeviceCodes = database.SQL(`
		DELETE FROM oauth_device_codes
		WHERE expires_at < $1`)
)

// SaveCode keeps a code.
func (s *OAuth) SaveCode(ctx context.Context, tx *database.Tx, hash []byte, c OAuthCode) error {
	_, err := tx.Exec(ctx, insertOAuthCode, hash, c.ClientID, c.UserID, c.Scope, c.RedirectURI, c.Challenge, c.Nonce, c.Lasting, c.ExpiresAt)
	return err
}

// Code is a code, used or not, or nil.
func (s *OAuth) Code(ctx context.Context, hash []byte) (*OAuthCode, error) {
	var c OAuthCode
	err := s.db.Read().QueryRow(ctx, selectOAuthCode, hash).
		Scan(&c.ClientID, &c.UserID, &c.Scope, &c.RedirectURI, &c.Challenge, &c.Nonce, &c.Lasting, &c.Used, &c.ExpiresAt)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// UseCode uses a code up; false if it was used before.
func (s *OAuth) UseCode(ctx context.Context, tx *database.Tx, hash []byte) (bool, error) {
	n, err := tx.Exec(ctx, useOAuthCode, hash)
	return n > 0, err
}

// SaveDeviceCode keeps the code of a device; false if one of its codes is
// taken. The 10,000 codes that last longest are kept.
func (s *OAuth) SaveDeviceCode(ctx context.Context, tx *database.Tx, c OAuthDeviceCode) (bool, error) {
	n, err := tx.Exec(ctx, insertOAuthDeviceCode, c.Hash, c.UserCode, c.ClientID, c.Scope, c.Pace, c.AskAfter, c.ExpiresAt)
	if err != nil || n == 0 {
		return false, err
	}
	_, err = tx.Exec(ctx, trimOAuthDeviceCodes)
	return true, err
}

// DeviceCode is the code that a device has, or nil.
func (s *OAuth) DeviceCode(ctx context.Context, hash []byte) (*OAuthDeviceCode, error) {
	return scanOAuthDeviceCode(s.db.Read().QueryRow(ctx, selectOAuthDeviceCode, hash))
}

// DeviceWaiting is the device that waits for an answer to the code that people
// read on it, or nil.
func (s *OAuth) DeviceWaiting(ctx context.Context, userCode string, now int64) (*OAuthDeviceCode, error) {
	return scanOAuthDeviceCode(s.db.Read().QueryRow(ctx, selectOAuthUserCode, userCode, now))
}

func scanOAuthDeviceCode(row *database.Row) (*OAuthDeviceCode, error) {
	var c OAuthDeviceCode
	err := row.Scan(&c.Hash, &c.UserCode, &c.ClientID, &c.Scope, &c.UserID, &c.Denied, &c.Lasting, &c.Pace, &c.AskAfter, &c.ExpiresAt)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// AnswerDevice allows a device that waits, or without a user denies it; false
// if it does not wait any more. lasting is as in [OAuthCode].
func (s *OAuth) AnswerDevice(ctx context.Context, tx *database.Tx, userCode string, user matrix.UserID, lasting, now int64) (bool, error) {
	n, err := tx.Exec(ctx, answerOAuthDeviceCode, userCode, accountText(string(user)), user == "", now, lasting)
	return n > 0, err
}

// PaceDevice says when a device may ask again.
func (s *OAuth) PaceDevice(ctx context.Context, tx *database.Tx, hash []byte, pace, askAfter int64) error {
	_, err := tx.Exec(ctx, paceOAuthDeviceCode, hash, pace, askAfter)
	return err
}

// UseDeviceCode uses the code of a device up; false if it was used before.
func (s *OAuth) UseDeviceCode(ctx context.Context, tx *database.Tx, hash []byte) (bool, error) {
	n, err := tx.Exec(ctx, deleteOAuthDeviceCode, hash)
	return n > 0, err
}
