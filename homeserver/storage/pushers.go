package storage

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Pushers holds where users want to be notified, and how far that has come.
type Pushers struct {
	db  *database.DB
	ids *database.IDs
}

// NewPushers prepares the pushers of a database that is migrated.
func NewPushers(db *database.DB) *Pushers { return &Pushers{db, db.NewIDs("pusher")} }

// A Pusher is where a user wants to be notified.
type Pusher struct {
	ID         int64
	User       matrix.UserID
	Device     matrix.DeviceID // that made it; empty: an application service did
	Kind       string          // http or email
	AppID      string
	Key        string
	AppName    string
	DeviceName string
	ProfileTag string
	Lang       string
	Data       json.RawMessage
	Enabled    bool
	SetAt      int64 // Unix ms
	Position   int64 // notifications up to here are dealt with
	Badge      int64 // the count of unread ones that was sent last
}

const pusherColumns = `pusher_id, user_id, COALESCE(device_id, ''), kind, app_id, pushkey, app_name, device_name,
		COALESCE(profile_tag, ''), lang, data, enabled, set_at, position, badge`

var (
	upsertPusher = database.SQL(`
		INSERT INTO pushers (pusher_id, user_id, device_id, kind, app_id, pushkey, app_name, device_name,
			profile_tag, lang, data, enabled, set_at, position, badge)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
		ON CONFLICT (user_id, app_id, pushkey) DO UPDATE
		SET device_id = excluded.device_id, kind = excluded.kind, app_name = excluded.app_name,
			device_name = excluded.device_name, profile_tag = excluded.profile_tag, lang = excluded.lang,
			data = excluded.data, enabled = excluded.enabled, set_at = excluded.set_at,
			position = excluded.position, badge = excluded.badge`)
	selectPusher = database.SQL(`
		SELECT ` + pusherColumns + `
		FROM pushers
		WHERE pusher_id = $1`)
	selectPusherByKey = database.SQL(`
		SELECT ` + pusherColumns + `
		FROM pushers
		WHERE user_id = $1 AND app_id = $2 AND pushkey = $3`)
	selectUsersPushers = database.SQL(`
		SELECT ` + pusherColumns + `
		FROM pushers
		WHERE user_id = $1
		ORDER BY pusher_id
		LIMIT 1000`)
	selectPushers = database.SQL(`
		SELECT ` + pusherColumns + `
		FROM pushers
		WHERE pusher_id > $1
		ORDER BY pusher_id
		LIMIT $2`)
	selectOtherOwners = database.SQL(`
		SELECT user_id
		FROM pushers
		WHERE app_id = $1 AND pushkey = $2 AND user_id <> $3
		ORDER BY user_id
		LIMIT 1000`)
	updatePusherProgress = database.SQL(`
		UPDATE pushers
		SET position = CASE WHEN position < $2 THEN $2 ELSE position END, badge = $3
		WHERE pusher_id = $1`)
	deletePusherRooms = database.SQL(`
		DELETE FROM pusher_rooms
		WHERE pusher_id = $1`)
	deletePusher = database.SQL(`
		DELETE FROM pushers
		WHERE pusher_id = $1`)

	selectPusherRooms = database.SQL(`
		SELECT room_nid, mailed_at, pause
		FROM pusher_rooms
		WHERE pusher_id = $1 AND room_nid = ANY($2)
		ORDER BY room_nid
		LIMIT 1000`)
	upsertPusherRoom = database.SQL(`
		INSERT INTO pusher_rooms (pusher_id, room_nid, mailed_at, pause)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (pusher_id, room_nid) DO UPDATE
		SET mailed_at = excluded.mailed_at, pause = excluded.pause`)
)

// NewID is the number of a pusher to be.
func (s *Pushers) NewID(ctx context.Context) (int64, error) { return s.ids.Next(ctx) }

// Set makes a pusher, or changes the one that the user has with this app ID and
// key, which keeps its number.
func (s *Pushers) Set(ctx context.Context, tx *database.Tx, p Pusher) error {
	_, err := tx.Exec(ctx, upsertPusher, p.ID, p.User, accountText(string(p.Device)), p.Kind, p.AppID, p.Key, p.AppName, p.DeviceName,
		accountText(p.ProfileTag), p.Lang, []byte(p.Data), p.Enabled, p.SetAt, p.Position, p.Badge)
	return err
}

// Find is a pusher, or nil.
func (s *Pushers) Find(ctx context.Context, q database.Querier, id int64) (*Pusher, error) {
	return s.one(ctx, q, selectPusher, id)
}

// ByKey is a user's pusher with an app ID and a key, or nil.
func (s *Pushers) ByKey(ctx context.Context, q database.Querier, user matrix.UserID, appID, key string) (*Pusher, error) {
	return s.one(ctx, q, selectPusherByKey, user, appID, key)
}

// OfUser is the pushers of a user, oldest first.
func (s *Pushers) OfUser(ctx context.Context, q database.Querier, user matrix.UserID) ([]Pusher, error) {
	return s.query(ctx, q, selectUsersPushers, user)
}

// After is up to limit pushers with numbers above one.
func (s *Pushers) After(ctx context.Context, id int64, limit int) ([]Pusher, error) {
	return s.query(ctx, s.db.Read(), selectPushers, id, limit)
}

// OtherOwners is which other users have pushers with an app ID and a key.
func (s *Pushers) OtherOwners(ctx context.Context, q database.Querier, user matrix.UserID, appID, key string) ([]matrix.UserID, error) {
	rows, err := q.Query(ctx, selectOtherOwners, appID, key, user)
	if err != nil {
		return nil, err
	}
	return scanUsers(rows)
}

// Advance stores up to where a pusher has dealt with notifications, and the
// count that it has sent last.
func (s *Pushers) Advance(ctx context.Context, tx *database.Tx, id, position, badge int64) error {
	_, err := tx.Exec(ctx, updatePusherProgress, id, position, badge)
	return err
}

// Delete removes a pusher and what it remembers.
func (s *Pushers) Delete(ctx context.Context, tx *database.Tx, id int64) error {
	if _, err := tx.Exec(ctx, deletePusherRooms, id); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, deletePusher, id)
	return err
}

// A PusherRoom is when a pusher last mailed about a room, and for how long it
// then stays quiet about it.
type PusherRoom struct {
	RoomNID  int64
	MailedAt int64 // Unix ms
	Pause    int64 // ms
}

// Rooms is what a pusher remembers of some rooms, by number.
func (s *Pushers) Rooms(ctx context.Context, id int64, rooms []int64) (map[int64]PusherRoom, error) {
	rows, err := s.db.Read().Query(ctx, selectPusherRooms, id, rooms)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	known := map[int64]PusherRoom{}
	for rows.Next() {
		var r PusherRoom
		if err := rows.Scan(&r.RoomNID, &r.MailedAt, &r.Pause); err != nil {
			return nil, err
		}
		known[r.RoomNID] = r
	}
	return known, rows.Err()
}

// SetRoom makes a pusher remember a room.
func (s *Pushers) SetRoom(ctx context.Context, tx *database.Tx, id int64, r PusherRoom) error {
	_, err := tx.Exec(ctx, upsertPusherRoom, id, r.RoomNID, r.MailedAt, r.Pause)
	return err
}

func (s *Pushers) one(ctx context.Context, q database.Querier, stmt *database.Statement, args ...any) (*Pusher, error) {
	p, err := scanPusher(q.QueryRow(ctx, stmt, args...).Scan)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &p, nil
}

func (s *Pushers) query(ctx context.Context, q database.Querier, stmt *database.Statement, args ...any) ([]Pusher, error) {
	rows, err := q.Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Pusher
	for rows.Next() {
		p, err := scanPusher(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

func scanPusher(scan func(...any) error) (p Pusher, err error) {
	var data []byte
	err = scan(&p.ID, &p.User, &p.Device, &p.Kind, &p.AppID, &p.Key, &p.AppName, &p.DeviceName,
		&p.ProfileTag, &p.Lang, &data, &p.Enabled, &p.SetAt, &p.Position, &p.Badge)
	p.Data = data
	return p, err
}
