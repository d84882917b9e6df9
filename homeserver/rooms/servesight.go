package rooms

import (
	"context"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A peerSight decides which events of a room a server that is in it sees whole.
// State is, at any time: what follows could not be judged without it.
// Of other events a server that was not there when they were for those alone who were
// gets what is left by a redaction, so that the history has no holes.
type peerSight struct {
	s      *Service
	info   *storage.RoomInfo
	server matrix.ServerName

	members []uint32       // the state keys under which users of the server are members
	found   bool           // they have been looked for
	whole   map[int64]bool // whether events are seen whole, by the states after them on their branches
}

func (p Peer) sight(info *storage.RoomInfo) *peerSight {
	return &peerSight{s: p.s, info: info, server: p.server, whole: map[int64]bool{}}
}

// see is events as the server sees them.
func (g *peerSight) see(ctx context.Context, events []*storage.Event) ([]*matrix.Event, error) {
	if err := g.prepare(ctx, events); err != nil {
		return nil, err
	}
	seen := make([]*matrix.Event, len(events))
	for i, e := range events {
		whole, err := g.sees(ctx, e)
		if err != nil {
			return nil, err
		}
		if seen[i] = e.Event; !whole {
			if seen[i], err = e.Redact(); err != nil {
				return nil, err
			}
		}
	}
	return seen, nil
}

// prepare reads at once the tops of all state trees that are about to be looked into;
// what is below them is mostly the same.
func (g *peerSight) prepare(ctx context.Context, events []*storage.Event) error {
	var roots []int64
	for _, e := range events {
		if !e.IsState() {
			roots = append(roots, e.After())
		}
	}
	return g.s.store.State.Load(ctx, roots, false)
}

func (g *peerSight) sees(ctx context.Context, e *storage.Event) (whole bool, err error) {
	if e.IsState() {
		return true, nil
	}
	if g.s.Erased != nil && g.s.Erased(e.Sender) {
		return false, nil
	}
	root := e.After()
	whole, ok := g.whole[root]
	if ok || root == 0 {
		return whole, nil
	}
	state, err := g.s.At(ctx, g.info.NID, root)
	if err != nil {
		return false, err
	}
	visibility, err := state.Event(ctx, "m.room.history_visibility", "")
	if err != nil {
		return false, err
	}
	switch visibilityOf(visibility) {
	case "joined":
		whole, err = g.there(ctx, state, "join")
	case "invited":
		whole, err = g.there(ctx, state, "join", "invite")
	default:
		whole = true // the server is in the room now
	}
	if err == nil {
		g.whole[root] = whole
	}
	return whole, err
}

// there reports whether a user of the server has one of some memberships in a state.
func (g *peerSight) there(ctx context.Context, state *Snapshot, memberships ...string) (bool, error) {
	if !g.found {
		for number, key := range state.keys.all() {
			if key.Type == "m.room.member" && matrix.UserID(key.Key).Server() == g.server {
				g.members = append(g.members, uint32(number))
			}
		}
		g.found = true
	}
	var nids []int64
	for _, number := range g.members {
		nid, err := state.tree.Get(ctx, g.s.store.State, number)
		if err != nil {
			return false, err
		}
		if nid != 0 {
			nids = append(nids, nid)
		}
	}
	for part := range slices.Chunk(nids, servedAtOnce) {
		events, err := g.s.store.Events.ByNIDs(ctx, part)
		if err != nil {
			return false, err
		}
		// A number of a key that was given up may be that of another one by now.
		if slices.ContainsFunc(events, func(e *storage.Event) bool {
			return slices.Contains(memberships, e.Membership()) && matrix.UserID(*e.StateKey).Server() == g.server
		}) {
			return true, nil
		}
	}
	return false, nil
}
