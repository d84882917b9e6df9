package rooms

import (
	"context"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// servedAtOnce is how many events are in memory at once while a state or what
// authorizes it is told: rooms have as many members as come.
const servedAtOnce = 500

// A PastState is the state of a room before one of its events, and the events by
// which it came to be. It is told in parts.
type PastState struct {
	p      Peer
	info   *storage.RoomInfo
	before *Snapshot
	auth   authChain
}

// State is the state before an event. M_NOT_FOUND if it is not known.
func (p Peer) State(ctx context.Context, room matrix.RoomID, event matrix.EventID) (*PastState, error) {
	info, err := p.room(ctx, room)
	if err != nil {
		return nil, err
	}
	e, err := p.event(ctx, info, event)
	if err != nil {
		return nil, err
	}
	before, err := p.before(ctx, info, e)
	if err != nil {
		return nil, err
	}
	return &PastState{p: p, info: info, before: before, auth: p.authChain(info)}, nil
}

// knownMergers is before how many events the state is kept in mind that several branches make together:
// servers ask for its IDs first, and then for what they lack.
const knownMergers = 500

func (p Peer) before(ctx context.Context, info *storage.RoomInfo, e *storage.Event) (*Snapshot, error) {
	switch {
	case p.s.standing(info, e) != told:
		return nil, matrix.NotFound("Event %s is known here, but not the state before it.", e.ID)
	case !e.IsState() && e.After() != 0:
		return p.s.At(ctx, info.NID, e.After()) // which it has not changed
	case len(e.PrevEvents) < 2:
		return p.s.stateBefore(ctx, info, e.PrevEvents)
	}
	if tree, ok := p.s.mergers.Get(e.NID); ok {
		before, err := p.s.Head(ctx, info.NID)
		if err == nil {
			before.tree, before.Position = tree, 0
		}
		return before, err
	}
	before, err := p.s.stateBefore(ctx, info, e.PrevEvents)
	if err == nil {
		p.s.mergers.Put(e.NID, before.tree)
	}
	return before, err
}

// Events tells the state events. [PastState.Chain] comes after it.
func (v *PastState) Events(ctx context.Context, tell func([]*matrix.Event) error) error {
	if err := v.p.s.store.State.Load(ctx, []int64{v.before.Root()}, true); err != nil {
		return err
	}
	nids, err := v.before.Numbers(ctx, nil)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(nids, servedAtOnce) {
		events, err := v.p.s.store.Events.ByNIDs(ctx, part)
		if err != nil {
			return err
		}
		v.auth.follow(events)
		if err := tell(signed(events)); err != nil {
			return err
		}
	}
	return nil
}

// Chain tells all that authorizes the state events, and what authorizes that: events of
// the state among them.
func (v *PastState) Chain(ctx context.Context, tell func([]*matrix.Event) error) error {
	return v.auth.tell(ctx, tell)
}

// Chain tells all that authorizes an event, and what authorizes that.
// M_NOT_FOUND if the event is not known.
func (p Peer) Chain(ctx context.Context, room matrix.RoomID, event matrix.EventID, tell func([]*matrix.Event) error) error {
	info, err := p.room(ctx, room)
	if err != nil {
		return err
	}
	e, err := p.event(ctx, info, event)
	if err != nil {
		return err
	}
	chain := p.authChain(info)
	chain.follow([]*storage.Event{e})
	return chain.tell(ctx, tell)
}

// An authChain goes from events to those that authorize them, a generation at once.
type authChain struct {
	s    *Service
	info *storage.RoomInfo
	seen map[matrix.EventID]bool
	next []matrix.EventID
}

func (p Peer) authChain(info *storage.RoomInfo) authChain {
	return authChain{s: p.s, info: info, seen: map[matrix.EventID]bool{}}
}

// follow makes what authorizes some events the next ones. In rooms that are named by
// the event that creates them, that authorizes all others, though they do not refer to it.
func (c *authChain) follow(events []*storage.Event) {
	for _, e := range events {
		for _, id := range e.AuthEvents {
			c.add(id)
		}
		if c.info.Version.RoomIDFromCreate && !e.Is("m.room.create", "") {
			c.add(c.info.ID.CreateEventID())
		}
	}
}

func (c *authChain) add(id matrix.EventID) {
	if !c.seen[id] {
		c.seen[id] = true
		c.next = append(c.next, id)
	}
}

// tell visits each event of the chain once. Those that are not known here, or of
// another room, are left out.
func (c *authChain) tell(ctx context.Context, tell func([]*matrix.Event) error) error {
	for len(c.next) > 0 {
		ids := c.next
		c.next = nil
		for part := range slices.Chunk(ids, servedAtOnce) {
			known, err := c.s.knownEvents(ctx, part)
			if err != nil {
				return err
			}
			var events []*storage.Event
			for _, id := range part {
				if e := known[id]; c.s.standing(c.info, e) != absent {
					events = append(events, e)
				}
			}
			c.follow(events)
			if err := tell(signed(events)); err != nil {
				return err
			}
		}
	}
	return nil
}

// signed is events without their places.
func signed(events []*storage.Event) []*matrix.Event {
	list := make([]*matrix.Event, len(events))
	for i, e := range events {
		list[i] = e.Event
	}
	return list
}
