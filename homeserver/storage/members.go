package storage

import (
	"context"
	"errors"
	"fmt"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Members holds the newest membership of each user in each room.
type Members struct {
	db    *database.DB
	users *Interner
	rooms *Rooms
}

// A Membership is where a user stands in a room.
type Membership struct {
	RoomNID    int64
	Membership string // join, invite, knock, leave or ban
	EventNID   int64
	Position   int64 // of the member event
	Forgotten  bool
	Standing   Standing // of the room; of [Members.In] only Last
	// Stripped is a JSON array of stripped state events, for an invite or a
	// knock in a room that this server is not in.
	Stripped []byte
}

var (
	upsertMembership = database.SQL(`
		INSERT INTO memberships (user_nid, room_nid, membership, event_nid, position, forgotten, stripped)
		VALUES ($1, $2, $3, $4, $5, FALSE, $6)
		ON CONFLICT (user_nid, room_nid) DO UPDATE
		SET membership = excluded.membership, event_nid = excluded.event_nid, position = excluded.position,
			forgotten = FALSE, stripped = excluded.stripped`)
	forgetRoom = database.SQL(`
		UPDATE memberships
		SET forgotten = TRUE
		WHERE user_nid = $1 AND room_nid = $2 AND membership IN ('leave', 'ban')`)
	selectMembershipsOfUser = database.SQL(`
		SELECT m.room_nid, m.membership, m.event_nid, m.position, m.forgotten, r.last_position, m.stripped,
			r.room_id, r.version, COALESCE(r.room_type, ''), r.encryption IS NOT NULL, r.bump_position
		FROM memberships m
		JOIN rooms r ON r.room_nid = m.room_nid
		WHERE m.user_nid = $1
		ORDER BY m.room_nid`)
	selectMembership = database.SQL(`
		SELECT m.room_nid, m.membership, m.event_nid, m.position, m.forgotten, r.last_position, m.stripped
		FROM memberships m
		JOIN rooms r ON r.room_nid = m.room_nid
		WHERE m.user_nid = $1 AND m.room_nid = $2`)
	selectRoomMembers = database.SQL(`
		SELECT u.user_id, m.membership
		FROM memberships m
		JOIN user_ids u ON u.user_nid = m.user_nid
		WHERE m.room_nid = $1 AND m.membership IN ('join', 'invite', 'knock')
		ORDER BY m.event_nid`)
	selectLastMove = database.SQL(`
		SELECT COALESCE(MAX(position), 0)
		FROM memberships
		WHERE room_nid = $1`)
	selectHeroes = database.SQL(`
		SELECT u.user_id
		FROM memberships m
		JOIN user_ids u ON u.user_nid = m.user_nid
		WHERE m.room_nid = $1 AND m.membership = ANY($2) AND u.user_id <> $3
		ORDER BY m.event_nid
		LIMIT $4`)
	selectRoomMates = database.SQL(`
		SELECT DISTINCT u.user_id
		FROM memberships mine
		JOIN memberships theirs ON theirs.room_nid = mine.room_nid
		JOIN user_ids u ON u.user_nid = theirs.user_nid
		WHERE mine.user_nid = $1 AND mine.membership = 'join' AND theirs.membership = 'join'
		ORDER BY u.user_id`)
)

// Set stores a user's newest membership.
func (s *Members) Set(ctx context.Context, tx *database.Tx, userNID int64, m Membership) error {
	var stripped any
	if len(m.Stripped) > 0 {
		stripped = m.Stripped
	}
	return tx.Queue(ctx, upsertMembership, userNID, m.RoomNID, m.Membership, m.EventNID, m.Position, stripped)
}

// Forget hides a room that the user has left.
func (s *Members) Forget(ctx context.Context, tx *database.Tx, userNID, roomNID int64) error {
	_, err := tx.Exec(ctx, forgetRoom, userNID, roomNID)
	return err
}

// OfUser is every membership of a user, and where the rooms stand. [Rooms.InfoOf]
// knows these rooms afterwards.
func (s *Members) OfUser(ctx context.Context, user matrix.UserID) ([]Membership, error) {
	found, err := s.users.Lookup(ctx, []string{string(user)})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	rows, err := s.db.Read().Query(ctx, selectMembershipsOfUser, found[string(user)])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Membership
	for rows.Next() {
		var m Membership
		var id, version string
		at := &m.Standing
		if err := rows.Scan(&m.RoomNID, &m.Membership, &m.EventNID, &m.Position, &m.Forgotten, &at.Last, &m.Stripped,
			&id, &version, &at.Type, &at.Encrypted, &at.Bump); err != nil {
			return nil, err
		}
		if err := s.rooms.learn(m.RoomNID, id, version); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

// In is a user's membership in a room, or nil.
func (s *Members) In(ctx context.Context, roomNID int64, user matrix.UserID) (*Membership, error) {
	found, err := s.users.Lookup(ctx, []string{string(user)})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	var m Membership
	err = s.db.Read().QueryRow(ctx, selectMembership, found[string(user)], roomNID).
		Scan(&m.RoomNID, &m.Membership, &m.EventNID, &m.Position, &m.Forgotten, &m.Standing.Last, &m.Stripped)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("membership of %s: %w", user, err)
	}
	return &m, nil
}

// A Member is a user in a room.
type Member struct {
	User       matrix.UserID
	Membership string
}

// OfRoom is who is joined to, invited to or knocking at a room, in the order of their member events.
func (s *Members) OfRoom(ctx context.Context, roomNID int64) ([]Member, error) {
	rows, err := s.db.Read().Query(ctx, selectRoomMembers, roomNID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Member
	for rows.Next() {
		var user, membership string
		if err := rows.Scan(&user, &membership); err != nil {
			return nil, err
		}
		list = append(list, Member{matrix.UserID(user), membership})
	}
	return list, rows.Err()
}

// LastMove is the newest position at which somebody's membership of a room changed.
func (s *Members) LastMove(ctx context.Context, roomNID int64) (position int64, err error) {
	err = s.db.Read().QueryRow(ctx, selectLastMove, roomNID).Scan(&position)
	return position, err
}

// Mates is every user who shares a joined room with this one, itself included if it is in any.
func (s *Members) Mates(ctx context.Context, user matrix.UserID) ([]matrix.UserID, error) {
	found, err := s.users.Lookup(ctx, []string{string(user)})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	rows, err := s.db.Read().Query(ctx, selectRoomMates, found[string(user)])
	if err != nil {
		return nil, err
	}
	return scanUsers(rows)
}

// Heroes is the first members other than one user, by whom a room without a
// name is called: those who are in it or invited, else those who were.
func (s *Members) Heroes(ctx context.Context, roomNID int64, except matrix.UserID, limit int) ([]matrix.UserID, error) {
	for _, memberships := range [][]string{{"join", "invite"}, {"leave", "ban"}} {
		rows, err := s.db.Read().Query(ctx, selectHeroes, roomNID, memberships, string(except), limit)
		if err != nil {
			return nil, err
		}
		list, err := scanUsers(rows)
		if len(list) > 0 || err != nil {
			return list, err
		}
	}
	return nil, nil
}

func scanUsers(rows *database.Rows) ([]matrix.UserID, error) {
	defer rows.Close()
	var list []matrix.UserID
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		list = append(list, matrix.UserID(id))
	}
	return list, rows.Err()
}
