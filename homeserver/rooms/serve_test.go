package rooms_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

const (
	far = matrix.ServerName("far.example")
	zoe = matrix.UserID("@zoe:far.example")
	yan = matrix.UserID("@yan:far.example")
)

// arrive takes somebody of another server into a room, as if that server had sent the event.
func (f *fixture) arrive(room matrix.RoomID, user matrix.UserID) { f.t.Helper(); f.join(room, user) }

func (f *fixture) depart(room matrix.RoomID, user matrix.UserID) {
	f.t.Helper()
	f.do(f.leave, room, user, "")
}

func idsOf(events []*matrix.Event) (ids []matrix.EventID) {
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return ids
}

// told collects what is told in parts.
func told(into *[]matrix.EventID) func([]*matrix.Event) error {
	return func(part []*matrix.Event) error {
		for _, e := range part {
			*into = append(*into, e.ID)
		}
		return nil
	}
}

// questions are what a server may ask about a room.
var questions = map[string]func(*fixture, rooms.Peer, matrix.RoomID, matrix.EventID) error{
	"state": func(f *fixture, p rooms.Peer, room matrix.RoomID, event matrix.EventID) error {
		_, err := p.State(f.t.Context(), room, event)
		return err
	},
	"event_auth": func(f *fixture, p rooms.Peer, room matrix.RoomID, event matrix.EventID) error {
		return p.Chain(f.t.Context(), room, event, func([]*matrix.Event) error { return nil })
	},
	"backfill": func(f *fixture, p rooms.Peer, room matrix.RoomID, event matrix.EventID) error {
		_, err := p.Backfill(f.t.Context(), room, []matrix.EventID{event}, 10)
		return err
	},
	"missing": func(f *fixture, p rooms.Peer, room matrix.RoomID, event matrix.EventID) error {
		_, err := p.Missing(f.t.Context(), room, rooms.Gap{Latest: []matrix.EventID{event}, Limit: 10})
		return err
	},
	"nearest": func(f *fixture, p rooms.Peer, room matrix.RoomID, event matrix.EventID) error {
		_, err := p.Nearest(f.t.Context(), room, 0, false)
		return err
	},
}

func TestOnlyServersInARoomAreAnswered(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room, other := f.create(rooms.CreateRequest{Preset: "public_chat"}), f.create(rooms.CreateRequest{Preset: "public_chat"})
		said, elsewhere := f.send(room, alice, "1", "hello"), f.send(other, alice, "1", "secret")
		peer := f.Peer(far)
		ask := func(when, code, ofEvent string) {
			t.Helper()
			for name, ask := range questions {
				if err := ask(f, peer, room, said); matrix.Code(err) != code {
					t.Errorf("%s, %s: %v, want %q", when, name, err, code)
				}
			}
			if _, err := peer.Event(t.Context(), said); matrix.Code(err) != ofEvent {
				t.Errorf("%s, event: %v, want %q", when, err, ofEvent)
			}
		}
		ask("before anybody is there", "M_FORBIDDEN", "M_NOT_FOUND")
		for name, ask := range questions {
			here, nowhere := ask(f, peer, room, said), ask(f, peer, "!none:test", said)
			if here == nil || nowhere == nil || here.Error() != nowhere.Error() {
				t.Errorf("%s: rooms that exist answer %v, others %v", name, here, nowhere)
			}
		}
		f.do(f.invite, room, alice, zoe)
		ask("invited", "M_FORBIDDEN", "M_NOT_FOUND")
		f.arrive(room, zoe)
		ask("joined", "", "")
		for name, ask := range questions {
			err := ask(f, peer, room, elsewhere)
			if (name == "state" || name == "event_auth") && matrix.Code(err) != "M_NOT_FOUND" {
				t.Errorf("%s at an event of another room: %v", name, err)
			}
		}
		for _, from := range []matrix.EventID{elsewhere, "$none"} {
			backfilled, err1 := peer.Backfill(t.Context(), room, []matrix.EventID{from}, 10)
			missing, err2 := peer.Missing(t.Context(), room, rooms.Gap{Latest: []matrix.EventID{from}, Limit: 10})
			if len(backfilled) != 0 || len(missing) != 0 || err1 != nil || err2 != nil {
				t.Errorf("behind %s there are %v, %v, %v, %v", from, idsOf(backfilled), idsOf(missing), err1, err2)
			}
		}
		f.arrive(room, yan)
		f.depart(room, zoe)
		ask("one has left", "", "")
		f.state(room, alice, "m.room.server_acl", `{"allow":["*"],"deny":["far.*"]}`)
		ask("shut out", "M_FORBIDDEN", "M_FORBIDDEN")
		f.state(room, alice, "m.room.server_acl", `{"allow":["*"]}`)
		ask("let in again", "", "")
		f.do(f.ban, room, alice, yan)
		ask("all have gone", "M_FORBIDDEN", "M_NOT_FOUND")
		f.do(f.unban, room, alice, yan)
		f.arrive(room, yan)
		ask("back", "", "")

		// A room that is on its way out is as good as gone.
		info, err := f.Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		f.store.Rooms.Hide(info)
		ask("hidden", "M_FORBIDDEN", "M_NOT_FOUND")

		// Nobody of another server is in a room that is not for them, whatever is in its state.
		own := f.create(rooms.CreateRequest{CreationContent: map[string]json.RawMessage{"m.federate": json.RawMessage("false")}})
		for name, ask := range questions {
			if err := ask(f, peer, own, said); matrix.Code(err) != "M_FORBIDDEN" {
				t.Errorf("%s in a room that is not federated: %v", name, err)
			}
		}
	})
}

// The state before each event is what the events before it have made of it, and its
// chain is what they and it refer to.
func TestStateAndAuthChains(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		for _, version := range []string{"1", "6", "12"} {
			room := f.create(rooms.CreateRequest{Preset: "public_chat", Version: version})
			f.do(f.invite, room, alice, bob)
			f.join(room, bob)
			f.arrive(room, zoe)
			f.state(room, alice, "m.room.topic", `{"topic":"one"}`)
			f.depart(room, zoe)
			f.state(room, alice, "m.room.join_rules", `{"join_rule":"public","x":1}`)
			f.arrive(room, zoe)
			f.send(room, bob, "1", "hello")
			f.state(room, alice, "m.room.topic", `{"topic":"two"}`)
			byID := map[matrix.EventID]*storage.Event{}
			state := map[storage.StateKey]matrix.EventID{}
			for _, e := range f.history(room) {
				byID[e.ID] = e
				past, err := f.Peer(far).State(t.Context(), room, e.ID)
				if err != nil {
					t.Fatal(err)
				}
				var events, chain, own []matrix.EventID
				if err := past.Events(t.Context(), told(&events)); err != nil {
					t.Fatal(err)
				}
				if err := past.Chain(t.Context(), told(&chain)); err != nil {
					t.Fatal(err)
				}
				if err := f.Peer(far).Chain(t.Context(), room, e.ID, told(&own)); err != nil {
					t.Fatal(err)
				}
				same(t, "the state before "+e.Type, events, slices.Collect(maps.Values(state)))
				same(t, "what authorizes the state before "+e.Type, chain, closure(byID, events))
				same(t, "what authorizes "+e.Type, own, closure(byID, []matrix.EventID{e.ID}))
				if e.IsState() {
					state[storage.StateKey{Type: e.Type, Key: *e.StateKey}] = e.ID
				}
			}
		}
	})
}

// closure is what events refer to as authorizing them, and so on.
func closure(byID map[matrix.EventID]*storage.Event, from []matrix.EventID) []matrix.EventID {
	all := map[matrix.EventID]bool{}
	var add func(id matrix.EventID)
	add = func(id matrix.EventID) {
		e := byID[id]
		authorized := slices.Clone(e.AuthEvents)
		if e.Version.RoomIDFromCreate && e.Type != "m.room.create" {
			authorized = append(authorized, e.RoomID.CreateEventID())
		}
		for _, auth := range authorized {
			if !all[auth] {
				all[auth] = true
				add(auth)
			}
		}
	}
	for _, id := range from {
		add(id)
	}
	return slices.Collect(maps.Keys(all))
}

func same(t testing.TB, what string, got, want []matrix.EventID) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d events %v, want %d %v", what, len(got), got, len(want), want)
	}
}

// Servers that were not there get what is left by a redaction, and state whole.
func TestWhatServersSeeOfHistory(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		erased := map[matrix.UserID]bool{}
		f.Erased = func(user matrix.UserID) bool { return erased[user] }
		for visibility, want := range map[string]string{"world_readable": "yyyy", "shared": "yyyy", "invited": "nyyn", "joined": "nnyn"} {
			content, _ := json.Marshal(map[string]string{"history_visibility": visibility})
			room := f.create(rooms.CreateRequest{Preset: "public_chat", InitialState: []rooms.InitialState{{Type: "m.room.history_visibility", Content: content}}})
			var said []matrix.EventID
			say := func() { said = append(said, f.send(room, alice, fmt.Sprint(len(said)), "words")) }
			f.state(room, alice, "m.room.topic", `{"topic":"words"}`)
			say()
			f.do(f.invite, room, alice, zoe)
			say()
			f.arrive(room, zoe)
			f.arrive(room, yan)
			f.depart(room, zoe)
			say()
			f.depart(room, yan)
			say()
			f.arrive(room, yan)
			f.join(room, bob)
			last := f.send(room, bob, "1", "words of bob")
			peer := f.Peer(far)
			backfilled, err := peer.Backfill(t.Context(), room, []matrix.EventID{last}, 100)
			if err != nil {
				t.Fatal(err)
			}
			missing, err := peer.Missing(t.Context(), room, rooms.Gap{Latest: []matrix.EventID{last}, Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			if history := f.history(room); len(backfilled) != len(history) || len(missing) != len(history)-1 {
				t.Errorf("%s: %d and %d of %d events", visibility, len(backfilled), len(missing), len(history))
			}
			for i, id := range said {
				e, err := peer.Event(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				shown := []*matrix.Event{e}
				for _, list := range [][]*matrix.Event{backfilled, missing} {
					shown = append(shown, list[slices.Index(idsOf(list), id)])
				}
				for how, e := range shown {
					if whole := strings.Contains(string(e.JSON()), "words"); e.ID != id || whole != (want[i] == 'y') {
						t.Errorf("%s: message %d, %d: %s", visibility, i, how, e.JSON())
					}
				}
			}
			for _, e := range backfilled {
				if e.Type == "m.room.topic" && !strings.Contains(string(e.Content), "words") {
					t.Errorf("%s: the topic is %s", visibility, e.Content)
				}
			}
			erased[bob] = true
			if e, err := peer.Event(t.Context(), last); err != nil || strings.Contains(string(e.JSON()), "words") {
				t.Errorf("what somebody has said who wants to be forgotten: %s, %v", e.JSON(), err)
			}
			erased[bob] = false
		}
	})
}

// What was imported is nobody else's business, wherever it stands.
func TestImportedEventsStayHere(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.arrive(room, zoe)
		said := f.send(room, alice, "1", "hello")
		var imported []matrix.EventID
		for _, forward := range []bool{false, true} {
			done, err := f.Import(t.Context(), rooms.ImportRequest{
				Room: room, By: alice, Forward: forward, Notify: forward, Ghost: func(matrix.UserID) bool { return false },
				Events: []rooms.ImportedEvent{{Sender: alice, Type: "m.room.message", Content: json.RawMessage(`{"body":"old"}`), Timestamp: 1000 + int64(len(imported))}},
			})
			if err != nil {
				t.Fatal(err)
			}
			imported = append(imported, done.IDs...)
		}
		last := f.send(room, alice, "2", "hello again")
		peer := f.Peer(far)
		for _, id := range imported {
			if _, err := peer.Event(t.Context(), id); matrix.Code(err) != "M_NOT_FOUND" {
				t.Errorf("%s: %v", id, err)
			}
			if _, err := peer.State(t.Context(), room, id); matrix.Code(err) != "M_NOT_FOUND" {
				t.Errorf("the state at %s: %v", id, err)
			}
			if events, err := peer.Missing(t.Context(), room, rooms.Gap{Latest: []matrix.EventID{id}, Limit: 10}); len(events) != 0 || err != nil {
				t.Errorf("behind %s: %v, %v", id, idsOf(events), err)
			}
		}
		events, err := peer.Backfill(t.Context(), room, append(imported, last), 3)
		if err != nil || len(events) != 3 || events[0].ID != last || events[1].ID != said {
			t.Errorf("%v, %v", idsOf(events), err)
		}
		first := f.history(room)[1] // behind what was imported
		for _, backward := range []bool{false, true} {
			e, err := peer.Nearest(t.Context(), room, 1500, backward)
			switch {
			case backward && matrix.Code(err) != "M_NOT_FOUND":
				t.Errorf("before: %v, %v", e, err)
			case !backward && (err != nil || e.ID != first.ID):
				t.Errorf("after: %v, %v", e, err)
			}
		}
	})
}

// Who is in a room is counted from what has changed since the last time.
func TestServersInARoom(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		info, err := f.Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		check := func(f *fixture) {
			t.Helper()
			want := map[matrix.ServerName]int{}
			now, err := f.Head(t.Context(), info.NID)
			if err != nil {
				t.Fatal(err)
			}
			members, err := now.Events(t.Context(), func(key storage.StateKey) bool { return key.Type == "m.room.member" })
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range members {
				if e.Membership() == "join" {
					want[matrix.UserID(*e.StateKey).Server()]++
				}
			}
			for n := range 4 {
				server := matrix.ServerName(fmt.Sprint("s", n))
				_, err := f.Peer(server).Backfill(t.Context(), room, nil, 1)
				if allowed := err == nil; allowed != (want[server] > 0) {
					t.Errorf("%s is answered with %v where there are %v", server, err, want)
				}
			}
		}
		r := rand.New(rand.NewPCG(1, 2))
		in := map[matrix.UserID]bool{}
		for range 60 {
			user := matrix.NewUserID(fmt.Sprint("u", r.IntN(4)), matrix.ServerName(fmt.Sprint("s", r.IntN(4))))
			if in[user] {
				f.depart(room, user)
			} else {
				f.arrive(room, user)
			}
			in[user] = !in[user]
			if r.IntN(3) == 0 {
				check(f)
			}
		}
		check(f)
		check(open(t, url))
	})
}
