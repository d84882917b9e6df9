package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Console holds what the operator's console keeps: who has signed in, and
// samples of the delivery to application services.
type Console struct{ db *database.DB }

// NewConsole prepares the subject.
func NewConsole(db *database.DB) *Console { return &Console{db} }

// A ConsoleSession is a browser in which an administrator has signed in.
type ConsoleSession struct {
	UserID    matrix.UserID
	Since     int64 // Unix ms
	ExpiresAt int64 // Unix ms
}

// A DeliverySample is how the delivery to an application service stood in a
// minute.
type DeliverySample struct {
	Service  string
	At       int64 // Unix ms, the begin of the minute
	Backlog  int64 // events that waited
	Age      int64 // of the oldest of them, ms
	Events   int64 // delivered in this minute
	Failures int64 // attempts in vain in this minute
}

var (
	insertConsoleSession = database.SQL(`
		INSERT INTO console_sessions (cookie_hash, user_id, since, expires_at)
		VALUES ($1, $2, $3, $4)`)
	trimConsoleSessions = database.SQL(`
		DELETE FROM console_sessions
		WHERE user_id = $1 AND since < (
			SELECT since
			FROM console_sessions
			WHERE user_id = $1
			ORDER BY since DESC
			LIMIT 1 OFFSET 20)`)
	selectConsoleSession = database.SQL(`
		SELECT c.user_id, c.since, c.expires_at
		FROM console_sessions c
		JOIN accounts a ON a.user_id = c.user_id
		WHERE c.cookie_hash = $1 AND c.expires_at > $2 AND a.admin
			AND NOT a.deactivated AND NOT a.locked AND NOT a.suspended`)
	deleteConsoleSession = database.SQL(`
		DELETE FROM console_sessions
		WHERE cookie_hash = $1`)
	deleteOldConsoleSessions = database.SQL(`
		DELETE FROM console_sessions
		WHERE expires_at <= $1`)
	deleteUsersConsoleSessions = database.SQL(`
		DELETE FROM console_sessions
		WHERE user_id = $1`)

	upsertDeliverySample = database.SQL(`
		INSERT INTO appservice_samples (service, at, backlog, age, events, failures)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (service, at) DO UPDATE
		SET backlog = excluded.backlog, age = excluded.age,
			events = appservice_samples.events + excluded.events,
			failures = appservice_samples.failures + excluded.failures`)
	selectDeliverySamples = database.SQL(`
		SELECT service, at, backlog, age, events, failures
		FROM appservice_samples
		WHERE service = $1 AND at > $2
		ORDER BY at
		LIMIT 2000`)
	deleteOldDeliverySamples = database.SQL(`
		DELETE FROM appservice_samples
		WHERE at <= $1`)
)

// SaveSession notes that somebody has signed in. The 20 last browsers of a user
// are kept.
func (s *Console) SaveSession(ctx context.Context, tx *database.Tx, cookie []byte, session ConsoleSession) error {
	_, err := tx.Exec(ctx, insertConsoleSession, cookie, session.UserID, session.Since, session.ExpiresAt)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, trimConsoleSessions, session.UserID)
	return err
}

// Session is who has signed in with a cookie and is an administrator in good
// standing still, or nil.
func (s *Console) Session(ctx context.Context, cookie []byte, now int64) (*ConsoleSession, error) {
	var found ConsoleSession
	err := s.db.Read().QueryRow(ctx, selectConsoleSession, cookie, now).Scan(&found.UserID, &found.Since, &found.ExpiresAt)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &found, nil
}

// DeleteSession signs a browser out.
func (s *Console) DeleteSession(ctx context.Context, tx *database.Tx, cookie []byte) error {
	_, err := tx.Exec(ctx, deleteConsoleSession, cookie)
	return err
}

// DeleteOfUser signs all browsers of a user out.
func (s *Console) DeleteOfUser(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deleteUsersConsoleSessions, user)
	return err
}

// DeleteOldSessions deletes those that have ended by a time.
func (s *Console) DeleteOldSessions(ctx context.Context, tx *database.Tx, now int64) error {
	_, err := tx.Exec(ctx, deleteOldConsoleSessions, now)
	return err
}

// SaveSamples adds samples, and deletes those of a time or before it. Of two of
// one minute, the later says what waits, and what happened adds up.
func (s *Console) SaveSamples(ctx context.Context, tx *database.Tx, samples []DeliverySample, before int64) error {
	rows := make([][]any, len(samples))
	for i, p := range samples {
		rows[i] = []any{p.Service, p.At, p.Backlog, p.Age, p.Events, p.Failures}
	}
	if err := tx.ExecMany(ctx, upsertDeliverySample, rows); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, deleteOldDeliverySamples, before)
	return err
}

// Samples are those of a service after a time, in order, at most 2,000.
func (s *Console) Samples(ctx context.Context, service string, after int64) ([]DeliverySample, error) {
	rows, err := s.db.Read().Query(ctx, selectDeliverySamples, service, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []DeliverySample
	for rows.Next() {
		var p DeliverySample
		if err := rows.Scan(&p.Service, &p.At, &p.Backlog, &p.Age, &p.Events, &p.Failures); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}
