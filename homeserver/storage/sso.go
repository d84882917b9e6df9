package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Subjects holds who people are at other places where they log in.
type Subjects struct{ db *database.DB }

// A Subject is who somebody is at another place.
type Subject struct {
	Issuer   string
	Subject  string
	UserID   matrix.UserID
	LinkedAt int64 // Unix ms
}

// SSOFlows holds the logins that are on their way through another place.
type SSOFlows struct{ db *database.DB }

// An SSOFlow is one of them.
type SSOFlow struct {
	ID          string
	TokenHash   []byte
	BrowserHash []byte
	Data        []byte
	ExpiresAt   int64 // Unix ms
}

var (
	insertSubject = database.SQL(`
		INSERT INTO sso_subjects (issuer, subject, user_id, linked_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT DO NOTHING`)
	selectSubjectUser = database.SQL(`
		SELECT user_id
		FROM sso_subjects
		WHERE issuer = $1 AND subject = $2`)
	selectSubjects = database.SQL(`
		SELECT issuer, subject, user_id, linked_at
		FROM sso_subjects
		WHERE user_id = $1
		ORDER BY issuer, subject
		LIMIT 100`)
	deleteSubjects = database.SQL(`
		DELETE FROM sso_subjects
		WHERE user_id = $1`)

	insertSSOFlow = database.SQL(`
		INSERT INTO sso_flows (flow_id, token_hash, browser_hash, data, expires_at)
		VALUES ($1, $2, $3, $4, $5)`)
	selectSSOFlow = database.SQL(`
		SELECT flow_id, token_hash, browser_hash, data, expires_at
		FROM sso_flows
		WHERE flow_id = $1 AND expires_at > $2`)
	deleteSSOFlow = database.SQL(`
		DELETE FROM sso_flows
		WHERE flow_id = $1 AND token_hash = $2`)
	selectSSOFlows = database.SQL(`
		SELECT flow_id, data
		FROM sso_flows
		WHERE flow_id > $1
		ORDER BY flow_id
		LIMIT $2`)
	dropSSOFlow = database.SQL(`
		DELETE FROM sso_flows
		WHERE flow_id = $1`)
	deleteOldSSOFlows = database.SQL(`
		DELETE FROM sso_flows
		WHERE expires_at <= $1`)
)

// Insert links a subject to a user; false if it is linked already.
func (s *Subjects) Insert(ctx context.Context, tx *database.Tx, subject Subject) (bool, error) {
	n, err := tx.Exec(ctx, insertSubject, subject.Issuer, subject.Subject, subject.UserID, subject.LinkedAt)
	return n > 0, err
}

// User is who a subject is here, or empty.
func (s *Subjects) User(ctx context.Context, q database.Querier, issuer, subject string) (matrix.UserID, error) {
	var user matrix.UserID
	err := q.QueryRow(ctx, selectSubjectUser, issuer, subject).Scan(&user)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return user, err
}

// List is who a user is elsewhere.
func (s *Subjects) List(ctx context.Context, q database.Querier, user matrix.UserID) ([]Subject, error) {
	rows, err := q.Query(ctx, selectSubjects, user)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Subject
	for rows.Next() {
		var v Subject
		if err := rows.Scan(&v.Issuer, &v.Subject, &v.UserID, &v.LinkedAt); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// DeleteAll forgets who a user is elsewhere.
func (s *Subjects) DeleteAll(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deleteSubjects, user)
	return err
}

// Insert stores a login, and deletes those that have expired by now.
func (s *SSOFlows) Insert(ctx context.Context, tx *database.Tx, f SSOFlow, now int64) error {
	if _, err := tx.Exec(ctx, deleteOldSSOFlows, now); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, insertSSOFlow, f.ID, f.TokenHash, f.BrowserHash, f.Data, f.ExpiresAt)
	return err
}

// Find is a login that has not expired by now, or nil.
func (s *SSOFlows) Find(ctx context.Context, id string, now int64) (*SSOFlow, error) {
	var f SSOFlow
	err := s.db.Read().QueryRow(ctx, selectSSOFlow, id, now).Scan(&f.ID, &f.TokenHash, &f.BrowserHash, &f.Data, &f.ExpiresAt)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &f, nil
}

// Use deletes a login at the step that a token is of; false if it is not there
// any more.
func (s *SSOFlows) Use(ctx context.Context, tx *database.Tx, id string, tokenHash []byte) (bool, error) {
	n, err := tx.Exec(ctx, deleteSSOFlow, id, tokenHash)
	return n > 0, err
}

// List is some of the logins, by their IDs, behind one of these.
func (s *SSOFlows) List(ctx context.Context, tx *database.Tx, after string, limit int) ([]SSOFlow, error) {
	rows, err := tx.Query(ctx, selectSSOFlows, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []SSOFlow
	for rows.Next() {
		var f SSOFlow
		if err := rows.Scan(&f.ID, &f.Data); err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, rows.Err()
}

// Drop deletes a login at whatever step it is.
func (s *SSOFlows) Drop(ctx context.Context, tx *database.Tx, id string) error {
	_, err := tx.Exec(ctx, dropSSOFlow, id)
	return err
}
