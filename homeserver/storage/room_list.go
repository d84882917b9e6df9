package storage

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A RoomQuery asks for some of the rooms that are known here.
type RoomQuery struct {
	Search      string // in the name, the canonical alias or the ID; empty: any
	BySize      bool   // the largest first, else by name
	Backward    bool   // the other way round
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
	listedRoom = `
		SELECT r.room_nid, r.room_id, r.version, r.creator, COALESCE(r.room_type, ''), COALESCE(r.name, ''), COALESCE(r.topic, ''),
			COALESCE(r.avatar_url, ''), COALESCE(r.canonical_alias, ''), r.join_rule, r.world_readable, r.guests_can_join,
			COALESCE(r.encryption, ''), r.joined_members, r.invited_members,
			(SELECT COUNT(*)
			FROM memberships m
			JOIN user_ids u ON u.user_nid = m.user_nid
			JOIN accounts a ON a.user_id = u.user_id
			WHERE m.room_nid = r.room_nid AND m.membership = 'join'),
			EXISTS (SELECT 1 FROM published_rooms p WHERE p.room_nid = r.room_nid AND p.network = '')`
	listedRooms = listedRoom + `
		FROM rooms r
		WHERE $1 = '' OR r.room_id = $2 OR LOWER(COALESCE(r.name, '')) LIKE $1 ESCAPE '!'
			OR LOWER(COALESCE(r.canonical_alias, '')) LIKE $1 ESCAPE '!'`
)

var (
	selectRoomsByName = database.SQL(listedRooms + `
		ORDER BY LOWER(COALESCE(r.name, '')), r.room_nid
		LIMIT $3 OFFSET $4`)
	selectRoomsByNameBackward = database.SQL(listedRooms + `
		ORDER BY LOWER(COALESCE(r.name, '')) DESC, r.room_nid
		LIMIT $3 OFFSET $4`)
	selectRoomsBySize = database.SQL(listedRooms + `
		ORDER BY r.joined_members DESC, r.room_nid
		LIMIT $3 OFFSET $4`)
	selectRoomsBySizeBackward = database.SQL(listedRooms + `
		ORDER BY r.joined_members, r.room_nid
		LIMIT $3 OFFSET $4`)
	countRooms = database.SQL(`
		SELECT COUNT(*)
		FROM rooms r
		WHERE $1 = '' OR r.room_id = $2 OR LOWER(COALESCE(r.name, '')) LIKE $1 ESCAPE '!'
			OR LOWER(COALESCE(r.canonical_alias, '')) LIKE $1 ESCAPE '!'`)
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
	stmt := selectRoomsByName
	switch {
	case q.BySize && q.Backward:
		stmt = selectRoomsBySizeBackward
	case q.BySize:
		stmt = selectRoomsBySize
	case q.Backward:
		stmt = selectRoomsByNameBackward
	}
	pattern := likePattern(q.Search)
	if err := r.db.Read().QueryRow(ctx, countRooms, pattern, q.Search).Scan(&total); err != nil {
		return nil, 0, err
	}
	list, err = r.listed(ctx, stmt, pattern, q.Search, q.Limit, q.From)
	return list, total, err
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
