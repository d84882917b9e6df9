package storage

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Profiles holds the profile fields of local users, as JSON values.
type Profiles struct{ db *database.DB }

var (
	upsertProfileField = database.SQL(`
		INSERT INTO profile_fields (user_id, name, value)
		VALUES ($1, $2, $3)
		ON CONFLICT (user_id, name) DO UPDATE
		SET value = excluded.value`)
	deleteProfileField = database.SQL(`
		DELETE FROM profile_fields
		WHERE user_id = $1 AND name = $2`)
	deleteProfile = database.SQL(`
		DELETE FROM profile_fields
		WHERE user_id = $1`)
	selectProfile = database.SQL(`
		SELECT name, value
		FROM profile_fields
		WHERE user_id = $1
		ORDER BY name
		LIMIT 10000`)
	selectNames = database.SQL(`
		SELECT name, value
		FROM profile_fields
		WHERE user_id = $1 AND name IN ('displayname', 'avatar_url')
		ORDER BY name
		LIMIT 2`)
	selectProfileField = database.SQL(`
		SELECT value
		FROM profile_fields
		WHERE user_id = $1 AND name = $2`)
)

// Set stores a field.
func (s *Profiles) Set(ctx context.Context, tx *database.Tx, user matrix.UserID, name string, value json.RawMessage) error {
	_, err := tx.Exec(ctx, upsertProfileField, user, name, value)
	return err
}

// Delete removes a field; false if there was none.
func (s *Profiles) Delete(ctx context.Context, tx *database.Tx, user matrix.UserID, name string) (bool, error) {
	n, err := tx.Exec(ctx, deleteProfileField, user, name)
	return n > 0, err
}

// DeleteAll removes all fields of a user.
func (s *Profiles) DeleteAll(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deleteProfile, user)
	return err
}

// All is every field of a user.
func (s *Profiles) All(ctx context.Context, q database.Querier, user matrix.UserID) (map[string]json.RawMessage, error) {
	return profileFields(q.Query(ctx, selectProfile, user))
}

// Names is the display name and the avatar of a user, as far as set.
func (s *Profiles) Names(ctx context.Context, user matrix.UserID) (map[string]json.RawMessage, error) {
	return profileFields(s.db.Read().Query(ctx, selectNames, user))
}

func profileFields(rows *database.Rows, err error) (map[string]json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	fields := map[string]json.RawMessage{}
	for rows.Next() {
		var name string
		var value []byte
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		fields[name] = value
	}
	return fields, rows.Err()
}

// Field is one field of a user, or nil.
func (s *Profiles) Field(ctx context.Context, user matrix.UserID, name string) (json.RawMessage, error) {
	var value []byte
	err := s.db.Read().QueryRow(ctx, selectProfileField, user, name).Scan(&value)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return value, err
}

// Filters holds the filters that users have uploaded.
type Filters struct{ db *database.DB }

var (
	selectFilterByHash = database.SQL(`
		SELECT filter_id
		FROM filters
		WHERE user_id = $1 AND hash = $2`)
	selectLastFilter = database.SQL(`
		SELECT COALESCE(MAX(filter_id), 0)
		FROM filters
		WHERE user_id = $1`)
	insertFilter = database.SQL(`
		INSERT INTO filters (user_id, filter_id, hash, json)
		VALUES ($1, $2, $3, $4)`)
	selectFilter = database.SQL(`
		SELECT json
		FROM filters
		WHERE user_id = $1 AND filter_id = $2`)
)

// IDByHash is the ID of the user's filter with this hash, or 0.
func (s *Filters) IDByHash(ctx context.Context, q database.Querier, user matrix.UserID, hash []byte) (int64, error) {
	var id int64
	err := q.QueryRow(ctx, selectFilterByHash, user, hash).Scan(&id)
	if errors.Is(err, database.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

// LastID is the highest filter ID of a user, or 0.
func (s *Filters) LastID(ctx context.Context, q database.Querier, user matrix.UserID) (int64, error) {
	var id int64
	err := q.QueryRow(ctx, selectLastFilter, user).Scan(&id)
	return id, err
}

// Insert stores a filter.
func (s *Filters) Insert(ctx context.Context, tx *database.Tx, user matrix.UserID, id int64, hash []byte, filter json.RawMessage) error {
	_, err := tx.Exec(ctx, insertFilter, user, id, hash, filter)
	return err
}

// Find is a filter, or nil.
func (s *Filters) Find(ctx context.Context, user matrix.UserID, id int64) (json.RawMessage, error) {
	var filter []byte
	err := s.db.Read().QueryRow(ctx, selectFilter, user, id).Scan(&filter)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return filter, err
}
