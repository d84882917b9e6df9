package storage

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// KeyBackups holds room keys that clients have encrypted and put aside.
type KeyBackups struct{ db *database.DB }

// A KeyBackup is one version of a user's backup.
type KeyBackup struct {
	Version   int64
	Algorithm string
	AuthData  json.RawMessage
	Changes   int64 // counts the writes to its keys
	Deleted   bool
}

// A BackedUpSession is the keys of one session in a backup.
type BackedUpSession struct {
	Room              matrix.RoomID
	Session           string
	FirstMessageIndex int64
	ForwardedCount    int64
	IsVerified        bool
	Data              json.RawMessage
}

var (
	selectNewestBackup = database.SQL(`
		SELECT COALESCE(MAX(version), 0)
		FROM key_backups
		WHERE user_id = $1`)
	insertBackup = database.SQL(`
		INSERT INTO key_backups (user_id, version, algorithm, auth_data, changes, deleted)
		VALUES ($1, $2, $3, $4, 0, FALSE)`)
	selectBackup = database.SQL(`
		SELECT version, algorithm, auth_data, changes, deleted
		FROM key_backups
		WHERE user_id = $1 AND version = $2`)
	selectCurrentBackup = database.SQL(`
		SELECT version, algorithm, auth_data, changes, deleted
		FROM key_backups
		WHERE user_id = $1 AND NOT deleted
		ORDER BY version DESC
		LIMIT 1`)
	updateBackup = database.SQL(`
		UPDATE key_backups
		SET auth_data = $3
		WHERE user_id = $1 AND version = $2`)
	touchBackup = database.SQL(`
		UPDATE key_backups
		SET changes = changes + 1
		WHERE user_id = $1 AND version = $2`)
	deleteBackup = database.SQL(`
		UPDATE key_backups
		SET deleted = TRUE, auth_data = $3
		WHERE user_id = $1 AND version = $2`)
	deleteBackups = database.SQL(`
		DELETE FROM key_backups
		WHERE user_id = $1`)

	countBackedUpSessions = database.SQL(`
		SELECT COUNT(*)
		FROM key_backup_sessions
		WHERE user_id = $1 AND version = $2`)
	// A key that can be trusted more takes the place of another; of two alike,
	// the one that reaches further back; then the one that came more directly.
	upsertBackedUpSession = database.SQL(`
		INSERT INTO key_backup_sessions (user_id, version, room_id, session_id, first_message_index, forwarded_count, is_verified, session_data)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE
		SET first_message_index = excluded.first_message_index, forwarded_count = excluded.forwarded_count,
			is_verified = excluded.is_verified, session_data = excluded.session_data
		WHERE excluded.is_verified AND NOT key_backup_sessions.is_verified
			OR excluded.is_verified = key_backup_sessions.is_verified AND (
				excluded.first_message_index < key_backup_sessions.first_message_index
				OR excluded.first_message_index = key_backup_sessions.first_message_index
					AND excluded.forwarded_count < key_backup_sessions.forwarded_count)`)
	selectBackedUpSessions = database.SQL(`
		SELECT room_id, session_id, first_message_index, forwarded_count, is_verified, session_data
		FROM key_backup_sessions
		WHERE user_id = $1 AND version = $2 AND ($3 = '' OR room_id = $3) AND ($4 = '' OR session_id = $4)
		ORDER BY room_id, session_id
		LIMIT $5`)
	deleteBackedUpSessions = database.SQL(`
		DELETE FROM key_backup_sessions
		WHERE user_id = $1 AND version = $2 AND ($3 = '' OR room_id = $3) AND ($4 = '' OR session_id = $4)`)
	deleteBackedUpSessionsOfUser = database.SQL(`
		DELETE FROM key_backup_sessions
		WHERE user_id = $1`)
)

// Create makes a new version and returns its number.
func (s *KeyBackups) Create(ctx context.Context, tx *database.Tx, user matrix.UserID, algorithm string, authData json.RawMessage) (int64, error) {
	var newest int64
	if err := tx.QueryRow(ctx, selectNewestBackup, user).Scan(&newest); err != nil {
		return 0, err
	}
	_, err := tx.Exec(ctx, insertBackup, user, newest+1, algorithm, authData)
	return newest + 1, err
}

// Find is a version, or nil.
func (s *KeyBackups) Find(ctx context.Context, q database.Querier, user matrix.UserID, version int64) (*KeyBackup, error) {
	return scanBackup(q.QueryRow(ctx, selectBackup, user, version))
}

// Current is the newest version that is not deleted, or nil.
func (s *KeyBackups) Current(ctx context.Context, q database.Querier, user matrix.UserID) (*KeyBackup, error) {
	return scanBackup(q.QueryRow(ctx, selectCurrentBackup, user))
}

func scanBackup(row *database.Row) (*KeyBackup, error) {
	var b KeyBackup
	var authData []byte
	err := row.Scan(&b.Version, &b.Algorithm, &authData, &b.Changes, &b.Deleted)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	b.AuthData = authData
	return &b, err
}

// Update replaces the data that authenticates a version.
func (s *KeyBackups) Update(ctx context.Context, tx *database.Tx, user matrix.UserID, version int64, authData json.RawMessage) error {
	return tx.Queue(ctx, updateBackup, user, version, authData)
}

// Delete removes a version with its keys; that it was there stays known.
func (s *KeyBackups) Delete(ctx context.Context, tx *database.Tx, user matrix.UserID, version int64) error {
	if err := tx.Queue(ctx, deleteBackup, user, version, []byte("{}")); err != nil {
		return err
	}
	return tx.Queue(ctx, deleteBackedUpSessions, user, version, "", "")
}

// DeleteAll removes all backups of a user.
func (s *KeyBackups) DeleteAll(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	if err := tx.Queue(ctx, deleteBackups, user); err != nil {
		return err
	}
	return tx.Queue(ctx, deleteBackedUpSessionsOfUser, user)
}

// Count is how many sessions a version holds.
func (s *KeyBackups) Count(ctx context.Context, q database.Querier, user matrix.UserID, version int64) (n int64, err error) {
	err = q.QueryRow(ctx, countBackedUpSessions, user, version).Scan(&n)
	return n, err
}

// Put stores sessions, but for those of which there is a better one already.
func (s *KeyBackups) Put(ctx context.Context, tx *database.Tx, user matrix.UserID, version int64, sessions []BackedUpSession) error {
	rows := make([][]any, len(sessions))
	for i, k := range sessions {
		rows[i] = []any{user, version, k.Room, k.Session, k.FirstMessageIndex, k.ForwardedCount, k.IsVerified, k.Data}
	}
	return tx.ExecMany(ctx, upsertBackedUpSession, rows)
}

// Touch notes that the keys of a version were changed.
func (s *KeyBackups) Touch(ctx context.Context, tx *database.Tx, user matrix.UserID, version int64) error {
	return tx.Queue(ctx, touchBackup, user, version)
}

// Sessions is up to limit sessions of a version: all, those of a room, or one.
func (s *KeyBackups) Sessions(ctx context.Context, user matrix.UserID, version int64, room matrix.RoomID, session string, limit int) ([]BackedUpSession, error) {
	rows, err := s.db.Read().Query(ctx, selectBackedUpSessions, user, version, room, session, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []BackedUpSession
	for rows.Next() {
		var k BackedUpSession
		var data []byte
		if err := rows.Scan(&k.Room, &k.Session, &k.FirstMessageIndex, &k.ForwardedCount, &k.IsVerified, &data); err != nil {
			return nil, err
		}
		k.Data = data
		list = append(list, k)
	}
	return list, rows.Err()
}

// Remove deletes sessions of a version: all, those of a room, or one.
func (s *KeyBackups) Remove(ctx context.Context, tx *database.Tx, user matrix.UserID, version int64, room matrix.RoomID, session string) (int64, error) {
	return tx.Exec(ctx, deleteBackedUpSessions, user, version, room, session)
}
