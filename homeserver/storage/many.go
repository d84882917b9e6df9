package storage

import (
	"context"
	"fmt"
	"math"
	"slices"

	"trestle/homeserver/storage/statetree"
	"trestle/internal/database"
)

// What is here reads of many rooms at once what otherwise is read of one: the
// first answer to a client is about thousands.

// atOnce is how many rows are asked for by their numbers in one statement.
const atOnce = 500

var (
	selectKeysOfRooms = database.SQL(`
		SELECT room_nid, key_nid, type, state_key
		FROM state_keys
		WHERE room_nid = ANY($1)
		ORDER BY room_nid, key_nid`)
	selectStateNodes = database.SQL(`
		SELECT node_id, data
		FROM state_nodes
		WHERE node_id = ANY($1)
		ORDER BY node_id`)
	selectNewestOfRooms = database.SQL(`
		SELECT e.event_nid, e.event_id, e.room_nid, e.position, e.ordering, e.state_root, e.branch_root, e.gap, e.replaces_nid, e.redacted_by,
			COALESCE(e.txn_key, ''), e.json
		FROM rooms r
		JOIN events e ON e.room_nid = r.room_nid AND e.ordering <= $2 AND e.ordering >= COALESCE((
			SELECT o.ordering
			FROM events o
			WHERE o.room_nid = r.room_nid AND o.ordering <= $2
			ORDER BY o.ordering DESC
			LIMIT 1 OFFSET $3), $4)
		WHERE r.room_nid = ANY($1)
		ORDER BY e.room_nid, e.ordering DESC`)
)

// KeysOf is the dense numbers of the state keys of some rooms.
func (s *State) KeysOf(ctx context.Context, rooms []int64) (map[int64][]StateKey, error) {
	rows, err := s.db.Read().Query(ctx, selectKeysOfRooms, rooms)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	keys := make(map[int64][]StateKey, len(rooms))
	for rows.Next() {
		var room, nid int64
		var key StateKey
		if err := rows.Scan(&room, &nid, &key.Type, &key.Key); err != nil {
			return nil, err
		}
		if nid != int64(len(keys[room])) {
			return nil, fmt.Errorf("state keys of room %d: number %d follows %d", room, nid, len(keys[room])-1)
		}
		keys[room] = append(keys[room], key)
	}
	return keys, rows.Err()
}

// Load reads nodes that are not in memory, so that they are afterwards. whole
// reads what is below them, too.
func (s *State) Load(ctx context.Context, ids []int64, whole bool) error {
	for len(ids) > 0 {
		slices.Sort(ids)
		ids = slices.Compact(ids)
		var missing []int64
		var nodes []*statetree.Node
		for _, id := range ids {
			if n, ok := s.nodes.Get(id); ok {
				nodes = append(nodes, n)
			} else if id != 0 {
				missing = append(missing, id)
			}
		}
		for chunk := range slices.Chunk(missing, atOnce) {
			read, err := s.readNodes(ctx, chunk)
			if err != nil {
				return err
			}
			nodes = append(nodes, read...)
		}
		ids = nil
		for _, n := range nodes {
			if whole {
				ids = append(ids, n.Below()...)
			}
		}
	}
	return nil
}

func (s *State) readNodes(ctx context.Context, ids []int64) ([]*statetree.Node, error) {
	rows, err := s.db.Read().Query(ctx, selectStateNodes, ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var nodes []*statetree.Node
	for rows.Next() {
		var id int64
		var blob []byte
		if err := rows.Scan(&id, &blob); err != nil {
			return nil, err
		}
		n, err := statetree.DecodeNode(id, blob)
		if err != nil {
			return nil, err
		}
		s.nodes.Put(id, n)
		nodes = append(nodes, n)
	}
	return nodes, rows.Err()
}

// NewestOf is up to limit events of each of some rooms at or before a place,
// newest first, without history that came later than the room.
func (s *Events) NewestOf(ctx context.Context, rooms []int64, upTo int64, limit int) (map[int64][]*Event, error) {
	events, err := s.query(ctx, selectNewestOfRooms, rooms, upTo, limit-1, int64(math.MinInt64))
	if err != nil {
		return nil, err
	}
	newest := make(map[int64][]*Event, len(rooms))
	for _, e := range events {
		if e.Backfilled() {
			continue
		}
		newest[e.RoomNID] = append(newest[e.RoomNID], e)
	}
	return newest, nil
}
