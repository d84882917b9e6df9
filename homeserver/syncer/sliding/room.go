package sliding

import (
	"encoding/json"
	"maps"
	"math"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
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
		after = math.MinInt64
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
	}, b.ignored)
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
	return a.sync.Render(a.ctx, events, rooms.Reader{User: a.req.User, Device: a.req.Device, NoRoomID: true})
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

// describe fills in by what a room is shown in a list, and reports whether
// something of that is new.
func (b *roomBuild) describe(direct bool) (changed bool, err error) {
	f := &b.now.facts
	f.membership, f.direct = b.e.at.Membership, direct
	var heroes []Hero
	if b.e.kind == joined {
		heroes, err = b.describeJoined(f)
	} else {
		err = b.describeLeft(f)
	}
	if err != nil {
		return false, err
	}
	changed = b.room.setFacts(b.was.known(), f, b.fresh)
	if b.e.kind != joined {
		return changed, nil
	}
	var was facts
	if !b.fresh {
		was = b.was.facts
	}
	if f.heroes != was.heroes {
		b.room.Heroes, changed = heroes, true
	}
	if b.fresh || f.joined != was.joined || f.invited != was.invited {
		b.room.Joined, b.room.Invited, changed = &f.joined, &f.invited, true
	}
	changed = changed || f.notifications != was.notifications || f.highlights != was.highlights
	if b.req.Proposed {
		b.room.Notifications, b.room.Highlights = &f.notifications, &f.highlights
	}
	return changed, nil
}

func (b *roomBuild) describeJoined(f *facts) (heroes []Hero, err error) {
	now, err := b.sync.Rooms.Head(b.ctx, b.e.at.NID)
	if err != nil {
		return nil, err
	}
	f.name, f.avatar = now.Summary.Name, now.Summary.AvatarURL
	f.joined, f.invited = now.Summary.JoinedMembers, now.Summary.InvitedMembers
	f.bump = b.e.standing.Bump
	switch {
	case f.name != "":
	case !b.fresh && b.was.root == b.now.root && b.was.facts.name == "":
		f.heroes = b.was.facts.heroes
	default:
		if heroes, err = b.heroes(now); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(heroes)
		if err != nil {
			return nil, err
		}
		f.heroes = string(raw)
	}
	if b.unread != nil {
		f.notifications, f.highlights, err = b.unread.Unread(b.ctx, b.req.User, b.e.info.ID)
	}
	return heroes, err
}

// describeLeft describes a room as it was when the user left it.
func (b *roomBuild) describeLeft(f *facts) error {
	f.bump = b.e.at.Position
	for typ, into := range map[string]*string{"m.room.name": &f.name, "m.room.avatar": &f.avatar} {
		e, err := b.state.Event(b.ctx, typ, "")
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		var content struct {
			Name json.RawMessage `json:"name"`
			URL  json.RawMessage `json:"url"`
		}
		raw := &content.Name
		if typ == "m.room.avatar" {
			raw = &content.URL
		}
		// What is no text is no name.
		if json.Unmarshal(e.Content, &content) == nil {
			_ = json.Unmarshal(*raw, into)
		}
	}
	return nil
}

// maxHeroes is by how many a room is called (Client-Server API § Calculating
// the display name for a room).
const maxHeroes = 5

func (b *roomBuild) heroes(now *rooms.Snapshot) ([]Hero, error) {
	users, err := b.sync.Store.Members.Heroes(b.ctx, b.e.at.NID, b.req.User, maxHeroes)
	if err != nil {
		return nil, err
	}
	heroes := make([]Hero, 0, len(users))
	for _, user := range users {
		hero := Hero{User: user}
		e, err := now.Event(b.ctx, "m.room.member", string(user))
		if err != nil {
			return nil, err
		}
		if e != nil {
			hero.describe(e.Event)
		}
		heroes = append(heroes, hero)
	}
	return heroes, nil
}

func (h *Hero) describe(member *matrix.Event) {
	var content struct {
		DisplayName json.RawMessage `json:"displayname"`
		AvatarURL   json.RawMessage `json:"avatar_url"`
	}
	// What is no text is no name.
	if json.Unmarshal(member.Content, &content) == nil {
		_ = json.Unmarshal(content.DisplayName, &h.DisplayName)
		_ = json.Unmarshal(content.AvatarURL, &h.AvatarURL)
	}
}
