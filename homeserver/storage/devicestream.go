package storage

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// What is here reads what happens to devices in the order of the stream, for
// whoever follows all of it.

// KeyChanges holds when the number of unused keys of users last changed. Only
// those are here whom an application service is told of.
type KeyChanges struct{ db *database.DB }

// A UserChange is that something about a user changed at a position.
type UserChange struct {
	User     matrix.UserID
	Position int64
}

var (
	upsertKeyChange = database.SQL(`
		INSERT INTO key_count_changes (user_id, position)
		VALUES ($1, $2)
		ON CONFLICT (user_id) DO UPDATE
		SET position = excluded.position`)
	selectKeyChanges = database.SQL(`
		SELECT user_id, position
		FROM key_count_changes
		WHERE position > $1 AND position <= COALESCE((
			SELECT position
			FROM key_count_changes
			WHERE position > $1 AND position <= $2
			ORDER BY position
			LIMIT 1 OFFSET $3), $2)
		ORDER BY position, user_id
		LIMIT 100000`)
	selectDeviceListStream = database.SQL(`
		SELECT user_id, position
		FROM device_list_changes
		WHERE observer = '' AND position > $1 AND position <= COALESCE((
			SELECT position
			FROM device_list_changes
			WHERE observer = '' AND position > $1 AND position <= $2
			ORDER BY position
			LIMIT 1 OFFSET $3), $2)
		ORDER BY position, user_id
		LIMIT 100000`)
	selectToDeviceStream = database.SQL(`
		SELECT user_id, position
		FROM to_device
		WHERE position > $1 AND position <= COALESCE((
			SELECT position
			FROM to_device
			WHERE position > $1 AND position <= $2
			ORDER BY position
			LIMIT 1 OFFSET $3), $2)
		ORDER BY position, user_id, device_id
		LIMIT 100000`)
	selectToDeviceOfUsers = database.SQL(`
		SELECT user_id, device_id, position, sender, type, content
		FROM to_device
		WHERE position > $1 AND position <= $2 AND user_id = ANY($3)
		ORDER BY position, user_id, device_id
		LIMIT 100000`)
)

// Set notes that a user's unused keys changed at a position.
func (s *KeyChanges) Set(ctx context.Context, tx *database.Tx, user matrix.UserID, position int64) error {
	return tx.Queue(ctx, upsertKeyChange, user, position)
}

// Stream is about limit changes with positions in (after, upTo], in order. It
// is more of them only if several have the last position.
func (s *KeyChanges) Stream(ctx context.Context, after, upTo int64, limit int) ([]UserChange, error) {
	return userChanges(ctx, s.db, selectKeyChanges, after, upTo, limit-1)
}

// Stream is about limit users whose keys changed for everybody, as
// [KeyChanges.Stream].
func (s *DeviceLists) Stream(ctx context.Context, after, upTo int64, limit int) ([]UserChange, error) {
	return userChanges(ctx, s.db, selectDeviceListStream, after, upTo, limit-1)
}

// Recipients is whom about limit messages are for, as [KeyChanges.Stream].
func (s *ToDevice) Recipients(ctx context.Context, after, upTo int64, limit int) ([]UserChange, error) {
	return userChanges(ctx, s.db, selectToDeviceStream, after, upTo, limit-1)
}

// To is the messages to all devices of some users with positions in
// (after, upTo], in order.
func (s *ToDevice) To(ctx context.Context, users []matrix.UserID, after, upTo int64) ([]ToDeviceMessage, error) {
	rows, err := s.db.Read().Query(ctx, selectToDeviceOfUsers, after, upTo, users)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []ToDeviceMessage
	for rows.Next() {
		var m ToDeviceMessage
		var content []byte
		if err := rows.Scan(&m.User, &m.Device, &m.Position, &m.Sender, &m.Type, &content); err != nil {
			return nil, err
		}
		m.Content = content
		list = append(list, m)
	}
	return list, rows.Err()
}

func userChanges(ctx context.Context, db *database.DB, stmt *database.Statement, args ...any) ([]UserChange, error) {
	rows, err := db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []UserChange
	for rows.Next() {
		var c UserChange
		if err := rows.Scan(&c.User, &c.Position); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}
