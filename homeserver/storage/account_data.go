package storage

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// AccountData holds what users keep in their accounts, for the whole account
// or for a room.
type AccountData struct{ db *database.DB }

// An AccountDatum is one piece of account data.
type AccountDatum struct {
	RoomID   matrix.RoomID // empty: for the whole account
	Type     string
	Content  json.RawMessage
	Position int64 // of the change that made it what it is
	Rules    bool  // the content is what [PushRules] holds
}

var (
	upsertAccountData = database.SQL(`
		INSERT INTO account_data (user_id, room_id, type, content, position)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id, room_id, type) DO UPDATE
		SET content = excluded.content, position = excluded.position`)
	selectAccountData = database.SQL(`
		SELECT content
		FROM account_data
		WHERE user_id = $1 AND room_id = $2 AND type = $3`)
	selectGlobalDataSince = database.SQL(`
		SELECT room_id, type, content, position, FALSE AS rules
		FROM account_data
		WHERE user_id = $1 AND room_id = '' AND position > $2 AND position <= $3
		UNION ALL
		SELECT '', 'm.push_rules', rules, position, TRUE
		FROM push_rules
		WHERE user_id = $1 AND position > $2 AND position <= $3
		ORDER BY position
		LIMIT 100000`)
	selectRoomDataSince = database.SQL(`
		SELECT room_id, type, content, position, FALSE
		FROM account_data
		WHERE user_id = $1 AND room_id <> '' AND position > $2 AND position <= $3
		ORDER BY position
		LIMIT 100000`)
	countAccountData = database.SQL(`
		SELECT COUNT(*)
		FROM account_data
		WHERE user_id = $1`)
	selectDataOfRooms = database.SQL(`
		SELECT room_id, type, content, position, FALSE
		FROM account_data
		WHERE user_id = $1 AND room_id = ANY($2) AND position <= $3
		ORDER BY position
		LIMIT 100000`)
	selectGlobalData = database.SQL(`
		SELECT type, content
		FROM account_data
		WHERE user_id = $1 AND room_id = '' AND type = ANY($2)
		ORDER BY type
		LIMIT 100000`)
	deleteAccountData = database.SQL(`
		DELETE FROM account_data
		WHERE user_id = $1`)
	selectGlobalDataOfTypes = database.SQL(`
		SELECT type
		FROM account_data
		WHERE user_id = $1 AND room_id = '' AND type = ANY($2)
		ORDER BY type
		LIMIT 100000`)
)

// Set stores a piece of account data.
func (s *AccountData) Set(ctx context.Context, tx *database.Tx, user matrix.UserID, d AccountDatum) error {
	_, err := tx.Exec(ctx, upsertAccountData, user, d.RoomID, d.Type, d.Content, d.Position)
	return err
}

// Find is a piece of account data, or nil. The room is empty for data of the
// whole account.
func (s *AccountData) Find(ctx context.Context, q database.Querier, user matrix.UserID, room matrix.RoomID, dataType string) (json.RawMessage, error) {
	var content []byte
	err := q.QueryRow(ctx, selectAccountData, user, room, dataType).Scan(&content)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return content, err
}

// OfTypes is the pieces of the whole account's data that are of some types.
func (s *AccountData) OfTypes(ctx context.Context, q database.Querier, user matrix.UserID, types []string) (map[string]json.RawMessage, error) {
	rows, err := q.Query(ctx, selectGlobalData, user, types)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]json.RawMessage{}
	for rows.Next() {
		var dataType string
		var content []byte
		if err := rows.Scan(&dataType, &content); err != nil {
			return nil, err
		}
		found[dataType] = content
	}
	return found, rows.Err()
}

// Count is how many pieces of account data a user has.
func (s *AccountData) Count(ctx context.Context, q database.Querier, user matrix.UserID) (int64, error) {
	var n int64
	err := q.QueryRow(ctx, countAccountData, user).Scan(&n)
	return n, err
}

// GlobalSince is what changed of the whole account's data after one position,
// up to another, in order, with the push rules as m.push_rules.
func (s *AccountData) GlobalSince(ctx context.Context, user matrix.UserID, since, upTo int64) ([]AccountDatum, error) {
	return s.since(ctx, selectGlobalDataSince, user, since, upTo)
}

// RoomsSince is the same of the data for rooms.
func (s *AccountData) RoomsSince(ctx context.Context, user matrix.UserID, since, upTo int64) ([]AccountDatum, error) {
	return s.since(ctx, selectRoomDataSince, user, since, upTo)
}

// OfRooms is the data for some rooms as it was changed last before a position, in order.
func (s *AccountData) OfRooms(ctx context.Context, user matrix.UserID, rooms []string, upTo int64) ([]AccountDatum, error) {
	return s.list(ctx, selectDataOfRooms, user, rooms, upTo)
}

func (s *AccountData) since(ctx context.Context, stmt *database.Statement, user matrix.UserID, since, upTo int64) ([]AccountDatum, error) {
	return s.list(ctx, stmt, user, since, upTo)
}

func (s *AccountData) list(ctx context.Context, stmt *database.Statement, args ...any) ([]AccountDatum, error) {
	rows, err := s.db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []AccountDatum
	for rows.Next() {
		var d AccountDatum
		if err := rows.Scan(&d.RoomID, &d.Type, &d.Content, &d.Position, &d.Rules); err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// Which is those of some types of the whole account's data that a user has.
func (s *AccountData) Which(ctx context.Context, tx *database.Tx, user matrix.UserID, types []string) ([]string, error) {
	rows, err := tx.Query(ctx, selectGlobalDataOfTypes, user, types)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var dataType string
		if err := rows.Scan(&dataType); err != nil {
			return nil, err
		}
		found = append(found, dataType)
	}
	return found, rows.Err()
}

// DeleteAll removes all account data of a user.
func (s *AccountData) DeleteAll(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deleteAccountData, user)
	return err
}

// PushRules holds what users have changed about their push rules.
type PushRules struct{ db *database.DB }

var (
	upsertPushRules = database.SQL(`
		INSERT INTO push_rules (user_id, rules, position)
		VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE
		SET rules = excluded.rules, position = excluded.position`)
	selectPushRules = database.SQL(`
		SELECT rules, position
		FROM push_rules
		WHERE user_id = $1`)
	deletePushRules = database.SQL(`
		DELETE FROM push_rules
		WHERE user_id = $1`)
)

// Set stores a user's changes.
func (s *PushRules) Set(ctx context.Context, tx *database.Tx, user matrix.UserID, rules json.RawMessage, position int64) error {
	_, err := tx.Exec(ctx, upsertPushRules, user, rules, position)
	return err
}

// Find is a user's changes and the position of the last one; nil and 0 when
// the user has made none.
func (s *PushRules) Find(ctx context.Context, q database.Querier, user matrix.UserID) (json.RawMessage, int64, error) {
	var rules []byte
	var position int64
	err := q.QueryRow(ctx, selectPushRules, user).Scan(&rules, &position)
	if errors.Is(err, database.ErrNoRows) {
		return nil, 0, nil
	}
	return rules, position, err
}

// Delete forgets a user's changes.
func (s *PushRules) Delete(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deletePushRules, user)
	return err
}
