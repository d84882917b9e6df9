package sliding_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
	"trestle/homeserver/syncer/sliding"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

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
	switch h.random.IntN(15) {
	case 0, 1, 2, 3, 4:
		_, err = s.Send(ctx, rooms.SendRequest{Room: room, Sender: who, Type: "m.room.message", Content: fmt.Appendf(nil, `{"body":"%d"}`, h.n)})
	case 5:
		state("m.room.name", "", fmt.Sprintf(`{"name":"%d"}`, h.n))
	case 6:
		state("x.custom", fmt.Sprint(h.random.IntN(10)), fmt.Sprintf(`{"n":%d}`, h.n))
	case 7, 8, 9:
		_, err = s.Join(ctx, string(room), member)
	case 10:
		err = s.Leave(ctx, member)
	case 11:
		err = s.Invite(ctx, member)
	case 12:
		err = s.Kick(ctx, member)
	case 13:
		err = s.Unban(ctx, member)
	case 14:
		if h.random.IntN(4) == 0 {
			err = s.Ban(ctx, member)
		} else {
			state("m.room.member", string(who), fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, h.n))
		}
	}
	if err != nil && matrix.Code(err) != "M_FORBIDDEN" && matrix.Code(err) != "M_BAD_STATE" {
		h.t.Fatalf("step %d: %v", h.n, err)
	}
}

// check holds what a client that looks at all rooms knows against what is true,
// and against what a connection knows that begins now.
func (c *client) check(limit int) {
	c.t.Helper()
	fresh := &client{fixture: c.fixture, name: c.name + " anew", conn: "fresh", state: c.state, lazy: c.lazy, rooms: map[matrix.RoomID]*known{}}
	fresh.take(fresh.ask(fresh.list(99, 100)))
	for id, other := range fresh.rooms {
		k := c.rooms[id]
		if k == nil || k.membership != other.membership {
			c.t.Fatalf("%s knows %s as %+v, it is %s", c.name, id, k, other.membership)
		}
		if k.membership != "join" {
			continue
		}
		c.checkRoom(id, k, limit)
		fresh.checkRoom(id, other, 100)
		mine, theirs := ids(k.timeline), ids(other.timeline)
		n := min(len(mine), len(theirs))
		if !slices.Equal(mine[len(mine)-n:], theirs[len(theirs)-n:]) {
			c.t.Fatalf("%s: the timeline of %s ends with\n%v\nbut for a new connection with\n%v", c.name, id, mine, theirs)
		}
		if k.bump != other.bump || k.joined != other.joined || k.invited != other.invited {
			c.t.Fatalf("%s: %s is %+v, but for a new connection %+v", c.name, id, k, other)
		}
	}
}

func (c *client) checkRoom(id matrix.RoomID, k *known, limit int) {
	c.t.Helper()
	access, err := c.fixture.rooms.Access(c.t.Context(), id, bob)
	c.must(err)
	events, err := access.State.Events(c.t.Context(), nil)
	c.must(err)
	for _, e := range events {
		key := storage.StateKey{Type: e.Type, Key: *e.StateKey}
		has, ok := k.state[key]
		wanted := key.Type != "m.room.member" || !c.lazy
		if has != e.ID && (ok || wanted) {
			c.t.Fatalf("%s in %s: %v is %q, not %s", c.name, id, key, has, e.ID)
		}
	}
	for _, e := range k.timeline[max(0, len(k.timeline)-limit):] {
		if k.state[storage.StateKey{Type: "m.room.member", Key: string(e.Sender)}] == "" {
			c.t.Fatalf("%s: the member event of %s, who sent %s, is missing", c.name, e.Sender, e.ID)
		}
	}
}

// checkHistory pages backwards from where the timeline begins: with it, that
// is every event that can be seen, once.
func (c *client) checkHistory(id matrix.RoomID, k *known) {
	c.t.Helper()
	page := func(from string) *syncer.Page {
		c.t.Helper()
		p, err := c.fixture.sync.Messages(c.t.Context(), syncer.PageRequest{
			User: bob, Device: "D", Room: id, From: from, Limit: 1000, Backward: true, Filter: new(accounts.RoomEventFilter),
		})
		c.must(err)
		return p
	}
	want := ids(c.read(page("").Chunk))
	slices.Reverse(want)
	got := ids(c.read(page(k.prevBatch).Chunk))
	slices.Reverse(got)
	if got = append(got, ids(k.timeline)...); !slices.Equal(got, want) {
		c.t.Fatalf("%s: behind and in the timeline of %s is\n%v\nwant\n%v", c.name, id, got, want)
	}
}

func ids(events []event) []matrix.EventID {
	list := make([]matrix.EventID, len(events))
	for i, e := range events {
		list[i] = e.ID
	}
	return list
}

// A client that applies what it is told, at any times, through any window, and
// repeats requests whose answers were lost, knows what it
// would know if it came new as soon as it looks at all rooms.
func TestIncrementalClientsKnowWhatNewOnesKnow(t *testing.T) {
	seeds := 8
	if testing.Short() {
		seeds = 2
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			play(open(t, testkit.EitherDatabase(t, seed)), seed)
		})
	}
}

func play(f *fixture, seed uint64) {
	h := &history{fixture: f, random: rand.New(rand.NewPCG(seed, 11))}
	for range 4 {
		id, err := f.rooms.Create(f.t.Context(), rooms.CreateRequest{Creator: alice, Preset: "public_chat"})
		f.must(err)
		h.rooms = append(h.rooms, id)
	}
	clients := []*client{
		{name: "plain", conn: "a", state: `{"include":[{}]}`},
		{name: "lazy", conn: "b", state: `{"include":[{}],"lazy_members":true}`, lazy: true},
	}
	for _, c := range clients {
		c.fixture, c.rooms = f, map[matrix.RoomID]*known{}
	}
	for range 150 {
		h.step()
		for _, c := range clients {
			if h.random.IntN(6) > 0 {
				continue
			}
			last, limit := h.random.IntN(4), []int{1, 3, 10, 50}[h.random.IntN(4)]
			request := c.list(last, limit)
			if h.random.IntN(4) == 0 {
				c.ask(c.list(h.random.IntN(4), limit)) // and the answer is lost
			}
			c.take(c.ask(request))
			if h.random.IntN(3) > 0 {
				// Through a window it sees all: what it does not look at may be as it was.
				c.take(c.ask(c.list(99, limit)))
				c.check(limit)
			}
		}
		if h.random.IntN(50) == 0 {
			f.restart()
		}
	}
	for _, c := range clients {
		c.take(c.ask(c.list(99, 5)))
		c.check(5)
		for id, k := range c.rooms {
			if k.membership == "join" {
				c.checkHistory(id, k)
			}
		}
	}
}

// FuzzRequest reads anything, and what it takes it can use.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"lists":{"a":{"ranges":[[0,9]],"required_state":[["m.room.member","$LAZY"],["*","*"]],"timeline_limit":1,"filters":{"is_dm":true}}}}`))
	f.Add([]byte(`{"lists":{"a":{"range":[0,9],"required_state":{"include":[{}],"exclude":[{"type":"x"}],"lazy_members":true}}},"pos":"s1.a.1","timeout":5}`))
	f.Add([]byte(`{"room_subscriptions":{"!a:b":{"timeline_limit":20}},"extensions":{"to_device":{"enabled":true,"since":"7"},"receipts":{"enabled":true,"rooms":["*"]}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		req := &sliding.Request{User: alice}
		if err := req.Parse(body); err != nil {
			switch matrix.Code(err) {
			case "M_NOT_JSON", "M_BAD_JSON", "M_INVALID_PARAM":
			default:
				t.Errorf("%q: %v", body, err)
			}
		}
	})
}
