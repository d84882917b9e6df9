package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Devices holds the devices of local users.
type Devices struct{ db *database.DB }

// A Device is one login of a user.
type Device struct {
	ID          matrix.DeviceID
	DisplayName string // empty: none
	LastSeenAt  int64  // Unix ms; 0: never
	LastSeenIP  string
	UserAgent   string
}

const deviceColumns = `device_id, COALESCE(display_name, ''), COALESCE(last_seen_at, 0), COALESCE(last_seen_ip, ''), COALESCE(user_agent, '')`

var (
	insertDevice = database.SQL(`
		INSERT INTO devices (user_id, device_id, display_name, created_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT DO NOTHING`)
	selectDevice = database.SQL(`
		SELECT ` + deviceColumns + `
		FROM devices
		WHERE user_id = $1 AND device_id = $2`)
	selectDevices = database.SQL(`
		SELECT ` + deviceColumns + `
		FROM devices
		WHERE user_id = $1
		ORDER BY device_id
		LIMIT $2`)
	countDevices = database.SQL(`
		SELECT COUNT(*)
		FROM devices
		WHERE user_id = $1`)
	selectIdleDevices = database.SQL(`
		SELECT device_id
		FROM devices
		WHERE user_id = $1 AND device_id <> $2
		ORDER BY COALESCE(last_seen_at, created_at), device_id
		LIMIT $3`)
	updateDeviceName = database.SQL(`
		UPDATE devices
		SET display_name = $3
		WHERE user_id = $1 AND device_id = $2`)
	updateDeviceSeen = database.SQL(`
		UPDATE devices
		SET last_seen_at = $3, last_seen_ip = $4, user_agent = $5
		WHERE user_id = $1 AND device_id = $2`)
	deleteDevices = database.SQL(`
		DELETE FROM devices
		WHERE user_id = $1 AND device_id = ANY($2)`)
)

// Insert makes a device; false if it exists already.
func (s *Devices) Insert(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, name string, now int64) (bool, error) {
	n, err := tx.Exec(ctx, insertDevice, user, device, accountText(name), now)
	return n > 0, err
}

// Find is a device, or nil.
func (s *Devices) Find(ctx context.Context, q database.Querier, user matrix.UserID, device matrix.DeviceID) (*Device, error) {
	var d Device
	err := q.QueryRow(ctx, selectDevice, user, device).Scan(&d.ID, &d.DisplayName, &d.LastSeenAt, &d.LastSeenIP, &d.UserAgent)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &d, nil
}

// List is the devices of a user, by ID.
func (s *Devices) List(ctx context.Context, q database.Querier, user matrix.UserID, limit int) ([]Device, error) {
	rows, err := q.Query(ctx, selectDevices, user, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Device
	for rows.Next() {
		var d Device
		if err := rows.Scan(&d.ID, &d.DisplayName, &d.LastSeenAt, &d.LastSeenIP, &d.UserAgent); err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// Count is how many devices a user has.
func (s *Devices) Count(ctx context.Context, q database.Querier, user matrix.UserID) (int64, error) {
	var n int64
	err := q.QueryRow(ctx, countDevices, user).Scan(&n)
	return n, err
}

// Idle is the devices of a user, but for one, that were not used for the
// longest time.
func (s *Devices) Idle(ctx context.Context, q database.Querier, user matrix.UserID, but matrix.DeviceID, limit int64) ([]matrix.DeviceID, error) {
	rows, err := q.Query(ctx, selectIdleDevices, user, but, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []matrix.DeviceID
	for rows.Next() {
		var id matrix.DeviceID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		list = append(list, id)
	}
	return list, rows.Err()
}

// Rename reports whether there is such a device.
func (s *Devices) Rename(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, name string) (bool, error) {
	n, err := tx.Exec(ctx, updateDeviceName, user, device, accountText(name))
	return n > 0, err
}

// Seen notes when and from where a device was last used.
func (s *Devices) Seen(ctx context.Context, tx *database.Tx, user matrix.UserID, d Device) error {
	_, err := tx.Exec(ctx, updateDeviceSeen, user, d.ID, d.LastSeenAt, accountText(d.LastSeenIP), accountText(d.UserAgent))
	return err
}

// Delete removes devices and tells how many there were.
func (s *Devices) Delete(ctx context.Context, tx *database.Tx, user matrix.UserID, devices []matrix.DeviceID) (int64, error) {
	return tx.Exec(ctx, deleteDevices, user, devices)
}
