package rooms

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"trestle/homeserver/storage"
	"trestle/homeserver/storage/statetree"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/stateres"
)

// find is those of some events of the room that are known: queued, in the stream or beside it.
func (d *draft) find(ids []matrix.EventID) (map[matrix.EventID]*storage.Event, error) {
	return d.s.find(d.ctx, d.room, ids)
}

func (s *Service) find(ctx context.Context, r *room, ids []matrix.EventID) (map[matrix.EventID]*storage.Event, error) {
	if len(ids) == 0 {
		return map[matrix.EventID]*storage.Event{}, nil
	}
	wanted := make(map[matrix.EventID]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	// Those on their way come first: asked for after the stored ones, an event
	// that is stored in between would be among neither.
	flying := map[matrix.EventID]*storage.Event{}
	r.inFlight(func(e *storage.Event) bool {
		if wanted[e.ID] {
			flying[e.ID] = e
			delete(wanted, e.ID)
		}
		return false
	})
	rest := make([]matrix.EventID, 0, len(wanted))
	for id := range wanted {
		rest = append(rest, id)
	}
	found, err := s.store.Events.Known(ctx, rest)
	if err != nil {
		return nil, err
	}
	for id, e := range found {
		if e.RoomNID != r.info.NID {
			delete(found, id) // nothing of this room
		}
	}
	for id, e := range flying {
		found[id] = e
	}
	return found, nil
}

// after is the state after some events, each of which knows the state on its branch.
func (d *draft) after(events []*storage.Event) (statetree.Tree, error) {
	var roots []int64
	for _, e := range events {
		if root := e.After(); !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	trees := make([]statetree.Tree, len(roots))
	for i, root := range roots {
		var err error
		if trees[i], err = d.tree(root); err != nil {
			return statetree.Tree{}, err
		}
	}
	return d.resolve(trees)
}

// resolve merges the states that branches of the room's history have led to.
func (d *draft) resolve(trees []statetree.Tree) (statetree.Tree, error) {
	switch len(trees) {
	case 0:
		return statetree.Tree{}, nil
	case 1:
		return trees[0], nil
	}
	m := merger{draft: d, base: trees[0], conflicted: map[uint32]bool{}}
	if err := m.split(trees); err != nil {
		return statetree.Tree{}, err
	}
	if err := m.learn(); err != nil {
		return statetree.Tree{}, err
	}
	resolver := stateres.Resolver{Version: d.room.info.Version, Auth: m.auth, Rejected: m.rejected}
	merged, err := resolver.Merge(&m, m.forks)
	if m.err != nil {
		err = m.err
	}
	if err != nil {
		return statetree.Tree{}, fmt.Errorf("merge %d states of %s: %w", len(trees), d.room.info.ID, err)
	}
	return m.apply(merged)
}

// A merger is the merging of some states. What they agree on is read from the first of them.
type merger struct {
	*draft
	base       statetree.Tree
	conflicted map[uint32]bool
	forks      []stateres.StateMap
	known      map[matrix.EventID]*storage.Event // the events that conflict, and all that authorizes them
	err        error                             // of what was read for those who cannot be told
}

// split finds what is not the same in all states.
func (m *merger) split(trees []statetree.Tree) error {
	src := m.s.store.State
	for _, tree := range trees[1:] {
		changes, err := statetree.Diff(m.ctx, src, m.base, tree)
		if err != nil {
			return err
		}
		for _, c := range changes {
			m.conflicted[c.Key] = true
		}
	}
	keys := m.room.keys.all()
	m.known = map[matrix.EventID]*storage.Event{}
	for _, tree := range trees {
		fork := stateres.StateMap{}
		for number := range m.conflicted {
			nid, err := tree.Get(m.ctx, src, number)
			if err != nil {
				return err
			}
			if nid == 0 {
				continue
			}
			e, err := m.event(nid)
			if err != nil {
				return err
			}
			fork[stateres.StateKey(keys[number])] = e.Event
			m.known[e.ID] = e
		}
		m.forks = append(m.forks, fork)
	}
	return nil
}

// event is one of the room's, queued or stored.
func (d *draft) event(nid int64) (*storage.Event, error) {
	if e := d.room.queued(nid); e != nil {
		return e, nil
	}
	return d.s.store.Events.ByNID(d.ctx, nid)
}

// learn reads all that authorizes what conflicts, generation by generation.
func (m *merger) learn() error {
	var next []matrix.EventID
	asked := map[matrix.EventID]bool{}
	want := func(e *storage.Event) {
		for _, id := range e.AuthEvents {
			if m.known[id] == nil && !asked[id] {
				asked[id] = true
				next = append(next, id)
			}
		}
	}
	for _, e := range m.known {
		want(e)
	}
	for len(next) > 0 {
		found, err := m.find(next)
		if err != nil {
			return err
		}
		next = nil
		for id, e := range found {
			m.known[id] = e
			want(e)
		}
	}
	return nil
}

// auth is an event by its ID.
func (m *merger) auth(id matrix.EventID) *matrix.Event {
	e := m.known[id]
	if e == nil {
		found, err := m.find([]matrix.EventID{id})
		if err != nil {
			m.err = err
			return nil
		}
		if e = found[id]; e == nil {
			return nil
		}
		m.known[id] = e
	}
	return e.Event
}

func (m *merger) rejected(id matrix.EventID) bool {
	e := m.known[id]
	return e != nil && e.Verdict == storage.Rejected
}

var _ stateres.Agreed = (*merger)(nil)

// Event is what all states have under a key, or nil.
func (m *merger) Event(typ, stateKey string) *matrix.Event {
	number, ok := m.room.keys.number(storage.StateKey{Type: typ, Key: stateKey})
	if !ok || m.conflicted[number] {
		return nil
	}
	nid, err := m.base.Get(m.ctx, m.s.store.State, number)
	if err != nil || nid == 0 {
		m.fail(err)
		return nil
	}
	e, err := m.event(nid)
	if err != nil {
		m.fail(err)
		return nil
	}
	return e.Event
}

// All is every event that all states have.
func (m *merger) All() iter.Seq[*matrix.Event] {
	return func(yield func(*matrix.Event) bool) {
		err := m.base.Walk(m.ctx, m.s.store.State, func(key uint32, nid int64) bool {
			if m.conflicted[key] {
				return true
			}
			e, err := m.event(nid)
			if err != nil {
				m.fail(err)
				return false
			}
			return yield(e.Event)
		})
		m.fail(err)
	}
}

func (m *merger) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

// apply lays what was decided over the first state.
func (m *merger) apply(merged stateres.StateMap) (statetree.Tree, error) {
	keys := m.room.keys.all()
	entries := make([]statetree.Entry, 0, len(m.conflicted))
	for number := range m.conflicted {
		entry := statetree.Entry{Key: number}
		if e := merged[stateres.StateKey(keys[number])]; e != nil {
			entry.Value = m.known[e.ID].NID
		}
		entries = append(entries, entry)
	}
	return m.with(m.base, entries)
}

// with is a state with some keys changed.
func (d *draft) with(tree statetree.Tree, entries []statetree.Entry) (statetree.Tree, error) {
	slices.SortFunc(entries, func(a, b statetree.Entry) int { return int(int64(a.Key) - int64(b.Key)) })
	tree, nodes, err := tree.Apply(d.ctx, d.s.store.State, d.s.store.State.NewNodeID, entries)
	if err == nil && len(nodes) > 0 {
		d.nodes = append(d.nodes, nodes...)
		d.hold(tree)
	}
	return tree, err
}

// stateOf is the state that some events make, built upon the newest one of the room, which it is likely to share
// the most with.
func (d *draft) stateOf(events []*storage.Event) (statetree.Tree, error) {
	wanted := make(map[uint32]int64, len(events))
	for _, e := range events {
		wanted[d.number(storage.StateKey{Type: e.Type, Key: *e.StateKey})] = e.NID
	}
	var entries []statetree.Entry
	err := d.head.tree.Walk(d.ctx, d.s.store.State, func(key uint32, nid int64) bool {
		switch value, ok := wanted[key]; {
		case !ok:
			entries = append(entries, statetree.Entry{Key: key})
		case value == nid:
			delete(wanted, key)
		}
		return true
	})
	if err != nil {
		return statetree.Tree{}, err
	}
	for key, nid := range wanted {
		entries = append(entries, statetree.Entry{Key: key, Value: nid})
	}
	return d.with(d.head.tree, entries)
}

// moveTo makes a state the newest one and takes note of all that is another in it.
func (d *draft) moveTo(st *step, tree statetree.Tree) error {
	changes, err := statetree.Diff(d.ctx, d.s.store.State, d.head.tree, tree)
	if err != nil {
		return err
	}
	keys := d.room.keys.all()
	d.head.tree = tree
	for _, c := range changes {
		var before, now *storage.Event
		if c.Old != 0 {
			if before, err = d.event(c.Old); err != nil {
				return err
			}
		}
		switch {
		case c.New == 0:
		case c.New == st.event.NID:
			now = st.event
			if before != nil {
				st.event.ReplacesNID = before.NID
			}
		default:
			if now, err = d.event(c.New); err != nil {
				return err
			}
		}
		if err := d.changed(st, keys[c.Key], before, now); err != nil {
			return err
		}
	}
	return nil
}

// judge is an error, M_FORBIDDEN, if an event is not allowed by what it says authorizes it.
func (d *draft) judge(e *matrix.Event, known map[matrix.EventID]*storage.Event) error {
	auth := make([]*matrix.Event, 0, len(e.AuthEvents)+1)
	for _, id := range e.AuthEvents {
		auth = append(auth, known[id].Event)
	}
	rejected := func(id matrix.EventID) bool { return known[id].Verdict == storage.Rejected }
	if err := eventauth.CheckAuthEvents(e, auth, rejected); err != nil {
		return err
	}
	if e.Version.RoomIDFromCreate {
		// It is the one that the room's ID is made of.
		id := matrix.EventID("$" + d.room.info.ID[1:])
		found, err := d.find([]matrix.EventID{id})
		if err != nil {
			return err
		}
		if create := found[id]; create != nil && create.Verdict != storage.Rejected {
			auth = append(auth, create.Event)
		}
	}
	return eventauth.Allowed(e, eventauth.StateOf(auth...))
}
