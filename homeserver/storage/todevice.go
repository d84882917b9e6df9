package storage

import (
	"context"
	"encoding/json"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// ToDevice holds messages until their devices have them.
type ToDevice struct{ db *database.DB }

// A ToDeviceMessage is a message to one device.
type ToDeviceMessage struct {
	User     matrix.UserID
	Device   matrix.DeviceID
	Sender   matrix.UserID
	Type     string
	Content  json.RawMessage
	Position int64
}

var (
	insertToDeviceTransaction = database.SQL(`
		INSERT INTO to_device_transactions (user_id, device_id, type, txn_id, sent_at)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`)
	deleteToDeviceTransactions = database.SQL(`
		DELETE FROM to_device_transactions
		WHERE sent_at < $1`)
	// A message to a device that does not exist goes nowhere.
	insertToDevice = database.SQL(`
		INSERT INTO to_device (user_id, device_id, position, sender, type, content)
		SELECT user_id, device_id, $3, $4, $5, $6
		FROM devices
		WHERE user_id = $1 AND device_id = $2
		ON CONFLICT DO NOTHING`)
	selectDevicesOfUsers = database.SQL(`
		SELECT user_id, device_id
		FROM devices
		WHERE user_id = ANY($1)
		ORDER BY user_id, device_id
		LIMIT $2`)
	selectToDevice = database.SQL(`
		SELECT position, sender, type, content
		FROM to_device
		WHERE user_id = $1 AND device_id = $2 AND position > $3 AND position <= $4
		ORDER BY position
		LIMIT $5`)
	selectOldestToDevice = database.SQL(`
		SELECT COALESCE(MIN(position), 0)
		FROM to_device
		WHERE user_id = $1 AND device_id = $2`)
	deleteToDevice = database.SQL(`
		DELETE FROM to_device
		WHERE user_id = $1 AND device_id = $2 AND position <= $3`)
	deleteToDeviceOfDevices = database.SQL(`
		DELETE FROM to_device
		WHERE user_id = $1 AND device_id = ANY($2)`)
	selectLongQueues = database.SQL(`
		SELECT user_id, device_id
		FROM to_device
		GROUP BY user_id, device_id
		HAVING COUNT(*) > $1
		ORDER BY user_id, device_id
		LIMIT 1000`)
	trimToDevice = database.SQL(`
		DELETE FROM to_device
		WHERE user_id = $1 AND device_id = $2 AND position <= (
			SELECT position
			FROM to_device
			WHERE user_id = $1 AND device_id = $2
			ORDER BY position DESC
			LIMIT 1 OFFSET $3)`)
)

// Begin notes the transaction of a sender's device; false if it was noted before.
func (s *ToDevice) Begin(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, eventType, txnID string, now int64) (bool, error) {
	n, err := tx.Exec(ctx, insertToDeviceTransaction, user, device, eventType, txnID, now)
	return n > 0, err
}

// Insert queues messages, for devices that exist.
func (s *ToDevice) Insert(ctx context.Context, tx *database.Tx, messages []ToDeviceMessage) error {
	rows := make([][]any, len(messages))
	for i, m := range messages {
		rows[i] = []any{m.User, m.Device, m.Position, m.Sender, m.Type, m.Content}
	}
	return tx.ExecMany(ctx, insertToDevice, rows)
}

// Devices is the devices of some users, at most so many altogether.
func (s *ToDevice) Devices(ctx context.Context, tx *database.Tx, users []matrix.UserID, limit int) ([]ToDeviceQueue, error) {
	return readQueues(tx.Query(ctx, selectDevicesOfUsers, users, limit))
}

// Pending is up to limit messages to a device with positions in (after, upTo], oldest first.
func (s *ToDevice) Pending(ctx context.Context, user matrix.UserID, device matrix.DeviceID, after, upTo int64, limit int) ([]ToDeviceMessage, error) {
	rows, err := s.db.Read().Query(ctx, selectToDevice, user, device, after, upTo, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []ToDeviceMessage
	for rows.Next() {
		m := ToDeviceMessage{User: user, Device: device}
		var content []byte
		if err := rows.Scan(&m.Position, &m.Sender, &m.Type, &content); err != nil {
			return nil, err
		}
		m.Content = content
		list = append(list, m)
	}
	return list, rows.Err()
}

// Oldest is the position of the oldest message to a device; 0 if there is none.
func (s *ToDevice) Oldest(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (position int64, err error) {
	err = s.db.Read().QueryRow(ctx, selectOldestToDevice, user, device).Scan(&position)
	return position, err
}

// Acknowledge removes the messages to a device up to a position.
func (s *ToDevice) Acknowledge(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, upTo int64) error {
	return tx.Queue(ctx, deleteToDevice, user, device, upTo)
}

// Delete removes all messages to devices.
func (s *ToDevice) Delete(ctx context.Context, tx *database.Tx, user matrix.UserID, devices []matrix.DeviceID) error {
	return tx.Queue(ctx, deleteToDeviceOfDevices, user, devices)
}

// A ToDeviceQueue names a device that has messages.
type ToDeviceQueue struct {
	User   matrix.UserID
	Device matrix.DeviceID
}

// LongQueues is up to 1,000 devices that have more messages than a number.
func (s *ToDevice) LongQueues(ctx context.Context, longerThan int) ([]ToDeviceQueue, error) {
	return readQueues(s.db.Read().Query(ctx, selectLongQueues, longerThan))
}

func readQueues(rows *database.Rows, err error) ([]ToDeviceQueue, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []ToDeviceQueue
	for rows.Next() {
		var d ToDeviceQueue
		if err := rows.Scan(&d.User, &d.Device); err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// Trim removes the oldest messages to a device, so that a number of them stays.
func (s *ToDevice) Trim(ctx context.Context, tx *database.Tx, d ToDeviceQueue, keep int) error {
	return tx.Queue(ctx, trimToDevice, d.User, d.Device, keep)
}

// ForgetTransactions removes what was noted of transactions before a time.
func (s *ToDevice) ForgetTransactions(ctx context.Context, tx *database.Tx, before int64) error {
	return tx.Queue(ctx, deleteToDeviceTransactions, before)
}
