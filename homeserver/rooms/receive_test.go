package rooms_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/matrix/stateres"
	"trestle/internal/testkit"
)

// A world is a room as all servers together see it, kept in the plainest way: every event with the whole
// state after it. This server is told of its events one by one and has to come to the same.
type world struct {
	*fixture
	random  *rand.Rand
	room    matrix.RoomID
	version *roomversion.Version
	key     matrix.SigningKey
	clock   int64

	events   map[matrix.EventID]*matrix.Event
	after    map[matrix.EventID]stateres.StateMap
	rejected map[matrix.EventID]bool
	order    []matrix.EventID // as they were made
	pending  []matrix.EventID // not told yet

	// What this server should think.
	told   map[matrix.EventID]storage.Verdict
	newest []matrix.EventID
}

func newWorld(f *fixture, seed uint64, version string) *world {
	f.t.Helper()
	key, err := matrix.NewSigningKey()
	if err != nil {
		f.t.Fatal(err)
	}
	w := &world{
		fixture: f, random: rand.New(rand.NewPCG(seed, 7)), key: key, clock: 1_700_000_000_000,
		events: map[matrix.EventID]*matrix.Event{}, after: map[matrix.EventID]stateres.StateMap{},
		rejected: map[matrix.EventID]bool{}, told: map[matrix.EventID]storage.Verdict{},
	}
	levels := `{"users":{"@bob:one":100,"@carl:two":50,"@alice:test":100},"users_default":0}`
	if version == "12" {
		levels = `{"users":{"@bob:one":100,"@carl:two":50},"users_default":0}`
	}
	var content map[string]json.RawMessage
	_ = json.Unmarshal([]byte(levels), &content)
	w.room = f.create(rooms.CreateRequest{Preset: "public_chat", Version: version, PowerLevels: content})
	w.version, _ = roomversion.Lookup(version)
	for _, e := range f.history(w.room) {
		w.add(e.Event)
		w.accept(e.Event)
	}
	return w
}

func (w *world) auth(id matrix.EventID) *matrix.Event { return w.events[id] }

func (w *world) resolve(ids []matrix.EventID) stateres.StateMap {
	w.t.Helper()
	var states []stateres.StateMap
	for _, id := range ids {
		states = append(states, w.after[id])
	}
	switch len(states) {
	case 0:
		return stateres.StateMap{}
	case 1:
		return states[0]
	}
	r := stateres.Resolver{Version: w.version, Auth: w.auth, Rejected: func(id matrix.EventID) bool { return w.rejected[id] }}
	merged, err := r.Resolve(states)
	if err != nil {
		w.t.Fatal(err)
	}
	return merged
}

// add takes an event into the world: whether it is rejected depends on nothing but what came before it.
func (w *world) add(e *matrix.Event) {
	before := w.resolve(e.PrevEvents)
	w.events[e.ID], w.after[e.ID] = e, before
	w.order = append(w.order, e.ID)
	if len(e.PrevEvents) > 0 {
		auth := stateres.StateMap{}
		if w.version.RoomIDFromCreate {
			auth[stateres.StateKey{Type: "m.room.create"}] = before.Event("m.room.create", "")
		}
		var list []*matrix.Event
		for _, id := range e.AuthEvents {
			list = append(list, w.events[id])
			auth[stateres.StateKey{Type: w.events[id].Type, Key: *w.events[id].StateKey}] = w.events[id]
		}
		if eventauth.CheckAuthEvents(e, list, func(id matrix.EventID) bool { return w.rejected[id] }) != nil ||
			eventauth.Allowed(e, auth) != nil || eventauth.Allowed(e, before) != nil {
			w.rejected[e.ID] = true
			return
		}
	}
	if e.IsState() {
		after := maps.Clone(before)
		after[stateres.StateKey{Type: e.Type, Key: *e.StateKey}] = e
		w.after[e.ID] = after
	}
}

func (w *world) current() stateres.StateMap { return w.resolve(w.newest) }

// verdict is what this server should think of an event that it is told of now.
func (w *world) verdict(e *matrix.Event) storage.Verdict {
	switch {
	case w.rejected[e.ID]:
		return storage.Rejected
	case eventauth.Allowed(e, w.current()) != nil:
		return storage.SoftFailed
	}
	return storage.Placed
}

// accept makes an event the newest of its branch.
func (w *world) accept(e *matrix.Event) {
	behind := map[matrix.EventID]bool{}
	var walk func(ids []matrix.EventID)
	walk = func(ids []matrix.EventID) {
		for _, id := range ids {
			behind[id] = true
			if w.told[id] != storage.Placed {
				walk(w.events[id].PrevEvents)
			}
		}
	}
	walk(e.PrevEvents)
	w.newest = slices.DeleteFunc(w.newest, func(id matrix.EventID) bool { return behind[id] })
	w.newest = append(w.newest, e.ID)
	w.told[e.ID] = storage.Placed
}

// elsewhere has somebody of another server make an event after some of those that there are.
func (w *world) elsewhere() {
	users := []matrix.UserID{"@bob:one", "@carl:two", "@dora:one", "@emil:two"}
	sender := users[w.random.IntN(len(users))]
	var prev []matrix.EventID
	for range 1 + w.random.IntN(3) {
		back := min(len(w.order)-1, int(w.random.ExpFloat64()*4))
		if id := w.order[len(w.order)-1-back]; !slices.Contains(prev, id) {
			prev = append(prev, id)
		}
	}
	before := w.resolve(prev)
	typ, stateKey, content := w.deed(sender, users)
	w.clock += int64(w.random.IntN(3))
	template := matrix.EventTemplate{
		RoomID: w.room, Sender: sender, Type: typ, StateKey: stateKey, Content: json.RawMessage(content),
		OriginServerTS: w.clock, PrevEvents: prev,
	}
	for _, id := range prev {
		template.Depth = max(template.Depth, w.events[id].Depth+1)
	}
	for _, key := range eventauth.NeededFor(w.version, template) {
		if e := before.Event(key.Type, key.Key); e != nil {
			template.AuthEvents = append(template.AuthEvents, e.ID)
		}
	}
	e, err := template.Build(w.version, sender.Server(), w.key)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.events[e.ID] == nil {
		w.add(e)
		w.pending = append(w.pending, e.ID)
	}
}

func (w *world) deed(sender matrix.UserID, users []matrix.UserID) (typ string, stateKey *string, content string) {
	text := func(s string) *string { return &s }
	target := append(users, alice)[w.random.IntN(len(users)+1)]
	switch n := w.random.IntN(20); {
	case n < 6:
		return "m.room.member", text(string(sender)), `{"membership":"join"}`
	case n < 7:
		return "m.room.member", text(string(sender)), `{"membership":"leave"}`
	case n < 9:
		return "m.room.member", text(string(target)), fmt.Sprintf(`{"membership":%q}`, []string{"ban", "leave", "invite"}[w.random.IntN(3)])
	case n < 12:
		return "m.room.topic", text(""), fmt.Sprintf(`{"topic":"%d"}`, w.random.IntN(1000))
	case n < 14:
		rule := []string{"public", "invite"}[w.random.IntN(2)]
		return "m.room.join_rules", text(""), fmt.Sprintf(`{"join_rule":%q}`, rule)
	case n < 16:
		levels := fmt.Sprintf(`"@bob:one":%d,"@carl:two":%d,"@dora:one":%d`, w.random.IntN(2)*100, w.random.IntN(2)*50, w.random.IntN(2)*50)
		if w.version.ID != "12" {
			levels += `,"@alice:test":100`
		}
		return "m.room.power_levels", text(""), `{"users":{` + levels + `}}`
	case n < 17:
		return "m.thing", text(fmt.Sprint(w.random.IntN(5))), fmt.Sprintf(`{"n":%d}`, w.random.IntN(1000))
	}
	return "m.room.message", nil, fmt.Sprintf(`{"body":"%d","msgtype":"m.text"}`, w.random.IntN(1000))
}

// tell hands this server some of the events that it does not know, in any order.
func (w *world) tell() {
	w.t.Helper()
	w.random.Shuffle(len(w.pending), func(i, k int) { w.pending[i], w.pending[k] = w.pending[k], w.pending[i] })
	count := min(len(w.pending), 1+w.random.IntN(4))
	batch := slices.Clone(w.pending[:count])
	w.pending = slices.Delete(w.pending, 0, count)
	if w.random.IntN(4) > 0 {
		slices.SortFunc(batch, func(a, b matrix.EventID) int { return slices.Index(w.order, a) - slices.Index(w.order, b) })
	}
	var arrivals []rooms.Arrival
	for _, id := range batch {
		arrivals = append(arrivals, rooms.Arrival{Event: w.events[id]})
	}
	got, err := w.Receive(w.t.Context(), w.room, arrivals)
	if err != nil {
		w.t.Fatal(err)
	}
	for i, id := range batch {
		e := w.events[id]
		var missing []matrix.EventID
		for _, other := range slices.Concat(e.PrevEvents, e.AuthEvents) {
			if _, told := w.told[other]; !told {
				missing = append(missing, other)
			}
		}
		if len(missing) > 0 || len(got[i].Missing) > 0 {
			if !slices.Equal(missing, got[i].Missing) {
				w.t.Fatalf("%s wants %v first, not %v", id, got[i].Missing, missing)
			}
			w.pending = append(w.pending, id)
			continue
		}
		want := w.verdict(e)
		if got[i].Verdict != want || got[i].Known || (got[i].Refused == nil) != (want == storage.Placed) {
			w.t.Fatalf("%s (%s of %s) is received as %+v, want verdict %d", id, e.Type, e.Sender, got[i], want)
		}
		if w.told[id] = want; want == storage.Placed {
			w.accept(e)
		}
	}
}

// here has somebody of this server say or change something.
func (w *world) here() {
	w.t.Helper()
	req := rooms.SendRequest{Room: w.room, Sender: alice, Type: "m.room.message", Content: json.RawMessage(`{"body":"here","msgtype":"m.text"}`)}
	if w.random.IntN(2) == 0 {
		req.Type, req.StateKey = "m.room.topic", new(string)
		req.Content = json.RawMessage(fmt.Sprintf(`{"topic":"here %d"}`, len(w.order)))
	}
	id, err := w.Send(w.t.Context(), req)
	if matrix.Code(err) == "M_FORBIDDEN" {
		return // somebody has thrown alice out
	}
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := w.store.Events.ByID(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	if !slices.Equal(slices.Sorted(slices.Values(e.PrevEvents)), slices.Sorted(slices.Values(w.newest))) {
		w.t.Fatalf("an event of this server comes after %v, not %v", e.PrevEvents, w.newest)
	}
	w.add(e.Event)
	if w.rejected[id] {
		w.t.Fatalf("others would reject %s", id)
	}
	w.accept(e.Event)
}

// check holds what this server thinks of the room to what it should.
func (w *world) check(service *rooms.Service) {
	w.t.Helper()
	ctx := w.t.Context()
	info, err := service.Info(ctx, w.room)
	if err != nil {
		w.t.Fatal(err)
	}
	now, err := service.Head(ctx, info.NID)
	if err != nil {
		w.t.Fatal(err)
	}
	want := w.current()
	got, err := now.Events(ctx, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(got) != len(want) {
		w.t.Errorf("the state has %d events, want %d", len(got), len(want))
	}
	joined := int64(0)
	for _, e := range got {
		if other := want.Event(e.Type, *e.StateKey); other == nil || other.ID != e.ID {
			w.t.Errorf("the %s %q is %s", e.Type, *e.StateKey, e.ID)
		}
	}
	for key, e := range want {
		if key.Type != "m.room.member" {
			continue
		}
		if e.Membership() == "join" {
			joined++
		}
		m, err := w.store.Members.In(ctx, info.NID, matrix.UserID(key.Key))
		if err != nil {
			w.t.Fatal(err)
		}
		if m == nil || m.Membership != e.Membership() {
			w.t.Errorf("%s is %+v in the table of members, want %s", key.Key, m, e.Membership())
		}
	}
	if now.Summary.JoinedMembers != joined {
		w.t.Errorf("%d members are counted, want %d", now.Summary.JoinedMembers, joined)
	}
	head, err := w.store.Rooms.Head(ctx, info.NID)
	if err != nil {
		w.t.Fatal(err)
	}
	if !slices.Equal(slices.Sorted(slices.Values(head.Extremities)), slices.Sorted(slices.Values(w.newest))) {
		w.t.Errorf("the newest events are %v, want %v", head.Extremities, w.newest)
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// TestForks has a room whose servers do not wait for each other: whatever they do, and in whatever order this one is told, it
// comes to the state that the specification defines.
func TestForks(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		counts := map[storage.Verdict]int{}
		for seed := range uint64(6) {
			version := []string{"12", "11", "10"}[seed%3]
			t.Run(fmt.Sprint(version, "/", seed), func(t *testing.T) {
				w := newWorld(open(t, url), seed, version)
				for range 150 {
					switch n := w.random.IntN(10); {
					case n < 5:
						w.elsewhere()
					case n < 9 && len(w.pending) > 0:
						w.tell()
					default:
						w.here()
					}
					w.check(w.Service)
				}
				for len(w.pending) > 0 {
					w.tell()
				}
				w.check(w.Service)
				// Who starts anew finds the same.
				w.check(again(w.fixture))
				for _, verdict := range w.told {
					counts[verdict]++
				}
			})
		}
		if counts[storage.Placed] < 300 || counts[storage.SoftFailed] < 5 || counts[storage.Rejected] < 50 {
			t.Errorf("that was no test: %v", counts)
		}
	})
}

// again is another service on the same store, as after a start.
func again(f *fixture) *rooms.Service {
	o := f.Service.Options
	o.Listener = new(recorder)
	o.Store = storage.New(f.store.DB)
	return rooms.New(o)
}

// TestWhatAToldStateForbids has somebody tell a state in which an event is not allowed. When the event comes with what really was
// before it, it is in the room.
func TestWhatAToldStateForbids(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(open(t, url), 1, "11")
		var list []*matrix.Event
		for _, e := range []struct{ typ, key, content string }{
			{"m.room.member", "@bob:one", `{"membership":"join"}`}, {"m.room.topic", "", `{"topic":"hidden"}`}, {"m.room.topic", "", `{"topic":"told"}`},
		} {
			prev := w.newest
			if len(list) > 0 {
				prev = []matrix.EventID{list[len(list)-1].ID}
			}
			made := w.make("@bob:one", e.typ, e.key, e.content, prev)
			w.add(made)
			list = append(list, made)
		}
		var wrong []matrix.EventID // bob is not in it
		for _, e := range w.current() {
			wrong = append(wrong, e.ID)
		}
		take := func(a rooms.Arrival) rooms.Reception {
			t.Helper()
			done, err := w.Receive(t.Context(), w.room, []rooms.Arrival{a})
			if err != nil || len(done[0].Missing) > 0 {
				t.Fatalf("%+v, %v", done, err)
			}
			return done[0]
		}
		take(rooms.Arrival{Event: list[0]})
		after := w.make("@bob:one", "m.room.message", "-", `{"body":"after","msgtype":"m.text"}`, []matrix.EventID{list[2].ID})
		done, err := w.Receive(t.Context(), w.room, []rooms.Arrival{{Event: list[2], State: wrong}, {Event: after}})
		if err != nil || done[0].Verdict != storage.Rejected || len(done[1].Missing) == 0 {
			t.Fatalf("with the wrong state it is received as %+v, %v", done, err)
		}
		for _, e := range list[1:] {
			if done := take(rooms.Arrival{Event: e}); done.Verdict != storage.Placed || done.Known {
				t.Errorf("with what was before it %s is received as %+v", e.ID, done)
			}
		}
	})
}
