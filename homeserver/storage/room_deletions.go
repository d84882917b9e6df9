package storage

import (
	"context"
	"errors"
	"fmt"

	"trestle/homeserver/storage/statetree"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Deletions removes rooms and their history, a bounded part at a time, and
// remembers what is to be removed.
type Deletions struct{ store *Store }

// A Deletion is a room, or the history of one, on its way out.
type Deletion struct {
	ID        string
	Room      matrix.RoomID
	NID       int64
	Kind      string // room or history
	Status    string
	Detail    string // JSON: what was asked for, and what was done
	ChangedAt int64
}

const deletionColumns = `deletion_id, room_id, room_nid, kind, status, detail, changed_at`

var (
	upsertDeletion = database.SQL(`
		INSERT INTO room_deletions (deletion_id, room_id, room_nid, kind, status, detail, changed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (deletion_id) DO UPDATE
		SET status = excluded.status, detail = excluded.detail, changed_at = excluded.changed_at`)
	selectDeletion = database.SQL(`
		SELECT ` + deletionColumns + `
		FROM room_deletions
		WHERE deletion_id = $1`)
	selectDeletionsOfRoom = database.SQL(`
		SELECT ` + deletionColumns + `
		FROM room_deletions
		WHERE room_id = $1
		ORDER BY changed_at, deletion_id
		LIMIT 100`)
	selectUnfinishedDeletions = database.SQL(`
		SELECT ` + deletionColumns + `
		FROM room_deletions
		WHERE status NOT IN ('complete', 'failed')
		ORDER BY changed_at, deletion_id
		LIMIT 10000`)
	deleteOldDeletions = database.SQL(`
		DELETE FROM room_deletions
		WHERE changed_at < $1 AND status IN ('complete', 'failed')`)
	selectOldestEvents = database.SQL(`
		SELECT event_nid
		FROM events
		WHERE room_nid = $1
		ORDER BY ordering
		LIMIT $2`)
	selectPurgeableEvents = database.SQL(`
		SELECT e.event_nid, e.ordering
		FROM events e
		JOIN user_ids u ON u.user_nid = e.sender_nid
		WHERE e.room_nid = $1 AND e.ordering > $2 AND e.ordering < $3 AND e.state_key IS NULL
			AND ($4 OR u.user_id NOT LIKE $5 ESCAPE '!')
		ORDER BY e.ordering
		LIMIT $6`)
	selectOrderingAt = database.SQL(`
		SELECT COALESCE(MAX(ordering), 0)
		FROM events
		WHERE room_nid = $1 AND origin_server_ts <= $2`)
	deleteEvents = database.SQL(`
		DELETE FROM events
		WHERE event_nid = ANY($1)`)
	selectStateRoots = database.SQL(`
		SELECT state_root FROM events WHERE room_nid = $1
		UNION
		SELECT branch_root FROM events WHERE room_nid = $1
		UNION
		SELECT branch_root FROM asides WHERE room_nid = $1
		UNION
		SELECT state_root FROM rooms WHERE room_nid = $1
		UNION
		SELECT first_root FROM rooms WHERE room_nid = $1
		ORDER BY state_root`)
	selectAsideNIDs = database.SQL(`
		SELECT event_nid
		FROM asides
		WHERE room_nid = $1
		ORDER BY event_nid
		LIMIT $2`)
	deleteAsides = database.SQL(`
		DELETE FROM asides
		WHERE event_nid = ANY($1)`)
	deleteStateNodes = database.SQL(`
		DELETE FROM state_nodes
		WHERE node_id = ANY($1)`)
	deleteMemberships = database.SQL(`
		DELETE FROM memberships
		WHERE room_nid = $1 AND user_nid IN (
			SELECT user_nid FROM memberships WHERE room_nid = $1 ORDER BY user_nid LIMIT $2)`)
	// What else is kept by a room's number, each in a bounded part.
	deleteEventRelations = database.SQL(`
		DELETE FROM event_relations
		WHERE event_nid = ANY($1)`)
	deleteNotificationsOf = database.SQL(`
		DELETE FROM notifications
		WHERE position IN (SELECT position FROM events WHERE event_nid = ANY($1))`)
	roomTables = []*database.Statement{
		database.SQL(`
			DELETE FROM unread_counts
			WHERE room_nid = $1 AND user_nid IN (
				SELECT user_nid FROM unread_counts WHERE room_nid = $1 ORDER BY user_nid LIMIT $2)`),
		database.SQL(`
			DELETE FROM thread_subscriptions
			WHERE room_nid = $1 AND user_nid IN (
				SELECT user_nid FROM thread_subscriptions WHERE room_nid = $1 ORDER BY user_nid LIMIT $2)`),
		database.SQL(`
			DELETE FROM receipts
			WHERE room_nid = $1 AND user_id IN (
				SELECT user_id FROM receipts WHERE room_nid = $1 ORDER BY user_id LIMIT $2)`),
		database.SQL(`
			DELETE FROM state_keys
			WHERE room_nid = $1 AND key_nid IN (
				SELECT key_nid FROM state_keys WHERE room_nid = $1 ORDER BY key_nid LIMIT $2)`),
		database.SQL(`
			DELETE FROM room_aliases
			WHERE room_nid = $1 AND alias IN (
				SELECT alias FROM room_aliases WHERE room_nid = $1 ORDER BY alias LIMIT $2)`),
		database.SQL(`
			DELETE FROM published_rooms
			WHERE room_nid = $1 AND network IN (
				SELECT network FROM published_rooms WHERE room_nid = $1 ORDER BY network LIMIT $2)`),
		database.SQL(`
			DELETE FROM threepid_invites
			WHERE room_nid = $1 AND token IN (
				SELECT token FROM threepid_invites WHERE room_nid = $1 ORDER BY token LIMIT $2)`),
		database.SQL(`
			DELETE FROM delayed_events
			WHERE room_nid = $1 AND delay_id IN (
				SELECT delay_id FROM delayed_events WHERE room_nid = $1 ORDER BY delay_id LIMIT $2)`),
		database.SQL(`
			DELETE FROM pusher_rooms
			WHERE room_nid = $1 AND pusher_id IN (
				SELECT pusher_id FROM pusher_rooms WHERE room_nid = $1 ORDER BY pusher_id LIMIT $2)`),
		database.SQL(`
			DELETE FROM room_frontiers
			WHERE room_nid = $1 AND event_id IN (
				SELECT event_id FROM room_frontiers WHERE room_nid = $1 ORDER BY event_id LIMIT $2)`),
		database.SQL(`
			DELETE FROM early_redactions
			WHERE room_nid = $1 AND redaction_nid IN (
				SELECT redaction_nid FROM early_redactions WHERE room_nid = $1 ORDER BY redaction_nid LIMIT $2)`),
	}
	deleteRoomAccountData = database.SQL(`
		DELETE FROM account_data
		WHERE room_id = $1 AND user_id IN (
			SELECT user_id FROM account_data WHERE room_id = $1 ORDER BY user_id LIMIT $2)`)
	deleteRoom = database.SQL(`
		DELETE FROM rooms
		WHERE room_nid = $1`)
)

// deletionBatch is how many rows go in one transaction.
const deletionBatch = 500

// Save stores how far a deletion is.
func (s *Deletions) Save(ctx context.Context, tx *database.Tx, d Deletion) error {
	_, err := tx.Exec(ctx, upsertDeletion, d.ID, string(d.Room), d.NID, d.Kind, d.Status, d.Detail, d.ChangedAt)
	return err
}

// Find is a deletion, or nil.
func (s *Deletions) Find(ctx context.Context, id string) (*Deletion, error) {
	list, err := s.query(ctx, selectDeletion, id)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// OfRoom is the deletions of a room, oldest first.
func (s *Deletions) OfRoom(ctx context.Context, room matrix.RoomID) ([]Deletion, error) {
	return s.query(ctx, selectDeletionsOfRoom, string(room))
}

// Unfinished is what has still to be done.
func (s *Deletions) Unfinished(ctx context.Context) ([]Deletion, error) {
	return s.query(ctx, selectUnfinishedDeletions)
}

// Forget drops what was finished before a time.
func (s *Deletions) Forget(ctx context.Context, tx *database.Tx, before int64) error {
	_, err := tx.Exec(ctx, deleteOldDeletions, before)
	return err
}

func (s *Deletions) query(ctx context.Context, stmt *database.Statement, args ...any) ([]Deletion, error) {
	rows, err := s.store.DB.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Deletion
	for rows.Next() {
		var d Deletion
		var room string
		if err := rows.Scan(&d.ID, &room, &d.NID, &d.Kind, &d.Status, &d.Detail, &d.ChangedAt); err != nil {
			return nil, err
		}
		d.Room = matrix.RoomID(room)
		list = append(list, d)
	}
	return list, rows.Err()
}

// PlaceAt is the place of a room's newest event of a time or before, or 0.
func (s *Deletions) PlaceAt(ctx context.Context, roomNID, ts int64) (place int64, err error) {
	err = s.store.DB.Read().QueryRow(ctx, selectOrderingAt, roomNID, ts).Scan(&place)
	return place, err
}

// A Purge says which events of a room go: messages before a place; state stays.
type Purge struct {
	NID    int64
	Before int64             // ordering
	Local  bool              // those of local users too
	Server matrix.ServerName // of the local users
}

// Purge removes old messages and returns how many. It can be called again
// after a failure.
func (s *Deletions) Purge(ctx context.Context, p Purge) (count int64, err error) {
	own := "%" + likeEscaper.Replace(":"+string(p.Server))
	after := int64(-1 << 62)
	for {
		var nids []int64
		nids, after, err = s.purgeable(ctx, p, own, after)
		if err != nil || len(nids) == 0 {
			return count, err
		}
		if err := s.deleteEvents(ctx, nids); err != nil {
			return count, err
		}
		count += int64(len(nids))
	}
}

func (s *Deletions) purgeable(ctx context.Context, p Purge, own string, after int64) (nids []int64, last int64, err error) {
	rows, err := s.store.DB.Read().Query(ctx, selectPurgeableEvents, p.NID, after, p.Before, p.Local, own, deletionBatch)
	if err != nil {
		return nil, after, err
	}
	defer rows.Close()
	for rows.Next() {
		var nid int64
		if err := rows.Scan(&nid, &after); err != nil {
			return nil, after, err
		}
		nids = append(nids, nid)
	}
	return nids, after, rows.Err()
}

// deleteEvents removes events from the table and from memory.
func (s *Deletions) deleteEvents(ctx context.Context, nids []int64) error {
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.store.Events.drop(nids) })
		for _, stmt := range []*database.Statement{deleteNotificationsOf, deleteEventRelations, deleteSearchWordsOfEvents} {
			if _, err := tx.Exec(ctx, stmt, nids); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, deleteEvents, nids)
		return err
	})
}

// Members removes who is and was in a room, so that nobody is shown it.
func (s *Deletions) Members(ctx context.Context, info *RoomInfo) error {
	return s.empty(ctx, deleteMemberships, info.NID)
}

// Room removes a room with everything that belongs to it, the members aside.
// The room must be hidden and in nobody's use. It can be called again after a failure.
func (s *Deletions) Room(ctx context.Context, info *RoomInfo) error {
	nodes, err := s.stateNodes(ctx, info.NID)
	if err != nil {
		return err
	}
	for {
		nids, err := s.numbers(ctx, selectOldestEvents, info.NID, deletionBatch)
		if err != nil {
			return err
		}
		if len(nids) == 0 {
			break
		}
		if err := s.deleteEvents(ctx, nids); err != nil {
			return err
		}
	}
	if err := s.asides(ctx, info.NID); err != nil {
		return err
	}
	for len(nodes) > 0 {
		part := nodes[:min(len(nodes), deletionBatch)]
		nodes = nodes[len(part):]
		if _, err := s.exec(ctx, deleteStateNodes, part); err != nil {
			return err
		}
	}
	for _, stmt := range roomTables {
		if err := s.empty(ctx, stmt, info.NID); err != nil {
			return err
		}
	}
	if err := s.empty(ctx, deleteRoomAccountData, string(info.ID)); err != nil {
		return err
	}
	if _, err := s.exec(ctx, deleteRoom, info.NID); err != nil {
		return err
	}
	s.store.Rooms.forget(info)
	return nil
}

// asides removes the events of a room that are in no stream.
func (s *Deletions) asides(ctx context.Context, roomNID int64) error {
	for {
		nids, err := s.numbers(ctx, selectAsideNIDs, roomNID, deletionBatch)
		if err != nil || len(nids) == 0 {
			return err
		}
		if _, err := s.exec(ctx, deleteAsides, nids); err != nil {
			return err
		}
		s.store.Events.drop(nids)
	}
}

// stateNodes is every node of the room's states. Those that an earlier attempt
// has removed are missing, and what is below them is lost track of.
func (s *Deletions) stateNodes(ctx context.Context, roomNID int64) ([]int64, error) {
	roots, err := s.numbers(ctx, selectStateRoots, roomNID)
	if err != nil {
		return nil, err
	}
	seen := map[int64]bool{}
	var nodes []int64
	for _, root := range roots {
		err := statetree.Nodes(ctx, s.store.State, root, func(id int64) bool {
			if seen[id] {
				return false
			}
			seen[id] = true
			nodes = append(nodes, id)
			return true
		})
		if err != nil && !errors.Is(err, database.ErrNoRows) {
			return nil, fmt.Errorf("states of room %d: %w", roomNID, err)
		}
	}
	return nodes, nil
}

func (s *Deletions) numbers(ctx context.Context, stmt *database.Statement, args ...any) ([]int64, error) {
	rows, err := s.store.DB.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, rows.Err()
}

func (s *Deletions) exec(ctx context.Context, stmt *database.Statement, args ...any) (n int64, err error) {
	err = s.store.DB.Update(ctx, func(tx *database.Tx) error {
		n, err = tx.Exec(ctx, stmt, args...)
		return err
	})
	return n, err
}

// empty runs a deletion until it finds nothing more.
func (s *Deletions) empty(ctx context.Context, stmt *database.Statement, key any) error {
	for {
		n, err := s.exec(ctx, stmt, key, deletionBatch)
		if err != nil || n == 0 {
			return err
		}
	}
}
