package storage

import (
	"context"
	"fmt"

	"trestle/homeserver/storage/statetree"
	"trestle/internal/database"
	"trestle/internal/lru"
)

// stateNodeCache bounds the tree nodes that are kept for trees nobody holds, in nodes.
const stateNodeCache = 50_000

// A StateKey is what state is looked up by.
type StateKey struct {
	Type, Key string
}

// State holds the state trees and the dense numbers of their keys. It is the
// [statetree.Source] of all rooms.
type State struct {
	db    *database.DB
	ids   *database.IDs
	nodes *lru.Cache[int64, *statetree.Node]
}

var (
	selectStateNode = database.SQL(`
		SELECT data
		FROM state_nodes
		WHERE node_id = $1`)
	insertStateNode = database.SQL(`
		INSERT INTO state_nodes (node_id, data)
		VALUES ($1, $2)`)
	selectStateKeys = database.SQL(`
		SELECT key_nid, type, state_key
		FROM state_keys
		WHERE room_nid = $1
		ORDER BY key_nid`)
	insertStateKey = database.SQL(`
		INSERT INTO state_keys (room_nid, key_nid, type, state_key)
		VALUES ($1, $2, $3, $4)`)
)

func newState(db *database.DB) *State {
	return &State{db: db, ids: db.NewIDs("state_node"), nodes: lru.New[int64, *statetree.Node](stateNodeCache, nil)}
}

// NewNodeID numbers a node.
func (s *State) NewNodeID(ctx context.Context) (int64, error) { return s.ids.Next(ctx) }

// StateNode loads a node.
func (s *State) StateNode(ctx context.Context, id int64) (*statetree.Node, error) {
	if n, ok := s.nodes.Get(id); ok {
		return n, nil
	}
	var blob []byte
	if err := s.db.Read().QueryRow(ctx, selectStateNode, id).Scan(&blob); err != nil {
		return nil, fmt.Errorf("state node %d: %w", id, err)
	}
	n, err := statetree.DecodeNode(id, blob)
	if err != nil {
		return nil, err
	}
	s.nodes.Put(id, n)
	return n, nil
}

// Tree is the state of that root.
func (s *State) Tree(ctx context.Context, root int64) (statetree.Tree, error) {
	return statetree.FromRoot(ctx, s, root)
}

// InsertNodes stores new nodes.
func (s *State) InsertNodes(ctx context.Context, tx *database.Tx, nodes []*statetree.Node) error {
	for _, n := range nodes {
		if err := tx.Queue(ctx, insertStateNode, n.ID, n.Encode()); err != nil {
			return err
		}
	}
	return nil
}

// Keys is the dense numbers of a room's state keys: a key's number is its index.
func (s *State) Keys(ctx context.Context, roomNID int64) ([]StateKey, error) {
	rows, err := s.db.Read().Query(ctx, selectStateKeys, roomNID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []StateKey
	for rows.Next() {
		var nid int64
		var key StateKey
		if err := rows.Scan(&nid, &key.Type, &key.Key); err != nil {
			return nil, err
		}
		if nid != int64(len(keys)) {
			return nil, fmt.Errorf("state keys of room %d: number %d follows %d", roomNID, nid, len(keys)-1)
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// InsertKey stores the number of a state key.
func (s *State) InsertKey(ctx context.Context, tx *database.Tx, roomNID int64, nid uint32, key StateKey) error {
	return tx.Queue(ctx, insertStateKey, roomNID, int64(nid), key.Type, key.Key)
}
