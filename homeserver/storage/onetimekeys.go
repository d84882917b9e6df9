package storage

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// OneTimeKeys holds the keys that are given out once, and the fallback keys
// that are given out when none is left.
type OneTimeKeys struct{ db *database.DB }

// A OneTimeKey is one key of a device, of either kind.
type OneTimeKey struct {
	Algorithm string
	ID        string
	JSON      json.RawMessage // a string or an object
}

var (
	selectOneTimeKeys = database.SQL(`
		SELECT algorithm, key_id, json
		FROM one_time_keys
		WHERE user_id = $1 AND device_id = $2 AND key_id = ANY($3)
		ORDER BY algorithm, key_id
		LIMIT 100000`)
	insertOneTimeKey = database.SQL(`
		INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, position, json)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT DO NOTHING`)
	takeOneTimeKey = database.SQL(`
		DELETE FROM one_time_keys
		WHERE user_id = $1 AND device_id = $2 AND algorithm = $3 AND key_id = (
			SELECT key_id
			FROM one_time_keys
			WHERE user_id = $1 AND device_id = $2 AND algorithm = $3
			ORDER BY position, key_id
			LIMIT 1)
		RETURNING key_id, json`)
	countOneTimeKeys = database.SQL(`
		SELECT algorithm, COUNT(*)
		FROM one_time_keys
		WHERE user_id = $1 AND device_id = $2
		GROUP BY algorithm
		ORDER BY algorithm
		LIMIT 1000`)
	deleteOneTimeKeys = database.SQL(`
		DELETE FROM one_time_keys
		WHERE user_id = $1 AND device_id = ANY($2)`)

	// The same key again does not become unused by that.
	upsertFallbackKey = database.SQL(`
		INSERT INTO fallback_keys (user_id, device_id, algorithm, key_id, used, json)
		VALUES ($1, $2, $3, $4, FALSE, $5)
		ON CONFLICT (user_id, device_id, algorithm) DO UPDATE
		SET key_id = excluded.key_id, used = FALSE, json = excluded.json
		WHERE fallback_keys.key_id <> excluded.key_id OR fallback_keys.json <> excluded.json`)
	selectFallbackKey = database.SQL(`
		SELECT key_id, json, used
		FROM fallback_keys
		WHERE user_id = $1 AND device_id = $2 AND algorithm = $3`)
	useFallbackKey = database.SQL(`
		UPDATE fallback_keys
		SET used = TRUE
		WHERE user_id = $1 AND device_id = $2 AND algorithm = $3`)
	selectUnusedFallbackKeys = database.SQL(`
		SELECT algorithm
		FROM fallback_keys
		WHERE user_id = $1 AND device_id = $2 AND NOT used
		ORDER BY algorithm
		LIMIT 1000`)
	deleteFallbackKeys = database.SQL(`
		DELETE FROM fallback_keys
		WHERE user_id = $1 AND device_id = ANY($2)`)
)

// Find is those keys of a device that have one of the IDs, in any algorithm.
func (s *OneTimeKeys) Find(ctx context.Context, q database.Querier, user matrix.UserID, device matrix.DeviceID, ids []string) ([]OneTimeKey, error) {
	rows, err := q.Query(ctx, selectOneTimeKeys, user, device, ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []OneTimeKey
	for rows.Next() {
		var k OneTimeKey
		var raw []byte
		if err := rows.Scan(&k.Algorithm, &k.ID, &raw); err != nil {
			return nil, err
		}
		k.JSON = raw
		list = append(list, k)
	}
	return list, rows.Err()
}

// Insert stores keys that were uploaded together.
func (s *OneTimeKeys) Insert(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, keys []OneTimeKey, position int64) error {
	rows := make([][]any, len(keys))
	for i, k := range keys {
		rows[i] = []any{user, device, k.Algorithm, k.ID, position, k.JSON}
	}
	return tx.ExecMany(ctx, insertOneTimeKey, rows)
}

// Take removes the oldest key of an algorithm and returns it, or nil.
func (s *OneTimeKeys) Take(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, algorithm string) (*OneTimeKey, error) {
	k := OneTimeKey{Algorithm: algorithm}
	var raw []byte
	err := tx.QueryRow(ctx, takeOneTimeKey, user, device, algorithm).Scan(&k.ID, &raw)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	k.JSON = raw
	return &k, err
}

// Counts is how many keys a device has left, by algorithm.
func (s *OneTimeKeys) Counts(ctx context.Context, q database.Querier, user matrix.UserID, device matrix.DeviceID) (map[string]int, error) {
	rows, err := q.Query(ctx, countOneTimeKeys, user, device)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[string]int{}
	for rows.Next() {
		var algorithm string
		var n int64
		if err := rows.Scan(&algorithm, &n); err != nil {
			return nil, err
		}
		counts[algorithm] = int(n)
	}
	return counts, rows.Err()
}

// SetFallback stores a device's fallback key of an algorithm, unused, and
// reports whether it is another one than before.
func (s *OneTimeKeys) SetFallback(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, k OneTimeKey) (bool, error) {
	n, err := tx.Exec(ctx, upsertFallbackKey, user, device, k.Algorithm, k.ID, k.JSON)
	return n > 0, err
}

// Fallback is a device's fallback key of an algorithm, or nil.
func (s *OneTimeKeys) Fallback(ctx context.Context, q database.Querier, user matrix.UserID, device matrix.DeviceID, algorithm string) (k *OneTimeKey, used bool, err error) {
	k = &OneTimeKey{Algorithm: algorithm}
	var raw []byte
	err = q.QueryRow(ctx, selectFallbackKey, user, device, algorithm).Scan(&k.ID, &raw, &used)
	if errors.Is(err, database.ErrNoRows) {
		return nil, false, nil
	}
	k.JSON = raw
	return k, used, err
}

// UseFallback notes that a fallback key was given out.
func (s *OneTimeKeys) UseFallback(ctx context.Context, tx *database.Tx, user matrix.UserID, device matrix.DeviceID, algorithm string) error {
	return tx.Queue(ctx, useFallbackKey, user, device, algorithm)
}

// UnusedFallbacks is the algorithms of which a device has a fallback key that
// was not given out yet.
func (s *OneTimeKeys) UnusedFallbacks(ctx context.Context, q database.Querier, user matrix.UserID, device matrix.DeviceID) ([]string, error) {
	rows, err := q.Query(ctx, selectUnusedFallbackKeys, user, device)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []string{}
	for rows.Next() {
		var algorithm string
		if err := rows.Scan(&algorithm); err != nil {
			return nil, err
		}
		list = append(list, algorithm)
	}
	return list, rows.Err()
}

// Delete removes all keys of devices, fallback keys included.
func (s *OneTimeKeys) Delete(ctx context.Context, tx *database.Tx, user matrix.UserID, devices []matrix.DeviceID) error {
	if err := tx.Queue(ctx, deleteOneTimeKeys, user, devices); err != nil {
		return err
	}
	return tx.Queue(ctx, deleteFallbackKeys, user, devices)
}
