package syncer

import (
	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A change is what happened in one room between two places.
type change struct {
	*build
	info     *storage.RoomInfo
	whole    bool // the client wants the state from its beginning
	newcomer bool // the client knows nothing of the room
	upTo     int64
	// left is the event that took the reader out of the room, whose state is
	// shown as it was then; nil where the reader is in.
	left    *storage.Event
	stretch stretch
	// visible is the events of the stretch without messages of users whom the reader ignores.
	visible []shown
	// heroes is the members by whom the room is called in this answer.
	heroes []matrix.UserID
}

func (c *change) load(activity notifier.Activity) error {
	sight, err := c.sight(c.ctx, c.info, c.snap.Rooms[c.info.NID], c.req.User)
	if err != nil {
		return err
	}
	filter := &c.req.Filter.Room.Timeline
	c.stretch = stretch{
		info: c.info, after: c.since.Position, upTo: c.upTo, limit: limitOf(filter, usualTimeline, maxTimeline),
		filter: filter, sight: sight, replaced: c.Service.replaced, reader: c.req.User, left: c.left, ring: activity.Ring, inRing: activity.Complete,
	}
	if c.newcomer {
		c.stretch.after = storage.Beginning // what is older is for those who look back
	}
	if err := c.fill(c.ctx, &c.stretch); err != nil {
		return err
	}
	c.visible, err = c.withoutIgnored(c.stretch.events)
	return err
}

// timeline is the events, or nil if there are none and nothing was left out.
func (c *change) timeline() (*Timeline, error) {
	t := &c.stretch
	if len(c.visible) == 0 && !t.limited && !c.newcomer {
		return nil, nil
	}
	events, err := c.render(c.visible)
	if err != nil {
		return nil, err
	}
	// A client that has just come in starts the room's timeline anew, as after
	// a gap, wherever this one begins.
	return &Timeline{Events: events, Limited: t.limited || c.newcomer && !c.initial, PrevBatch: Token{Position: t.start}.String()}, nil
}

// withoutIgnored leaves out messages, not state, of users whom the reader ignores.
func (c *change) withoutIgnored(events []shown) ([]shown, error) {
	var kept []shown
	for _, e := range events {
		if !e.event.IsState() && e.event.Sender != c.req.User {
			unwanted, err := c.unwantedNow()
			if err != nil {
				return nil, err
			}
			if unwanted.Ignores(e.event.Sender) {
				continue
			}
		}
		kept = append(kept, e)
	}
	return kept, nil
}

// state is what changed in the room's state before the timeline or, if the
// client asks for that, up to its end.
func (c *change) state() (before, after *EventList, err error) {
	t := &c.stretch
	if !c.whole && !t.limited && !t.missed && !c.req.UseStateAfter {
		return c.lazyOnly()
	}
	end, err := c.endRoot()
	if err != nil {
		return nil, nil, err
	}
	if !c.whole {
		base, err := c.root(c.since.Position)
		if err != nil {
			return nil, nil, err
		}
		return c.difference(base, end)
	}
	return c.difference(0, end)
}

// endRoot is the state that the answer's state section leads to.
func (c *change) endRoot() (int64, error) {
	t := &c.stretch
	end := c.upTo
	switch {
	case c.req.UseStateAfter, t.missed:
	case len(t.events) == 0:
		end = min(end, t.start)
	case c.left == nil || t.events[0].event.Ordering <= c.left.Ordering:
		return c.before(t.events[0].event)
	}
	if c.left != nil {
		end = min(end, c.left.Ordering)
	}
	return c.root(end)
}

// root is the root of the room's state at a place.
func (c *change) root(place int64) (int64, error) {
	if root, known := c.ahead.root(c.info.NID, place); known {
		return root, nil
	}
	return c.rootAt(c.ctx, c.info.NID, place)
}

// before is the root of the state that an event came to.
func (c *change) before(e *storage.Event) (int64, error) {
	if !e.IsState() {
		return e.Root, nil
	}
	return c.root(e.Ordering - 1)
}

func (c *change) difference(base, end int64) (before, after *EventList, err error) {
	state, err := c.Rooms.At(c.ctx, c.info.NID, end)
	if err != nil {
		return nil, nil, err
	}
	filter := &c.req.Filter.Room.State
	senders := c.senders()
	events, err := state.Since(c.ctx, base, func(key storage.StateKey) bool {
		return !filter.LazyLoadMembers || key.Type != "m.room.member" || senders[key.Key] || !c.whole && !c.newcomer
	})
	if err != nil {
		return nil, nil, err
	}
	if filter.LazyLoadMembers && base != 0 {
		if events, err = c.addSenders(events, end, senders); err != nil {
			return nil, nil, err
		}
	}
	return c.stateList(events)
}

// lazyOnly is the member events of the timeline's senders, which a client that
// loads members lazily may lack.
func (c *change) lazyOnly() (before, after *EventList, err error) {
	if !c.req.Filter.Room.State.LazyLoadMembers || len(c.visible) == 0 {
		return nil, nil, nil
	}
	senders := c.senders()
	root, err := c.before(c.visible[0].event)
	if err != nil {
		return nil, nil, err
	}
	events, err := c.addSenders(nil, root, senders)
	if err != nil {
		return nil, nil, err
	}
	return c.stateList(events)
}

// senders is the users whose member events the timeline and the summary need.
func (c *change) senders() map[string]bool {
	senders := map[string]bool{}
	if !c.req.Filter.Room.State.LazyLoadMembers {
		return senders
	}
	if c.newcomer {
		senders[string(c.req.User)] = true
	}
	for _, e := range c.visible {
		senders[string(e.event.Sender)] = true
	}
	for _, hero := range c.heroes {
		senders[string(hero)] = true
	}
	return senders
}

// addSenders adds the member events of senders that are not in the list.
func (c *change) addSenders(events []*storage.Event, root int64, senders map[string]bool) ([]*storage.Event, error) {
	state, err := c.Rooms.At(c.ctx, c.info.NID, root)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, e := range events {
		if e.Type == "m.room.member" {
			have[*e.StateKey] = true
		}
	}
	for user := range senders {
		if have[user] {
			continue
		}
		e, err := state.Event(c.ctx, "m.room.member", user)
		if err != nil {
			return nil, err
		}
		if e != nil {
			events = append(events, e)
		}
	}
	return events, nil
}

func (c *change) stateList(events []*storage.Event) (before, after *EventList, err error) {
	filter := &c.req.Filter.Room.State
	inTimeline := map[int64]bool{}
	if c.stretch.missed && !c.req.UseStateAfter {
		for _, e := range c.stretch.events {
			inTimeline[e.event.NID] = true
		}
	}
	related, err := c.related(c.ctx, filter, c.info.NID, events)
	if err != nil {
		return nil, nil, err
	}
	kept := events[:0:0]
	for _, e := range events {
		if Wants(filter, e) && !inTimeline[e.NID] && (related == nil || related[e.ID]) {
			kept = append(kept, e)
		}
	}
	if filter.LazyLoadMembers && !filter.IncludeRedundantMembers && c.req.Device != "" {
		key := lazyKey{c.req.User, c.req.Device, c.info.NID}
		kept = c.redundant(key, kept, c.since.Position, c.snap.Position, c.newcomer || c.req.FullState)
	}
	list := make([]shown, len(kept))
	for i, e := range kept {
		list[i] = shown{event: e}
	}
	rendered, err := c.render(list)
	if err != nil {
		return nil, nil, err
	}
	if c.req.UseStateAfter {
		return nil, eventList(rendered), nil
	}
	return eventList(rendered), nil, nil
}

// summary is who is in the room, if that may have changed.
func (c *change) summary() (*Summary, error) {
	if !c.whole && !c.stretch.limited && !c.stretch.moved {
		return nil, nil
	}
	now, err := c.Rooms.Summary(c.ctx, c.info.NID)
	if err != nil {
		return nil, err
	}
	// Whoever has a name is not called by its members.
	var heroes []matrix.UserID
	if now.Name == "" && now.CanonicalAlias == "" {
		if heroes, err = c.Store.Members.Heroes(c.ctx, c.info.NID, c.req.User, 5); err != nil {
			return nil, err
		}
	}
	c.heroes = heroes
	return &Summary{Heroes: heroes, Joined: &now.JoinedMembers, Invited: &now.InvitedMembers}, nil
}
