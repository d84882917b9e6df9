package rooms

import (
	"context"
	"encoding/json"
	"fmt"

	"trestle/homeserver/storage"
	"trestle/homeserver/storage/statetree"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// A view is a state of a room as authorization wants it. It remembers the
// first error, since eventauth asks without them.
type view struct {
	ctx  context.Context
	s    *Service
	room *room
	head *head
	err  error
}

var _ eventauth.State = (*view)(nil)

// Event is the state event under a key, or nil.
func (v *view) Event(typ, stateKey string) *matrix.Event {
	e := v.stored(typ, stateKey)
	if e == nil {
		return nil
	}
	return e.Event
}

// PowerLevels saves parsing them for each event.
func (v *view) PowerLevels() *eventauth.PowerLevels {
	if v.head.power == nil {
		power := eventauth.PowerLevelsOf(v.Event("m.room.create", ""), v.Event("m.room.power_levels", ""))
		if v.err != nil {
			return power
		}
		v.head.power = power
	}
	return v.head.power
}

func (v *view) stored(typ, stateKey string) *storage.Event {
	n, ok := v.room.keys.number(storage.StateKey{Type: typ, Key: stateKey})
	if !ok {
		return nil
	}
	nid, err := v.head.tree.Get(v.ctx, v.s.store.State, n)
	if err != nil {
		v.fail(err)
		return nil
	}
	if nid == 0 {
		return nil
	}
	// Only writers, who hold the lock, see what is not committed yet.
	if e := v.room.queued(nid); e != nil {
		return e
	}
	e, err := v.s.store.Events.ByNID(v.ctx, nid)
	if err != nil {
		v.fail(err)
		return nil
	}
	return e
}

func (v *view) fail(err error) {
	if v.err == nil {
		v.err = fmt.Errorf("state of %s: %w", v.room.info.ID, err)
	}
}

// A Snapshot is one state of a room, for readers.
type Snapshot struct {
	s    *Service
	info *storage.RoomInfo
	keys *keyTable
	tree statetree.Tree
	// Position is that of the newest event in the room when this was its head; 0 for other states.
	Position int64
	Summary  storage.Summary // of the head
}

// Head is the committed state of a room.
func (s *Service) Head(ctx context.Context, nid int64) (*Snapshot, error) {
	r, err := s.cache.acquire(ctx, nid)
	if err != nil {
		return nil, err
	}
	defer s.cache.release(r)
	h := r.committed.Load()
	return &Snapshot{s: s, info: r.info, keys: r.keys, tree: h.tree, Position: h.lastPosition, Summary: h.summary}, nil
}

// At is the state of a room at a root.
func (s *Service) At(ctx context.Context, nid, root int64) (*Snapshot, error) {
	now, err := s.Head(ctx, nid)
	if err != nil {
		return nil, err
	}
	if now.tree.Root() != root {
		now.Position = 0
		if now.tree, err = s.store.State.Tree(ctx, root); err != nil {
			return nil, err
		}
	}
	return now, nil
}

// Info is the room.
func (n *Snapshot) Info() *storage.RoomInfo { return n.info }

// Root names the state.
func (n *Snapshot) Root() int64 { return n.tree.Root() }

// Event is the state event under a key, or nil.
func (n *Snapshot) Event(ctx context.Context, typ, stateKey string) (*storage.Event, error) {
	number, ok := n.keys.number(storage.StateKey{Type: typ, Key: stateKey})
	if !ok {
		return nil, nil
	}
	nid, err := n.tree.Get(ctx, n.s.store.State, number)
	if err != nil || nid == 0 {
		return nil, err
	}
	return n.s.store.Events.ByNID(ctx, nid)
}

// Membership is a user's membership in this state, or empty.
func (n *Snapshot) Membership(ctx context.Context, user matrix.UserID) (string, error) {
	e, err := n.Event(ctx, "m.room.member", string(user))
	if e == nil || err != nil {
		return "", err
	}
	return e.Membership(), nil
}

// Events is the state events whose key is wanted, all if wanted is nil.
func (n *Snapshot) Events(ctx context.Context, wanted func(storage.StateKey) bool) ([]*storage.Event, error) {
	nids, err := n.Numbers(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return n.s.store.Events.ByNIDs(ctx, nids)
}

// Numbers is the numbers of the state events whose key is wanted.
func (n *Snapshot) Numbers(ctx context.Context, wanted func(storage.StateKey) bool) ([]int64, error) {
	keys := n.keys.all()
	var nids []int64
	err := n.tree.Walk(ctx, n.s.store.State, func(key uint32, nid int64) bool {
		if wanted == nil || wanted(keys[key]) {
			nids = append(nids, nid)
		}
		return true
	})
	return nids, err
}

// Since is the state events that differ from an older state, as they are now.
func (n *Snapshot) Since(ctx context.Context, root int64, wanted func(storage.StateKey) bool) ([]*storage.Event, error) {
	old, err := n.s.store.State.Tree(ctx, root)
	if err != nil {
		return nil, err
	}
	changes, err := statetree.Diff(ctx, n.s.store.State, old, n.tree)
	if err != nil {
		return nil, err
	}
	keys := n.keys.all()
	var nids []int64
	for _, c := range changes {
		if c.New != 0 && (wanted == nil || wanted(keys[c.Key])) {
			nids = append(nids, c.New)
		}
	}
	return n.s.store.Events.ByNIDs(ctx, nids)
}

// strippedTypes is the state that tells outsiders what a room is
// (Client-Server API § Stripped state).
var strippedTypes = []string{
	"m.room.create", "m.room.name", "m.room.avatar", "m.room.topic", "m.room.join_rules", "m.room.canonical_alias", "m.room.encryption",
}

// Stripped is what somebody outside sees of the room: a few state events and
// the member event that concerns them.
func (n *Snapshot) Stripped(ctx context.Context, member *storage.Event) ([]json.RawMessage, error) {
	var events []json.RawMessage
	add := func(e *storage.Event, err error) error {
		if err == nil && e != nil {
			events = append(events, e.StrippedState())
		}
		return err
	}
	for _, typ := range strippedTypes {
		if err := add(n.Event(ctx, typ, "")); err != nil {
			return nil, err
		}
	}
	if *member.StateKey != string(member.Sender) {
		if err := add(n.Event(ctx, "m.room.member", string(member.Sender))); err != nil {
			return nil, err
		}
	}
	return append(events, member.StrippedState()), nil
}

// PowerLevels is the power levels of a room as they are committed.
func (s *Service) PowerLevels(ctx context.Context, info *storage.RoomInfo) (*eventauth.PowerLevels, error) {
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	create, err := now.Event(ctx, "m.room.create", "")
	if err != nil {
		return nil, err
	}
	levels, err := now.Event(ctx, "m.room.power_levels", "")
	if err != nil {
		return nil, err
	}
	if create == nil {
		return nil, notMember(info.ID)
	}
	if levels == nil {
		return eventauth.PowerLevelsOf(create.Event, nil), nil
	}
	return eventauth.PowerLevelsOf(create.Event, levels.Event), nil
}
