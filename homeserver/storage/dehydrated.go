package storage

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Dehydrated holds devices that wait for their users, at most one of each user.
type Dehydrated struct{ db *database.DB }

var (
	upsertDehydrated = database.SQL(`
		INSERT INTO dehydrated_devices (user_id, device_id, data)
		VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE
		SET device_id = excluded.device_id, data = excluded.data`)
	selectDehydrated = database.SQL(`
		SELECT device_id, data
		FROM dehydrated_devices
		WHERE user_id = $1`)
	deleteDehydrated = database.SQL(`
		DELETE FROM dehydrated_devices
		WHERE user_id = $1 AND device_id = ANY($2)`)
)

// Set makes a device the one that waits.
func (s *Dehydrated) Set(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, data json.RawMessage) error {
	_, err := tx.Exec(ctx, upsertDehydrated, user, device, data)
	return err
}

// Find is the device that waits for a user; an empty ID if there is none.
func (s *Dehydrated) Find(ctx context.Context, q database.Querier, user matrix.UserID) (device matrix.DeviceID, data json.RawMessage, err error) {
	var raw []byte
	err = q.QueryRow(ctx, selectDehydrated, user).Scan(&device, &raw)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil, nil
	}
	return device, raw, err
}

// Delete forgets the device that waits for a user if it is one of these.
func (s *Dehydrated) Delete(ctx context.Context, tx *database.Tx, user matrix.UserID, devices []matrix.DeviceID) error {
	_, err := tx.Exec(ctx, deleteDehydrated, user, devices)
	return err
}

// InsertDevice makes the device itself, which nobody is logged in as; false if
// the user has one of that ID.
func (s *Dehydrated) InsertDevice(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, name string, now int64) (bool, error) {
	n, err := tx.Exec(ctx, insertDevice, user, device, accountText(name), now)
	return n > 0, err
}

// DeleteDevice removes the device itself.
func (s *Dehydrated) DeleteDevice(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID) error {
	_, err := tx.Exec(ctx, deleteDevices, user, []matrix.DeviceID{device})
	return err
}
