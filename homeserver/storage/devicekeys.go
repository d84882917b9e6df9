package storage

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// DeviceKeys holds the identity keys of devices.
type DeviceKeys struct{ db *database.DB }

// A DeviceKey is the identity keys of one device.
type DeviceKey struct {
	User        matrix.UserID
	Device      matrix.DeviceID
	DisplayName string // of the device; empty: none
	JSON        json.RawMessage
}

var (
	upsertDeviceKeys = database.SQL(`
		INSERT INTO device_keys (user_id, device_id, json)
		VALUES ($1, $2, $3)
		ON CONFLICT (user_id, device_id) DO UPDATE
		SET json = excluded.json`)
	selectDeviceKeys = database.SQL(`
		SELECT json
		FROM device_keys
		WHERE user_id = $1 AND device_id = $2`)
	selectDeviceKeysOfUsers = database.SQL(`
		SELECT k.user_id, k.device_id, COALESCE(d.display_name, ''), k.json
		FROM device_keys k
		LEFT JOIN devices d ON d.user_id = k.user_id AND d.device_id = k.device_id
		WHERE k.user_id = ANY($1)
		ORDER BY k.user_id, k.device_id
		LIMIT 100000`)
	selectAnyDeviceKeys = database.SQL(`
		SELECT COUNT(*)
		FROM (SELECT 1 FROM device_keys WHERE user_id = $1 LIMIT 1) AS found`)
	selectUsersWithDeviceKeys = database.SQL(`
		SELECT DISTINCT user_id
		FROM device_keys
		WHERE user_id = ANY($1)
		ORDER BY user_id
		LIMIT 500`)
	deleteDeviceKeys = database.SQL(`
		DELETE FROM device_keys
		WHERE user_id = $1 AND device_id = ANY($2)`)
	selectDeviceExists = database.SQL(`
		SELECT COUNT(*)
		FROM devices
		WHERE user_id = $1 AND device_id = $2`)
)

// Set stores the keys of a device.
func (s *DeviceKeys) Set(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, keys json.RawMessage) error {
	return tx.Queue(ctx, upsertDeviceKeys, user, device, keys)
}

// Find is the keys of a device, or nil.
func (s *DeviceKeys) Find(ctx context.Context, q database.Querier, user matrix.UserID, device matrix.DeviceID) (json.RawMessage, error) {
	var keys []byte
	err := q.QueryRow(ctx, selectDeviceKeys, user, device).Scan(&keys)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return keys, err
}

// OfUsers is the keys of all devices of some users, ordered by user and device.
func (s *DeviceKeys) OfUsers(ctx context.Context, users []matrix.UserID) ([]DeviceKey, error) {
	rows, err := s.db.Read().Query(ctx, selectDeviceKeysOfUsers, users)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []DeviceKey
	for rows.Next() {
		var k DeviceKey
		var raw []byte
		if err := rows.Scan(&k.User, &k.Device, &k.DisplayName, &raw); err != nil {
			return nil, err
		}
		k.JSON = raw
		list = append(list, k)
	}
	return list, rows.Err()
}

// Any reports whether a user has a device with keys.
func (s *DeviceKeys) Any(ctx context.Context, q database.Querier, user matrix.UserID) (bool, error) {
	var n int64
	err := q.QueryRow(ctx, selectAnyDeviceKeys, user).Scan(&n)
	return n > 0, err
}

// Having is those of some users who have devices with keys.
func (s *DeviceKeys) Having(ctx context.Context, users []matrix.UserID) ([]matrix.UserID, error) {
	var having []matrix.UserID
	for chunk := range slices.Chunk(users, atOnce) {
		found, err := s.having(ctx, chunk)
		if err != nil {
			return nil, err
		}
		having = append(having, found...)
	}
	return having, nil
}

func (s *DeviceKeys) having(ctx context.Context, users []matrix.UserID) ([]matrix.UserID, error) {
	rows, err := s.db.Read().Query(ctx, selectUsersWithDeviceKeys, users)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []matrix.UserID
	for rows.Next() {
		var user matrix.UserID
		if err := rows.Scan(&user); err != nil {
			return nil, err
		}
		found = append(found, user)
	}
	return found, rows.Err()
}

// Delete removes the keys of devices and tells how many of them had any.
func (s *DeviceKeys) Delete(ctx context.Context, tx *database.Tx, user matrix.UserID, devices []matrix.DeviceID) (int64, error) {
	return tx.Exec(ctx, deleteDeviceKeys, user, devices)
}

// DeviceExists reports whether a local user has a device, with or without keys.
func (s *DeviceKeys) DeviceExists(ctx context.Context, q database.Querier, user matrix.UserID, device matrix.DeviceID) (bool, error) {
	var n int64
	err := q.QueryRow(ctx, selectDeviceExists, user, device).Scan(&n)
	return n > 0, err
}
