package rooms_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/stateres"
	"trestle/internal/testkit"
)

// A latecomer is a server that comes into the room of a world when much has happened there.
type latecomer struct {
	*fixture
	w    *world
	join *matrix.Event
	info *storage.RoomInfo
}

const late = matrix.UserID("@zoe:late")

// late has a server come in after all that has happened, nil if nobody is left who lets it in.
func (w *world) late(f *fixture) *latecomer {
	w.t.Helper()
	attempt := func(sender matrix.UserID, typ, key, content string) *matrix.Event {
		e := w.make(sender, typ, key, content, w.newest)
		w.add(e)
		if w.rejected[e.ID] {
			w.order = w.order[:len(w.order)-1]
			return nil
		}
		w.newest = []matrix.EventID{e.ID}
		return e
	}
	for _, host := range []matrix.UserID{late, alice, "@bob:one", "@carl:two", "@dora:one"} {
		if host != late && attempt(host, "m.room.join_rules", "", `{"join_rule":"public"}`) == nil {
			continue
		}
		if join := attempt(late, "m.room.member", string(late), `{"membership":"join"}`); join != nil {
			l := &latecomer{fixture: f, w: w, join: join}
			l.adopt()
			return l
		}
	}
	return nil
}

// catchUp has the world's newest events be all that nobody comes after.
func (w *world) catchUp() {
	behind := map[matrix.EventID]bool{}
	for _, id := range w.order {
		for _, prev := range w.events[id].PrevEvents {
			behind[prev] = true
		}
	}
	w.newest, w.pending = nil, nil
	for _, id := range w.order {
		if !behind[id] {
			w.newest = append(w.newest, id)
		}
	}
}

// make is an event after some others.
func (w *world) make(sender matrix.UserID, typ, stateKey, content string, prev []matrix.EventID) *matrix.Event {
	w.t.Helper()
	w.clock++
	template := matrix.EventTemplate{
		RoomID: w.room, Sender: sender, Type: typ, Content: json.RawMessage(content), OriginServerTS: w.clock,
		PrevEvents: prev[max(0, len(prev)-matrix.MaxPrevEvents):],
	}
	if stateKey != "-" {
		template.StateKey = &stateKey
	}
	before := w.resolve(template.PrevEvents)
	for _, id := range template.PrevEvents {
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
	return e
}

func (w *world) chain(state stateres.StateMap) []*matrix.Event {
	all := map[matrix.EventID]*matrix.Event{}
	var walk func(id matrix.EventID)
	walk = func(id matrix.EventID) {
		if all[id] == nil {
			all[id] = w.events[id]
			for _, auth := range w.events[id].AuthEvents {
				walk(auth)
			}
		}
	}
	for _, e := range state {
		walk(e.ID)
	}
	return slices.Collect(maps.Values(all))
}

func (l *latecomer) adopt() {
	l.t.Helper()
	before := l.w.resolve(l.join.PrevEvents)
	err := l.Adopt(l.t.Context(), rooms.Adoption{
		Room: l.w.room, Version: l.w.version, Join: l.join, State: slices.Collect(maps.Values(before)), Auth: l.w.chain(before),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	if l.info, err = l.Info(l.t.Context(), l.w.room); err != nil {
		l.t.Fatal(err)
	}
}

func (l *latecomer) frontier() []matrix.EventID {
	l.t.Helper()
	ids, err := l.store.Rooms.Frontier(l.t.Context(), l.info.NID, 1000)
	if err != nil {
		l.t.Fatal(err)
	}
	open, err := l.Incomplete(l.t.Context(), l.info)
	if err != nil {
		l.t.Fatal(err)
	}
	if open != (len(ids) > 0) {
		l.t.Fatalf("the history goes on elsewhere: %t, from %v", open, ids)
	}
	return ids
}

func (l *latecomer) known(ids []matrix.EventID) map[matrix.EventID]*storage.Event {
	l.t.Helper()
	known, err := l.store.Events.Known(l.t.Context(), ids)
	if err != nil {
		l.t.Fatal(err)
	}
	return known
}

// page is what a server answers that is asked for what came before: the deepest events of it.
func (w *world) page(from []matrix.EventID, limit int) []matrix.EventID {
	seen := map[matrix.EventID]bool{}
	var page []matrix.EventID
	ready := slices.Clone(from)
	for len(ready) > 0 && len(page) < limit {
		i := 0
		for k := range ready {
			if w.events[ready[k]].Depth > w.events[ready[i]].Depth {
				i = k
			}
		}
		id := ready[i]
		ready = slices.Delete(ready, i, i+1)
		if !seen[id] {
			seen[id] = true
			page = append(page, id)
			ready = append(ready, w.events[id].PrevEvents...)
		}
	}
	return page
}

// backfill takes in a page, with the state before those of it before which something is missing.
func (l *latecomer) backfill(page []matrix.EventID) *rooms.Past {
	l.t.Helper()
	ctx := l.t.Context()
	var arrivals []rooms.Arrival
	for _, id := range page {
		a := rooms.Arrival{Event: l.w.events[id]}
		known := l.known(a.Event.PrevEvents)
		missing := slices.ContainsFunc(a.Event.PrevEvents, func(prev matrix.EventID) bool {
			e := known[prev]
			return !slices.Contains(page, prev) && (e == nil || e.Verdict == storage.Outlier)
		})
		if missing {
			state := l.w.resolve(a.Event.PrevEvents)
			if left, err := l.SetAside(ctx, l.w.room, l.w.chain(state)); err != nil || len(left) > 0 {
				l.t.Fatalf("%v is left, %v", left, err)
			}
			for _, e := range state {
				a.State = append(a.State, e.ID)
			}
		}
		arrivals = append(arrivals, a)
	}
	past, err := l.Backfill(ctx, l.w.room, arrivals)
	if err != nil {
		l.t.Fatal(err)
	}
	return past
}

// check holds every event that is known to what it is to those who were there.
func (l *latecomer) check(ordered bool) map[storage.Verdict]int {
	l.t.Helper()
	ctx := l.t.Context()
	counts := map[storage.Verdict]int{}
	known := l.known(l.w.order)
	for _, id := range l.w.order {
		e := known[id]
		if e == nil {
			l.t.Fatalf("%s is not known", id)
		}
		counts[e.Verdict]++
		if l.w.rejected[id] != (e.Verdict == storage.Rejected) || e.Verdict == storage.Outlier {
			l.t.Errorf("%s (%s of %s) has verdict %d", id, e.Type, e.Sender, e.Verdict)
			continue
		}
		state, err := l.At(ctx, l.info.NID, e.After())
		if err != nil {
			l.t.Fatal(err)
		}
		got, err := state.Events(ctx, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		want := l.w.after[id]
		if len(got) != len(want) {
			l.t.Errorf("there are %d events in the state after %s, not %d", len(got), id, len(want))
		}
		for _, s := range got {
			if other := want.Event(s.Type, *s.StateKey); other == nil || other.ID != s.ID {
				l.t.Errorf("after %s the %s %q is %s", id, s.Type, *s.StateKey, s.ID)
			}
		}
		l.checkPlace(e, known, ordered)
	}
	if l.t.Failed() {
		l.t.FailNow()
	}
	return counts
}

func (l *latecomer) checkPlace(e *storage.Event, known map[matrix.EventID]*storage.Event, ordered bool) {
	l.t.Helper()
	if e.Verdict != storage.Placed {
		return
	}
	if e.Backfilled() == (e.ID == l.join.ID) {
		l.t.Errorf("%s stands at %d", e.ID, e.Ordering)
	}
	for _, id := range e.PrevEvents {
		if before := known[id]; ordered && before.Verdict == storage.Placed && before.Ordering >= e.Ordering {
			l.t.Errorf("%s at %d comes after %s at %d", e.ID, e.Ordering, id, before.Ordering)
		}
	}
	if e.IsState() && e.ID != l.join.ID {
		replaced := l.w.resolve(e.PrevEvents).Event(e.Type, *e.StateKey)
		want := int64(0)
		if replaced != nil {
			want = known[replaced.ID].NID
		}
		if e.ReplacesNID != want {
			l.t.Errorf("%s replaces number %d, want %d", e.ID, e.ReplacesNID, want)
		}
	}
}

// TestBackfill has a server come late into a room where others did not wait for each other: page by page it learns what had
// happened, and thinks of it as those do who were there.
func TestBackfill(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		counts := map[storage.Verdict]int{}
		for seed := range uint64(6) {
			version := []string{"12", "11", "10"}[seed%3]
			honest := seed%2 == 0
			t.Run(fmt.Sprint(version, "/", seed), func(t *testing.T) {
				var w *world
				var l *latecomer
				for l == nil {
					w = newWorld(open(t, testkit.SQLite(t)), seed, version)
					for range 120 {
						w.elsewhere()
					}
					w.catchUp()
					l = w.late(openAs(t, url, "late"))
					seed += 100
				}
				head, err := l.Head(t.Context(), l.info.NID)
				if err != nil {
					t.Fatal(err)
				}
				members, err := l.store.Members.OfRoom(t.Context(), l.info.NID)
				if err != nil {
					t.Fatal(err)
				}
				for round := 0; len(l.frontier()) > 0; round++ {
					if round > 2000 {
						t.Fatal("it does not come to an end")
					}
					page := w.page(l.frontier(), 1+w.random.IntN(12))
					if !honest {
						// What is missing in an answer is asked for again, and what nobody has asked for is left out.
						page = append(page, w.order[w.random.IntN(len(w.order))])
						page = slices.DeleteFunc(page, func(matrix.EventID) bool { return w.random.IntN(6) == 0 })
						w.random.Shuffle(len(page), func(i, k int) { page[i], page[k] = page[k], page[i] })
					}
					past := l.backfill(page)
					if honest && (len(past.Left) > 0 || past.Placed+past.Refused == 0) {
						t.Fatalf("a page comes to %+v", past)
					}
				}
				for verdict, n := range l.check(honest) {
					counts[verdict] += n
				}
				l.unmoved(head, members)
				// Who starts anew finds the same, and nothing is new a second time.
				l.Service = again(l.fixture)
				if past := l.backfill(w.order[:50]); past.Placed+past.Refused+len(past.Left) > 0 {
					t.Errorf("the second time it is %+v", past)
				}
				l.check(honest)
			})
		}
		if counts[storage.Placed] < 300 || counts[storage.Rejected] < 30 {
			t.Errorf("that was no test: %v", counts)
		}
	})
}

// unmoved holds the room to how it was: the past is no news.
func (l *latecomer) unmoved(head *rooms.Snapshot, members []storage.Member) {
	l.t.Helper()
	now, err := l.Head(l.t.Context(), l.info.NID)
	if err != nil {
		l.t.Fatal(err)
	}
	if now.Root() != head.Root() || now.Position != head.Position || now.Summary != head.Summary {
		l.t.Errorf("the room is %+v now, and was %+v", now, head)
	}
	stored, err := l.store.Rooms.Head(l.t.Context(), l.info.NID)
	if err != nil || !slices.Equal(stored.Extremities, []matrix.EventID{l.join.ID}) {
		l.t.Errorf("the newest events are %v, %v", stored.Extremities, err)
	}
	if found, err := l.store.Members.OfRoom(l.t.Context(), l.info.NID); err != nil || !slices.Equal(found, members) {
		l.t.Errorf("the members are %v, and were %v, %v", found, members, err)
	}
	for _, c := range l.heard.changes {
		if c.Event.ID != l.join.ID && (!c.Event.Backfilled() || c.Target != "" || len(c.Moves) > 0) {
			l.t.Errorf("it is told that %s is new", c.Event.ID)
		}
	}
}

// straight is a world in which one event comes after the other.
func straight(t *testing.T, version string) *world {
	return newWorld(open(t, testkit.SQLite(t)), 1, version)
}

// say adds an event after the newest of the world.
func (w *world) say(sender matrix.UserID, typ, stateKey, content string) *matrix.Event {
	w.t.Helper()
	e := w.make(sender, typ, stateKey, content, w.newest)
	w.add(e)
	if w.rejected[e.ID] {
		w.t.Fatalf("%s %s is rejected", typ, content)
	}
	w.newest = []matrix.EventID{e.ID}
	return e
}

func TestRedactionsInThePast(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		for _, size := range []int{1, 2, 100} {
			for _, version := range []string{"10", "12"} {
				w := straight(t, version)
				w.say("@bob:one", "m.room.member", "@bob:one", `{"membership":"join"}`)
				w.say("@dora:one", "m.room.member", "@dora:one", `{"membership":"join"}`)
				w.say("@emil:two", "m.room.member", "@emil:two", `{"membership":"join"}`)
				topic := w.say("@bob:one", "m.room.topic", "", `{"topic":"bad"}`)
				said := w.say("@emil:two", "m.room.message", "-", `{"body":"bad","msgtype":"m.text"}`)
				kept := w.say("@bob:one", "m.room.message", "-", `{"body":"good","msgtype":"m.text"}`)
				redact := func(by matrix.UserID, target matrix.EventID) {
					e := w.make(by, "m.room.redaction", "-", fmt.Sprintf(`{"redacts":%q}`, target), w.newest)
					if version == "10" {
						template := matrix.EventTemplate{
							RoomID: w.room, Sender: by, Type: e.Type, Content: json.RawMessage(`{}`), Redacts: target, OriginServerTS: w.clock,
							PrevEvents: e.PrevEvents, AuthEvents: e.AuthEvents, Depth: e.Depth,
						}
						var err error
						if e, err = template.Build(w.version, by.Server(), w.key); err != nil {
							t.Fatal(err)
						}
					}
					w.add(e)
					w.newest = []matrix.EventID{e.ID}
				}
				redact("@emil:two", kept.ID) // has not the power
				redact("@bob:one", said.ID)
				redact("@bob:one", topic.ID) // which is a part of the state that the server is told
				w.say("@dora:one", "m.room.message", "-", `{"body":"also","msgtype":"m.text"}`)
				l := w.late(openAs(t, url, "late"))
				for len(l.frontier()) > 0 {
					l.backfill(w.page(l.frontier(), size))
				}
				l.check(true)
				for id, want := range map[matrix.EventID]bool{said.ID: true, topic.ID: true, kept.ID: false} {
					e := l.known([]matrix.EventID{id})[id]
					if redacted := e.RedactedBy != 0 && len(e.Content) <= 2; redacted != want {
						t.Errorf("by pages of %d, version %s: %s is %s, redacted by %d, want %t", size, version, e.Type, e.Content, e.RedactedBy, want)
					}
					cached, err := l.store.Events.ByNID(t.Context(), e.NID)
					if err != nil || cached.Ordering >= 0 || cached.Ordering != e.Ordering {
						t.Errorf("%s stands at %d, %v", id, cached.Ordering, err)
					}
				}
				head, err := l.Head(t.Context(), l.info.NID)
				if err != nil || head.Summary.Topic != "" {
					t.Errorf("the topic is %q, %v", head.Summary.Topic, err)
				}
				events, err := l.store.Events.Backward(t.Context(), l.info.NID, math.MaxInt64, math.MinInt64, 1000)
				if err != nil || len(events) != len(w.order) {
					t.Errorf("%d events are there, %v, want %d", len(events), err, len(w.order))
				}
			}
		}
	})
}

// TestARedactionThatComesWithItsTarget holds what is kept in memory of the target to what is stored.
func TestARedactionThatComesWithItsTarget(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(open(t, url), 1, "11")
		w.say("@bob:one", "m.room.member", "@bob:one", `{"membership":"join"}`)
		said := w.say("@bob:one", "m.room.message", "-", `{"body":"bad","msgtype":"m.text"}`)
		w.say("@bob:one", "m.room.redaction", "-", fmt.Sprintf(`{"redacts":%q}`, said.ID))
		var arrivals []rooms.Arrival
		for _, id := range w.order[len(w.order)-3:] {
			arrivals = append(arrivals, rooms.Arrival{Event: w.events[id]})
		}
		if _, err := w.Receive(t.Context(), w.room, arrivals); err != nil {
			t.Fatal(err)
		}
		for _, store := range []*storage.Store{w.store, storage.New(w.store.DB)} {
			e, err := store.Events.ByID(t.Context(), said.ID)
			if err != nil || e.RedactedBy == 0 || e.Ordering <= 0 || e.Position != e.Ordering {
				t.Errorf("it is at %d and %d, redacted by %d, %v", e.Position, e.Ordering, e.RedactedBy, err)
			}
		}
	})
}

// TestWhatCameByAnotherWay has events of the past arrive as if they were new, with the state before them: the history goes on before them.
func TestWhatCameByAnotherWay(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := straight(t, "11")
		w.say("@bob:one", "m.room.member", "@bob:one", `{"membership":"join"}`)
		for i := range 6 {
			w.say("@bob:one", "m.room.message", "-", fmt.Sprintf(`{"body":"%d","msgtype":"m.text"}`, i))
		}
		l := w.late(openAs(t, url, "late"))
		for n := range 2 { // the last of them, and then the one before
			e := w.events[w.order[len(w.order)-2-n]]
			a := rooms.Arrival{Event: e}
			for _, s := range w.resolve(e.PrevEvents) {
				a.State = append(a.State, s.ID)
			}
			done, err := l.Receive(t.Context(), w.room, []rooms.Arrival{a})
			if err != nil || len(done[0].Missing) > 0 || done[0].Verdict != storage.Placed {
				t.Fatalf("%+v, %v", done, err)
			}
		}
		frontier := l.frontier()
		past := l.backfill(nil)
		if now := l.frontier(); past.Placed != 0 || len(now) != 1 || now[0] == frontier[0] || now[0] != w.order[len(w.order)-4] {
			t.Fatalf("%+v, the history goes on from %v, and did so from %v", past, now, frontier)
		}
		for len(l.frontier()) > 0 {
			l.backfill(w.page(l.frontier(), 4))
		}
		if known := l.known(w.order); len(known) != len(w.order) {
			t.Errorf("%d of %d events are known", len(known), len(w.order))
		}
	})
}

// TestComingBack has a server come back into a room: what was said meanwhile is its past then, down to where it left.
func TestComingBack(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := straight(t, "11")
		w.say("@bob:one", "m.room.member", "@bob:one", `{"membership":"join"}`)
		l := w.late(openAs(t, url, "late"))
		for len(l.frontier()) > 0 {
			l.backfill(w.page(l.frontier(), 100))
		}
		left := w.say(late, "m.room.member", string(late), `{"membership":"leave"}`)
		if _, err := l.Receive(t.Context(), w.room, []rooms.Arrival{{Event: left}}); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			w.say("@bob:one", "m.room.topic", "", fmt.Sprintf(`{"topic":"%d"}`, i))
		}
		l.join = w.say(late, "m.room.member", string(late), `{"membership":"join"}`)
		l.adopt()
		if now := l.frontier(); len(now) != 1 || now[0] != l.join.PrevEvents[0] {
			t.Fatalf("the history goes on from %v", now)
		}
		if past := l.backfill(w.page(l.frontier(), 100)); past.Placed != 3 || len(l.frontier()) > 0 {
			t.Errorf("%+v is between, and the history goes on from %v", past, l.frontier())
		}
		for id, e := range l.known(w.order) {
			if state, err := l.At(t.Context(), l.info.NID, e.After()); err != nil || e.Verdict != storage.Placed {
				t.Errorf("%s: %+v, %v", id, e, err)
			} else if events, err := state.Events(t.Context(), nil); err != nil || len(events) != len(w.after[id]) {
				t.Errorf("after %s there are %d events, %v, want %d", id, len(events), err, len(w.after[id]))
			}
		}
	})
}

// TestWhoseLeavingIsToldLate has somebody of this server be thrown out of a room while nobody of it was there: what was said after that is
// nothing for them, though it is told when the past is.
func TestWhoseLeavingIsToldLate(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := straight(t, "11")
		w.say("@bob:one", "m.room.member", "@bob:one", `{"membership":"join"}`)
		w.say(carol, "m.room.member", string(carol), `{"membership":"join"}`)
		with := w.say("@bob:one", "m.room.message", "-", `{"body":"with","msgtype":"m.text"}`)
		w.say("@bob:one", "m.room.member", string(carol), `{"membership":"leave"}`)
		without := w.say("@bob:one", "m.room.message", "-", `{"body":"without","msgtype":"m.text"}`)
		l := w.late(open(t, url))
		for len(l.frontier()) > 0 {
			l.backfill(w.page(l.frontier(), 2))
		}
		access, err := l.Access(t.Context(), w.room, carol)
		if err != nil {
			t.Fatal(err)
		}
		sight, err := l.Sight(t.Context(), l.info, carol)
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range map[matrix.EventID]bool{with.ID: true, without.ID: false, l.join.ID: false} {
			e := l.known([]matrix.EventID{id})[id]
			visible, _, err := sight.Of(t.Context(), e)
			if err != nil || visible != want || e.Ordering <= access.UpTo != want {
				t.Errorf("%s at %d is seen: %t, %v, want %t; access is up to %d", id, e.Ordering, visible, err, want, access.UpTo)
			}
		}
	})
}
