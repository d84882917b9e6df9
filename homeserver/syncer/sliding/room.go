package sliding

import (
	"encoding/json"
	"maps"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
)

// A roomBuild is the part of an answer about a room that the user is in, or was.
type roomBuild struct {
	*answer
	e      *entry
	was    *sent
	config *config
	since  syncer.Token
	fresh  bool // the client knows nothing, or nothing that counts any more

	upTo     int64
	state    *rooms.Snapshot // at upTo
	newest   *syncer.Newest
	expanded bool
	now      *sent
	room     *Room
}

func (b *roomBuild) run(direct bool) error {
	b.now = &sent{seen: b.next.token, kind: b.e.kind, config: b.config}
	b.room = &Room{Initial: b.fresh}
	b.upTo = b.snap.Position
	if b.e.kind == left {
		b.upTo = min(b.e.at.Position, b.upTo)
	}
	for _, part := range []func() error{b.load, b.timeline, b.requiredState} {
		if err := part(); err != nil {
			return err
		}
	}
	changed, err := b.describe(direct)
	if err != nil {
		return err
	}
	b.next.rooms[b.e.at.NID] = b.now
	if b.fresh || changed || b.expanded || len(b.room.Timeline)+len(b.room.State) > 0 || b.room.Limited {
		b.resp.Rooms[b.e.info.ID] = b.room
	}
	return nil
}

// load finds the state that the answer leads to.
func (b *roomBuild) load() (err error) {
	root := int64(0)
	if b.e.left != nil {
		root = b.e.left.Root
	} else if root, err = b.sync.RootAt(b.ctx, b.e.at.NID, b.upTo); err != nil {
		return err
	}
	b.state, err = b.sync.Rooms.At(b.ctx, b.e.at.NID, root)
	b.now.root = root
	return err
}

// timeline sends the newest events: those that the client lacks or, if it
// wants more of the newest than it has, all of these.
func (b *roomBuild) timeline() error {
	b.expanded = !b.fresh && b.config.limit > b.was.have
	after := b.since.Position
	if b.fresh || b.expanded {
		after = storage.Beginning
	}
	activity := syncer.NoActivity()
	if b.e.kind == joined {
		activity = b.snap.Room(b.e.at.NID)
		if b.fresh {
			activity = b.ahead.Activity(b.e.at.NID, activity)
		}
		if !b.fresh && !b.expanded && activity.Last <= after {
			b.newest = new(syncer.Newest)
			b.now.have = b.was.have
			return nil
		}
	}
	var err error
	b.newest, err = b.sync.Newest(b.ctx, syncer.Window{
		Info: b.e.info, At: b.e.at, User: b.req.User, After: after, UpTo: b.upTo,
		Limit: b.config.limit, Left: b.e.left, Activity: activity,
	}, b.unwanted)
	if err != nil {
		return err
	}
	switch n := b.newest; {
	case n.Limited:
		b.now.have = b.config.limit
	case b.fresh || b.expanded:
		b.now.have = complete
	default:
		b.now.have = min(complete, b.was.have+len(n.Events))
	}
	return b.writeTimeline()
}

func (b *roomBuild) writeTimeline() (err error) {
	n := b.newest
	b.room.Limited = n.Limited
	if len(n.Events) == 0 && !n.Limited && !b.fresh {
		return nil
	}
	if b.room.Timeline, err = b.render(n.Events); err != nil {
		return err
	}
	b.room.PrevBatch = n.Start.String()
	b.room.Expanded = b.expanded
	live := 0
	if base := &b.conn.base; base.number > 0 {
		for _, e := range n.Events {
			if e.Event.Position > base.token.Position {
				live++
			}
		}
	}
	b.room.NumLive = &live
	return nil
}

func (a *answer) render(events []syncer.Seen) ([]json.RawMessage, error) {
	return a.sync.Render(a.ctx, a.ahead, events, rooms.Reader{User: a.req.User, Device: a.req.Device, NoRoomID: true})
}

// requiredState sends the state that was asked for: all of it, or what is new.
func (b *roomBuild) requiredState() error {
	events, err := b.stateEvents()
	if err != nil {
		return err
	}
	if b.config.lazy {
		if events, err = b.lazyMembers(events); err != nil {
			return err
		}
	}
	list := make([]syncer.Seen, len(events))
	for i, e := range events {
		list[i] = syncer.Seen{Event: e}
	}
	if len(list) > 0 {
		b.room.State, err = b.render(list)
	}
	return err
}

func (b *roomBuild) stateEvents() ([]*storage.Event, error) {
	if b.fresh {
		return b.wholeState(b.config.wants)
	}
	var events []*storage.Event
	var err error
	if b.was.root != b.now.root {
		everybody := b.config.lazy && !b.newest.Limited
		events, err = b.state.Since(b.ctx, b.was.root, func(key storage.StateKey) bool {
			return b.config.wants(key) || everybody && key.Type == "m.room.member"
		})
		if err != nil {
			return nil, err
		}
	}
	if b.was.config.print == b.config.print {
		return events, nil
	}
	// More is wanted than before: that too, where it is not among what changed.
	more, err := b.wholeState(func(key storage.StateKey) bool { return b.config.wants(key) && !b.was.config.wants(key) })
	if err != nil {
		return nil, err
	}
	have := map[int64]bool{}
	for _, e := range events {
		have[e.NID] = true
	}
	for _, e := range more {
		if !have[e.NID] {
			events = append(events, e)
		}
	}
	return events, nil
}

// wholeState is the state events whose keys are wanted, all of which the config
// wants. Without wildcards in it they are looked up one by one, since a room
// may have thousands.
func (b *roomBuild) wholeState(wanted func(storage.StateKey) bool) ([]*storage.Event, error) {
	keys, exact := b.config.exact()
	if !exact {
		return b.state.Events(b.ctx, wanted)
	}
	var events []*storage.Event
	for _, key := range keys {
		if !wanted(key) {
			continue
		}
		e, err := b.state.Event(b.ctx, key.Type, key.Key)
		if err != nil {
			return nil, err
		}
		if e != nil {
			events = append(events, e)
		}
	}
	return events, nil
}

// lazyMembers adds the members whom the timeline needs and the client lacks.
// Behind a gap in the timeline clients forget the members that they have.
func (b *roomBuild) lazyMembers(events []*storage.Event) ([]*storage.Event, error) {
	members := map[string]int64{}
	if !b.fresh && !b.newest.Limited && len(b.was.members) < maxMembers {
		members = maps.Clone(b.was.members)
		if members == nil {
			members = map[string]int64{}
		}
	}
	for _, e := range events {
		if e.Type == "m.room.member" {
			members[*e.StateKey] = e.NID
		}
	}
	need := func(user string) error {
		e, err := b.state.Event(b.ctx, "m.room.member", user)
		if err != nil || e == nil || members[user] == e.NID {
			return err
		}
		members[user] = e.NID
		events = append(events, e)
		return nil
	}
	for _, seen := range b.newest.Events {
		if err := need(string(seen.Event.Sender)); err != nil {
			return nil, err
		}
		if seen.Event.Type == "m.room.member" && seen.Event.IsState() {
			if err := need(*seen.Event.StateKey); err != nil {
				return nil, err
			}
		}
	}
	b.now.members = members
	return events, nil
}
