package storage

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A RoomQuery asks for some of the rooms that are known here.
type RoomQuery struct {
	Search      string // in the name, the canonical alias or the ID; empty: any
	Order       string // one of RoomOrders; empty: name
	Backward    bool   // the other way round
	Public      *bool  // only those that are in the directory, or are not
	Empty       *bool  // only those that nobody is in, or in which somebody is
	From, Limit int64
}

// A ListedRoom is a room as operators see it.
type ListedRoom struct {
	NID int64
	Summary
	LocalMembers int64
	Public       bool
}

const (
	localMembers = `(SELECT COUNT(*)
			FROM memberships m
			JOIN user_ids u ON u.user_nid = m.user_nid
			JOIN accounts a ON a.user_id = u.user_id
			WHERE m.room_nid = r.room_nid AND m.membership = 'join')`
	listedRoom = `
		SELECT r.room_nid, r.room_id, r.version, r.creator, COALESCE(r.room_type, ''), COALESCE(r.name, ''), COALESCE(r.topic, ''),
			COALESCE(r.avatar_url, ''), COALESCE(r.canonical_alias, ''), r.join_rule, r.world_readable, r.guests_can_join,
			COALESCE(r.encryption, ''), r.joined_members, r.invited_members,
			` + localMembers + `,
			EXISTS (SELECT 1 FROM published_rooms p WHERE p.room_nid = r.room_nid AND p.network = '')`
	whichRooms = `
		FROM rooms r
		WHERE ($1 = '' OR r.room_id = $2 OR LOWER(COALESCE(r.name, '')) LIKE $1 ESCAPE '!'
				OR LOWER(COALESCE(r.canonical_alias, '')) LIKE $1 ESCAPE '!')
			AND ($3 = 0 OR ($3 = 1) = EXISTS (SELECT 1 FROM published_rooms p WHERE p.room_nid = r.room_nid AND p.network = ''))
			AND ($4 = 0 OR ($4 = 1) = (r.joined_members = 0))`
)

// An ordering is what rooms can be ordered by: the largest first, if it is a number.
type ordering struct{ forward, backward *database.Statement }

func orderedBy(expression, forward, backward string) ordering {
	statement := func(direction string) *database.Statement {
		return database.SQL(listedRoom + whichRooms + `
		ORDER BY ` + expression + ` ` + direction + `, r.room_nid
		LIMIT $5 OFFSET $6`)
	}
	return ordering{statement(forward), statement(backward)}
}

var roomOrders = map[string]ordering{
	"":                     orderedBy("LOWER(COALESCE(r.name, ''))", "ASC", "DESC"),
	"name":                 orderedBy("LOWER(COALESCE(r.name, ''))", "ASC", "DESC"),
	"canonical_alias":      orderedBy("COALESCE(r.canonical_alias, '')", "ASC", "DESC"),
	"joined_members":       orderedBy("r.joined_members", "DESC", "ASC"),
	"joined_local_members": orderedBy(localMembers, "DESC", "ASC"),
	"version":              orderedBy("r.version", "DESC", "ASC"),
	"creator":              orderedBy("r.creator", "ASC", "DESC"),
	"encryption":           orderedBy("COALESCE(r.encryption, '')", "ASC", "DESC"),
	"public":               orderedBy("EXISTS (SELECT 1 FROM published_rooms p WHERE p.room_nid = r.room_nid AND p.network = '')", "ASC", "DESC"),
	"join_rules":           orderedBy("r.join_rule", "ASC", "DESC"),
	"guest_access":         orderedBy("r.guests_can_join", "ASC", "DESC"),
}

// RoomOrders are what rooms can be ordered by.
func RoomOrders() []string { return slices.Sorted(maps.Keys(roomOrders)) }

var (
	countRooms = database.SQL(`
		SELECT COUNT(*)` + whichRooms)
	selectListedRoom = database.SQL(listedRoom + `
		FROM rooms r
		WHERE r.room_nid = $1`)
	selectBlockedRooms = database.SQL(`
		SELECT room_id, blocked_by
		FROM blocked_rooms
		ORDER BY room_id
		LIMIT 1000000`)
	insertBlockedRoom = database.SQL(`
		INSERT INTO blocked_rooms (room_id, blocked_by)
		VALUES ($1, $2)
		ON CONFLICT (room_id) DO NOTHING`)
	deleteBlockedRoom = database.SQL(`
		DELETE FROM blocked_rooms
		WHERE room_id = $1`)
)

// List is a page of rooms, and how many there are.
func (r *Rooms) List(ctx context.Context, q RoomQuery) (list []ListedRoom, total int64, err error) {
	order, known := roomOrders[q.Order]
	if !known {
		return nil, 0, fmt.Errorf("rooms are not ordered by %q", q.Order)
	}
	stmt := order.forward
	if q.Backward {
		stmt = order.backward
	}
	which := []any{likePattern(q.Search), q.Search, choice(q.Public), choice(q.Empty)}
	if err := r.db.Read().QueryRow(ctx, countRooms, which...).Scan(&total); err != nil {
		return nil, 0, err
	}
	list, err = r.listed(ctx, stmt, append(which, q.Limit, q.From)...)
	return list, total, err
}

// choice is 1 for true, 2 for false, and 0 for what is left open.
func choice(b *bool) int64 {
	switch {
	case b == nil:
		return 0
	case *b:
		return 1
	}
	return 2
}

// Listed is one room as operators see it, or nil.
func (r *Rooms) Listed(ctx context.Context, nid int64) (*ListedRoom, error) {
	list, err := r.listed(ctx, selectListedRoom, nid)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

func (r *Rooms) listed(ctx context.Context, stmt *database.Statement, args ...any) (list []ListedRoom, err error) {
	rows, err := r.db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var l ListedRoom
		var id, creator string
		if err := rows.Scan(&l.NID, &id, &l.Version, &creator, &l.Type, &l.Name, &l.Topic, &l.AvatarURL, &l.CanonicalAlias,
			&l.JoinRule, &l.WorldReadable, &l.GuestsCanJoin, &l.Encryption, &l.JoinedMembers, &l.InvitedMembers,
			&l.LocalMembers, &l.Public); err != nil {
			return nil, err
		}
		l.RoomID, l.Creator = matrix.RoomID(id), matrix.UserID(creator)
		list = append(list, l)
	}
	return list, rows.Err()
}

// Blocked is the rooms that nobody here may join, and who said so.
func (r *Rooms) Blocked(ctx context.Context) (map[matrix.RoomID]matrix.UserID, error) {
	rows, err := r.db.Read().Query(ctx, selectBlockedRooms)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	blocked := map[matrix.RoomID]matrix.UserID{}
	for rows.Next() {
		var room, by string
		if err := rows.Scan(&room, &by); err != nil {
			return nil, err
		}
		blocked[matrix.RoomID(room)] = matrix.UserID(by)
	}
	return blocked, rows.Err()
}

// Block keeps everybody here from joining a room, or no longer.
func (r *Rooms) Block(ctx context.Context, tx *database.Tx, room matrix.RoomID, by matrix.UserID, blocked bool) error {
	if !blocked {
		_, err := tx.Exec(ctx, deleteBlockedRoom, string(room))
		return err
	}
	_, err := tx.Exec(ctx, insertBlockedRoom, string(room), string(by))
	return err
}
