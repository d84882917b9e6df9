package storage

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// SSOSessions holds which devices have come of which logins at other places.
type SSOSessions struct{ db *database.DB }

// An SSOSession is a login of a subject at another place. Session is the
// place's ID of it, if it has any.
type SSOSession struct {
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	Session string `json:"session,omitempty"`
}

var (
	insertSSOSession = database.SQL(`
		INSERT INTO sso_sessions (user_id, device_id, issuer, subject, session)
		VALUES ($1, $2, $3, $4, $5)`)
	selectSSOSessions = database.SQL(`
		SELECT user_id, device_id
		FROM sso_sessions
		WHERE issuer = $1 AND subject = $2
		ORDER BY user_id, device_id
		LIMIT 10000`)
	selectSSOSessionsOfSession = database.SQL(`
		SELECT user_id, device_id
		FROM sso_sessions
		WHERE issuer = $1 AND session = $2
		ORDER BY user_id, device_id
		LIMIT 10000`)
	selectSSOSessionsOfBoth = database.SQL(`
		SELECT user_id, device_id
		FROM sso_sessions
		WHERE issuer = $1 AND subject = $2 AND session IN ($3, '')
		ORDER BY user_id, device_id
		LIMIT 10000`)
	deleteDeviceSSOSessions = database.SQL(`
		DELETE FROM sso_sessions
		WHERE user_id = $1 AND device_id = ANY($2)`)

	insertSSOLogout = database.SQL(`
		INSERT INTO sso_logouts (issuer, token_id, expires_at)
		VALUES ($1, $2, $3)
		ON CONFLICT DO NOTHING`)
	deleteOldSSOLogouts = database.SQL(`
		DELETE FROM sso_logouts
		WHERE expires_at < $1`)
)

// Save notes of which login a device has come that has none noted yet.
func (s *SSOSessions) Save(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, login SSOSession) error {
	_, err := tx.Exec(ctx, insertSSOSession, user, device, login.Issuer, login.Subject, login.Session)
	return err
}

// Devices is the devices of a subject's logins, or of one session, or, if both
// are said, of the subject's with that session or with none.
func (s *SSOSessions) Devices(ctx context.Context, tx *database.Tx, of SSOSession) (map[matrix.UserID][]matrix.DeviceID, error) {
	stmt, args := selectSSOSessionsOfBoth, []any{of.Issuer, of.Subject, of.Session}
	switch {
	case of.Session == "":
		stmt, args = selectSSOSessions, args[:2]
	case of.Subject == "":
		stmt, args = selectSSOSessionsOfSession, []any{of.Issuer, of.Session}
	}
	rows, err := tx.Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[matrix.UserID][]matrix.DeviceID{}
	for rows.Next() {
		var user matrix.UserID
		var device matrix.DeviceID
		if err := rows.Scan(&user, &device); err != nil {
			return nil, err
		}
		found[user] = append(found[user], device)
	}
	return found, rows.Err()
}

// Heard notes that a logout was said, until a time; false if it was said before.
func (s *SSOSessions) Heard(ctx context.Context, tx *database.Tx, issuer, tokenID string, until, now int64) (bool, error) {
	if _, err := tx.Exec(ctx, deleteOldSSOLogouts, now); err != nil {
		return false, err
	}
	n, err := tx.Exec(ctx, insertSSOLogout, issuer, tokenID, until)
	return n > 0, err
}
