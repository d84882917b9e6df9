package storage

import (
	"context"
	"slices"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// DeviceLists holds when users' keys changed, and finds out whom that concerns.
type DeviceLists struct{ db *database.DB }

// A Move is a membership that is newer than a position.
type Move struct {
	User       matrix.UserID
	RoomNID    int64
	Membership string // join, leave or ban
	EventNID   int64
}

// hasKeys is what a user u must be for others to care for its devices: a user
// of another server, one who has devices, or one whose keys have changed some
// time. It keeps the users of bridges, who have neither, out of large joins.
const hasKeys = `(u.user_id NOT LIKE $3 ESCAPE '\' OR EXISTS (
			SELECT 1
			FROM devices d
			WHERE d.user_id = u.user_id) OR EXISTS (
			SELECT 1
			FROM device_list_changes known
			WHERE known.user_id = u.user_id AND known.observer = ''))`

var (
	upsertDeviceListChange = database.SQL(`
		INSERT INTO device_list_changes (user_id, observer, position)
		VALUES ($1, $2, $3)
		ON CONFLICT (user_id, observer) DO UPDATE
		SET position = excluded.position`)
	selectDeviceListChanges = database.SQL(`
		SELECT user_id, observer
		FROM device_list_changes
		WHERE position > $2 AND position <= $3 AND (observer = '' OR observer = $1)
		ORDER BY user_id, observer
		LIMIT 100000`)
	selectOwnMoves = database.SQL(`
		SELECT '', room_nid, membership, event_nid
		FROM memberships
		WHERE user_nid = $1 AND position > $2 AND membership IN ('join', 'leave', 'ban')
		ORDER BY position
		LIMIT 100000`)
	selectMovesOfMates = database.SQL(`
		SELECT u.user_id, theirs.room_nid, theirs.membership, theirs.event_nid
		FROM memberships mine
		JOIN memberships theirs ON theirs.room_nid = mine.room_nid
		JOIN user_ids u ON u.user_nid = theirs.user_nid
		WHERE mine.user_nid = $1 AND mine.membership = 'join' AND theirs.user_nid <> $1
			AND theirs.position > $2 AND theirs.membership IN ('join', 'leave', 'ban')
			AND ` + hasKeys + `
		ORDER BY theirs.position
		LIMIT 100000`)
	selectJoinedOrGone = database.SQL(`
		SELECT DISTINCT u.user_id
		FROM memberships m
		JOIN user_ids u ON u.user_nid = m.user_nid
		WHERE m.room_nid = ANY($1) AND (m.membership = 'join' OR m.membership IN ('leave', 'ban') AND m.position > $2)
			AND ` + hasKeys + `
		ORDER BY u.user_id
		LIMIT 100000`)
	selectSharing = database.SQL(`
		SELECT u.user_id
		FROM user_ids u
		WHERE u.user_id = ANY($2) AND EXISTS (
			SELECT 1
			FROM memberships theirs
			JOIN memberships mine ON mine.room_nid = theirs.room_nid
			WHERE theirs.user_nid = u.user_nid AND theirs.membership = 'join' AND mine.user_nid = $1 AND mine.membership = 'join')
		ORDER BY u.user_id
		LIMIT 1000`)
	selectJoinedRoomNIDs = database.SQL(`
		SELECT m.room_nid
		FROM memberships m
		JOIN user_ids u ON u.user_nid = m.user_nid
		WHERE u.user_id = $1 AND m.membership = 'join'
		ORDER BY m.room_nid
		LIMIT 100000`)
)

// Change notes that a user's keys changed for everybody or, with an observer,
// for that one alone.
func (s *DeviceLists) Change(ctx context.Context, tx *database.Tx, user, observer matrix.UserID, position int64) error {
	return tx.Queue(ctx, upsertDeviceListChange, user, observer, position)
}

// Changed is the users whose keys changed in (since, upTo] for everybody, and
// those whose keys changed for one observer; both are sorted.
func (s *DeviceLists) Changed(ctx context.Context, observer matrix.UserID, since, upTo int64) (forAll, forOne []matrix.UserID, err error) {
	rows, err := s.db.Read().Query(ctx, selectDeviceListChanges, observer, since, upTo)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var user, seenBy matrix.UserID
		if err := rows.Scan(&user, &seenBy); err != nil {
			return nil, nil, err
		}
		if seenBy == "" {
			forAll = append(forAll, user)
		} else {
			forOne = append(forOne, user)
		}
	}
	return forAll, forOne, rows.Err()
}

// OwnMoves is the rooms in which a user's own membership is newer than a position.
func (s *DeviceLists) OwnMoves(ctx context.Context, userNID, since int64) ([]Move, error) {
	return s.moves(ctx, selectOwnMoves, userNID, since)
}

// MovesOfMates is the memberships of others, newer than a position, in the
// rooms that a user is in. Users of the local server without keys are left out.
func (s *DeviceLists) MovesOfMates(ctx context.Context, userNID, since int64, local matrix.ServerName) ([]Move, error) {
	return s.moves(ctx, selectMovesOfMates, userNID, since, ofServer(local))
}

func (s *DeviceLists) moves(ctx context.Context, stmt *database.Statement, args ...any) ([]Move, error) {
	rows, err := s.db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Move
	for rows.Next() {
		var m Move
		if err := rows.Scan(&m.User, &m.RoomNID, &m.Membership, &m.EventNID); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.Err()
}

// JoinedOrGone is who is in one of some rooms, or has left one after a
// position; users of the local server without keys are left out.
func (s *DeviceLists) JoinedOrGone(ctx context.Context, rooms []int64, since int64, local matrix.ServerName) ([]matrix.UserID, error) {
	return queryUsers(ctx, s.db.Read(), selectJoinedOrGone, rooms, since, ofServer(local))
}

// Sharing is those of some users who are in a room together with another.
func (s *DeviceLists) Sharing(ctx context.Context, userNID int64, among []matrix.UserID) ([]matrix.UserID, error) {
	var list []matrix.UserID
	for chunk := range slices.Chunk(among, 500) {
		found, err := queryUsers(ctx, s.db.Read(), selectSharing, userNID, chunk)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

// JoinedRooms is the numbers of the rooms that a user is in.
func (s *DeviceLists) JoinedRooms(ctx context.Context, q database.Querier, user matrix.UserID) ([]int64, error) {
	rows, err := q.Query(ctx, selectJoinedRoomNIDs, user)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []int64
	for rows.Next() {
		var nid int64
		if err := rows.Scan(&nid); err != nil {
			return nil, err
		}
		list = append(list, nid)
	}
	return list, rows.Err()
}

// ofServer is a pattern of LIKE; server names have none of its letters.
func ofServer(name matrix.ServerName) string { return "%:" + string(name) }
