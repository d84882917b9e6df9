package syncer_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// A client does with the answers of /sync what the specification says.
type client struct {
	*fixture
	name       string
	device     matrix.DeviceID
	lazy       bool
	stateAfter bool
	since      string
	rooms      map[matrix.RoomID]*known
}

// known is what a client knows of a room.
type known struct {
	membership string
	state      map[storage.StateKey]matrix.EventID
	timeline   []event // since the last gap
	prevBatch  string
	// uninformed is set by an invite: what happened in the room before it, since
	// the answer before, was not told.
	uninformed bool
}

func (c *client) request(limit int64) syncer.Request {
	return syncer.Request{
		User: bob, Device: c.device, Since: c.since, UseStateAfter: c.stateAfter,
		Filter: &accounts.Filter{Room: accounts.RoomFilter{
			IncludeLeave: true,
			State:        accounts.RoomEventFilter{LazyLoadMembers: c.lazy},
			Timeline:     accounts.RoomEventFilter{EventFilter: accounts.EventFilter{Limit: &limit}, LazyLoadMembers: c.lazy},
		}},
	}
}

func (c *client) sync(limit int64) {
	c.t.Helper()
	res := c.syncNow(c.request(limit))
	c.since = res.NextBatch
	if res.Rooms == nil {
		return
	}
	for id, r := range res.Rooms.Join {
		c.take(id, "join", r.State, r.StateAfter, r.Timeline)
	}
	for id, r := range res.Rooms.Leave {
		c.take(id, "leave", r.State, r.StateAfter, r.Timeline)
	}
	for id := range res.Rooms.Invite {
		r := c.room(id)
		r.membership, r.uninformed = "invite", true
	}
}

func (c *client) room(id matrix.RoomID) *known {
	r := c.rooms[id]
	if r == nil {
		r = &known{state: map[storage.StateKey]matrix.EventID{}}
		c.rooms[id] = r
	}
	return r
}

func (c *client) take(id matrix.RoomID, membership string, state, after *syncer.EventList, timeline *syncer.Timeline) {
	c.t.Helper()
	r := c.room(id)
	if c.lazy && membership == "join" && r.membership != "join" {
		// Nobody has told it what became of the others meanwhile.
		maps.DeleteFunc(r.state, func(key storage.StateKey, _ matrix.EventID) bool { return key.Type == "m.room.member" })
	}
	r.membership = membership
	r.uninformed = r.uninformed && membership != "join"
	set := func(e event) {
		if e.StateKey != nil {
			r.state[storage.StateKey{Type: e.Type, Key: *e.StateKey}] = e.ID
		}
	}
	if c.stateAfter != (after != nil) || c.stateAfter && state != nil {
		c.t.Errorf("%s: state %v, state_after %v", c.name, state, after)
	}
	for _, e := range c.list(state) {
		set(e)
	}
	if timeline != nil {
		if timeline.Limited {
			r.timeline, r.prevBatch = nil, ""
		}
		if r.prevBatch == "" {
			r.prevBatch = timeline.PrevBatch
		}
		for _, e := range c.read(timeline.Events) {
			r.timeline = append(r.timeline, e)
			if !c.stateAfter {
				set(e)
			}
		}
	}
	for _, e := range c.list(after) {
		set(e)
	}
}

// check holds what the client knows against what is true, and against what a
// client knows that comes new.
func (c *client) check() {
	c.t.Helper()
	fresh := &client{fixture: c.fixture, name: c.name + " anew", device: "FRESH", lazy: c.lazy, stateAfter: c.stateAfter, rooms: map[matrix.RoomID]*known{}}
	fresh.sync(1000)
	for id, r := range c.rooms {
		c.checkState(id, r)
		other := fresh.rooms[id]
		if r.membership != "join" {
			continue
		}
		if other == nil || other.membership != "join" {
			c.t.Fatalf("%s: %s is joined for the one only", c.name, id)
		}
		fresh.checkState(id, other)
		mine, theirs := ids(r.timeline), ids(other.timeline)
		n := min(len(mine), len(theirs))
		if !slices.Equal(mine[len(mine)-n:], theirs[len(theirs)-n:]) {
			c.t.Fatalf("%s: the timeline of %s ends with\n%v\nbut for a new client with\n%v", c.name, id, describe(r.timeline), describe(other.timeline))
		}
	}
	for id, r := range fresh.rooms {
		if r.membership == "join" && (c.rooms[id] == nil || c.rooms[id].membership != "join") {
			c.t.Fatalf("%s knows nothing of %s", c.name, id)
		}
	}
}

func (c *client) checkState(id matrix.RoomID, r *known) {
	c.t.Helper()
	access, err := c.fixture.rooms.Access(c.t.Context(), id, bob)
	if matrix.Code(err) == "M_FORBIDDEN" || r.uninformed {
		return // never in, or not told of it
	}
	c.must(err)
	events, err := access.State.Events(c.t.Context(), nil)
	c.must(err)
	want := map[storage.StateKey]matrix.EventID{}
	for _, e := range events {
		want[storage.StateKey{Type: e.Type, Key: *e.StateKey}] = e.ID
	}
	own := storage.StateKey{Type: "m.room.member", Key: string(bob)}
	for key, e := range want {
		has, ok := r.state[key]
		if r.membership != "join" && (key == own || access.Membership == "join" || access.State.Summary.WorldReadable) {
			continue // what became of bob later is not in the state that he left
		}
		if r.membership != "join" && c.lazy && key.Type == "m.room.member" {
			continue // who came back and left again between two answers is told of senders only
		}
		if has != e && (ok || !c.lazy || key.Type != "m.room.member") {
			c.t.Fatalf("%s, %s in %s: %v is %s, not %s", c.name, r.membership, id, key, has, e)
		}
	}
	for _, e := range r.timeline {
		if r.membership == "join" && r.state[storage.StateKey{Type: "m.room.member", Key: string(e.Sender)}] == "" {
			c.t.Fatalf("%s: the member event of %s, who sent %s, is missing", c.name, e.Sender, e.ID)
		}
	}
}

// checkHistory pages backwards from where the timeline begins: with it, that
// is every event that can be seen, once.
func (c *client) checkHistory(id matrix.RoomID, r *known, limit int) {
	c.t.Helper()
	if r.membership != "join" {
		return
	}
	want := c.pages(id, "", "", limit, true)
	slices.Reverse(want)
	got := c.pages(id, r.prevBatch, "", limit+1, true)
	slices.Reverse(got)
	got = append(got, ids(r.timeline)...)
	if !slices.Equal(got, want) {
		c.t.Fatalf("%s: behind and in the timeline of %s is\n%v\nwant\n%v", c.name, id, got, want)
	}
}

func (f *fixture) pages(id matrix.RoomID, from, to string, limit int, backward bool) []matrix.EventID {
	f.t.Helper()
	var all []matrix.EventID
	for range 1000 {
		page, err := f.sync.Messages(f.t.Context(), syncer.PageRequest{
			User: bob, Device: "D", Room: id, From: from, To: to, Limit: limit, Backward: backward, Filter: new(accounts.RoomEventFilter),
		})
		f.must(err)
		if from != "" && page.Start != from {
			f.t.Fatalf("the page starts at %s, not %s", page.Start, from)
		}
		if len(page.Chunk) > limit {
			f.t.Fatalf("%d events on a page of %d", len(page.Chunk), limit)
		}
		all = append(all, ids(f.read(page.Chunk))...)
		if page.End == "" {
			return all
		}
		from = page.End
	}
	f.t.Fatal("the pages have no end")
	return nil
}

func ids(events []event) []matrix.EventID {
	list := make([]matrix.EventID, len(events))
	for i, e := range events {
		list[i] = e.ID
	}
	return list
}

func describe(events []event) []string {
	list := make([]string, len(events))
	for i, e := range events {
		list[i] = fmt.Sprintf("%s %s by %s %s", e.ID[:6], e.Type, e.Sender, e.Content)
	}
	return list
}

// A history does things to rooms at random; what the rules refuse is not done.
type history struct {
	*fixture
	random *rand.Rand
	rooms  []matrix.RoomID
	n      int
}

func (h *history) step() {
	h.t.Helper()
	users := []matrix.UserID{alice, alice, bob, bob, carol, dave}
	who, whom := users[h.random.IntN(len(users))], users[h.random.IntN(len(users))]
	room := h.rooms[h.random.IntN(len(h.rooms))]
	h.n++
	var err error
	ctx, s := h.t.Context(), h.fixture.rooms
	member := rooms.MemberRequest{Room: room, Sender: who, Target: whom, Reason: fmt.Sprint(h.n)}
	state := func(typ, key, content string) {
		_, err = s.Send(ctx, rooms.SendRequest{Room: room, Sender: who, Type: typ, StateKey: &key, Content: []byte(content)})
	}
	switch h.random.IntN(16) {
	case 0, 1, 2, 3, 4:
		_, err = s.Send(ctx, rooms.SendRequest{Room: room, Sender: who, Type: "m.room.message", Content: fmt.Appendf(nil, `{"body":"%d"}`, h.n)})
	case 5:
		state("m.room.topic", "", fmt.Sprintf(`{"topic":"%d"}`, h.n))
	case 6:
		state("x.custom", fmt.Sprint(h.random.IntN(40)), fmt.Sprintf(`{"n":%d}`, h.n))
	case 7, 8, 9:
		_, err = s.Join(ctx, string(room), member)
	case 10:
		err = s.Leave(ctx, member)
	case 11:
		err = s.Invite(ctx, member)
	case 12:
		err = s.Kick(ctx, member)
	case 13:
		if h.random.IntN(2) == 0 {
			err = s.Ban(ctx, member)
		}
	case 14:
		err = s.Unban(ctx, member)
	case 15:
		if h.random.IntN(3) == 0 {
			visibilities := []string{"shared", "joined", "invited", "world_readable"}
			state("m.room.history_visibility", "", fmt.Sprintf(`{"history_visibility":%q,"n":%d}`, visibilities[h.random.IntN(4)], h.n))
		} else {
			state("m.room.member", string(who), fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, h.n))
		}
	}
	if err != nil && matrix.Code(err) != "M_FORBIDDEN" && matrix.Code(err) != "M_BAD_STATE" {
		h.t.Fatalf("step %d: %v", h.n, err)
	}
}

// A client that applies what it is told at any times knows exactly what it
// would know if it came new, whatever happens, and history behind it has no
// gap and no double.
func TestIncrementalClientsKnowWhatNewOnesKnow(t *testing.T) {
	seeds := 10
	if testing.Short() {
		seeds = 2
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			play(open(t, testkit.EitherDatabase(t, seed)), seed)
		})
	}
}

// play lets a random history happen, with clients that look at it now and then.
func play(f *fixture, seed uint64) {
	h := &history{fixture: f, random: rand.New(rand.NewPCG(seed, 7))}
	for range 2 {
		h.rooms = append(h.rooms, f.create(rooms.CreateRequest{Preset: "public_chat"}))
	}
	clients := []*client{
		{name: "plain", device: "A"},
		{name: "lazy", device: "B", lazy: true},
		{name: "state_after", device: "C", stateAfter: true},
		{name: "lazy state_after", device: "D", lazy: true, stateAfter: true},
	}
	for _, c := range clients {
		c.fixture, c.rooms = f, map[matrix.RoomID]*known{}
	}
	for range 150 {
		h.step()
		for _, c := range clients {
			if h.random.IntN(8) == 0 {
				c.sync([]int64{0, 1, 3, 10, 50}[h.random.IntN(5)])
				c.check()
			}
		}
		if h.random.IntN(40) == 0 {
			f.restart()
		}
	}
	for _, c := range clients {
		c.sync(5)
		c.check()
		for id, r := range c.rooms {
			c.checkHistory(id, r, 1+h.random.IntN(30))
		}
	}
}
