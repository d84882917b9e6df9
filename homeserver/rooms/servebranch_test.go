package rooms_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// What servers are told of a room whose history has branches: the state on the branch of each event, and
// all that comes before some of them, but for what breaks the rules.
func TestBranchesAreTold(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		merged := 0
		for seed := range uint64(4) {
			version := []string{"12", "10"}[seed%2]
			t.Run(fmt.Sprint(version, "/", seed), func(t *testing.T) {
				w := newWorld(open(t, url), seed, version)
				for range 100 {
					switch n := w.random.IntN(10); {
					case n < 5:
						w.elsewhere()
					case n < 9 && len(w.pending) > 0:
						w.tell()
					default:
						w.here()
					}
				}
				for len(w.pending) > 0 {
					w.tell()
				}
				for key, e := range w.current() {
					if key.Type == "m.room.member" && e.Membership() == "join" && matrix.UserID(key.Key).Server() != "test" {
						server := matrix.UserID(key.Key).Server()
						merged += w.states(server)
						w.walk(server)
						return
					}
				}
				t.Error("nobody of another server is left")
			})
		}
		if merged < 5 {
			t.Errorf("that was no test: %d states are those of several branches", merged)
		}
	})
}

// states holds the state before each event to what the world knows.
func (w *world) states(server matrix.ServerName) (merged int) {
	w.t.Helper()
	ctx, peer := w.t.Context(), w.Peer(server)
	for _, id := range slices.Concat(w.order, w.order) { // what is merged is remembered
		e := w.events[id]
		shown, err := peer.Event(ctx, id)
		if w.told[id] == storage.Rejected {
			if _, err2 := peer.State(ctx, w.room, id); matrix.Code(err) != "M_NOT_FOUND" || matrix.Code(err2) != "M_NOT_FOUND" {
				w.t.Errorf("%s breaks the rules: %v, %v", id, err, err2)
			}
			continue
		}
		if err != nil || shown.ID != id {
			w.t.Fatalf("%s is not told: %v", id, err)
		}
		past, err := peer.State(ctx, w.room, id)
		if err != nil {
			w.t.Fatal(err)
		}
		var got, want []matrix.EventID
		if err := past.Events(ctx, told(&got)); err != nil {
			w.t.Fatal(err)
		}
		for _, e := range w.resolve(e.PrevEvents) {
			want = append(want, e.ID)
		}
		if same(w.t, "the state before "+e.Type, got, want); len(e.PrevEvents) > 1 && e.IsState() {
			merged++
		}
	}
	return merged
}

// walk goes back from the newest events page by page.
func (w *world) walk(server matrix.ServerName) {
	w.t.Helper()
	if all, err := w.Peer(server).Backfill(w.t.Context(), w.room, w.newest, rooms.MaxWalk); err != nil || len(all) < rooms.MaxWalk {
		var want []matrix.EventID
		for id := range behind(w, w.newest) {
			if w.told[id] != storage.Rejected {
				want = append(want, id)
			}
		}
		same(w.t, fmt.Sprint("what is told at once, ", err), idsOf(all), want)
	}
	found := map[matrix.EventID]bool{}
	for next := slices.Clone(w.newest); len(next) > 0; {
		page, err := w.Peer(server).Backfill(w.t.Context(), w.room, next, 30)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range page {
			found[e.ID] = true
			next = append(next, e.PrevEvents...)
		}
		for i := 0; i < len(next); i++ { // what breaks the rules is not told, but it is known what it follows
			if w.told[next[i]] == storage.Rejected && !found[next[i]] {
				found[next[i]] = true
				next = append(next, w.events[next[i]].PrevEvents...)
			}
		}
		next = slices.DeleteFunc(next, func(id matrix.EventID) bool { return found[id] })
		if len(page) == 0 && len(next) > 0 {
			w.t.Fatalf("%v are not told", next)
		}
	}
	for id := range behind(w, w.newest) {
		if !found[id] {
			w.t.Errorf("%s, with verdict %d, is not told", id, w.told[id])
		}
	}
}

// behind is some events and all that comes before them.
func behind(w *world, from []matrix.EventID) map[matrix.EventID]bool {
	all := map[matrix.EventID]bool{}
	var add func(ids []matrix.EventID)
	add = func(ids []matrix.EventID) {
		for _, id := range ids {
			if !all[id] {
				all[id] = true
				add(w.events[id].PrevEvents)
			}
		}
	}
	add(from)
	return all
}

// What only authorizes others is told to who asks for it, and has no place in the history.
func TestWhatStandsBesideTheHistory(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newWorld(open(t, url), 1, "12")
		f := w.fixture
		f.arrive(w.room, zoe)
		history := f.history(w.room)
		last := history[len(history)-1]
		template := matrix.EventTemplate{
			RoomID: w.room, Sender: alice, Depth: last.Depth + 1, OriginServerTS: 1, PrevEvents: []matrix.EventID{last.ID},
			Content: json.RawMessage(`{"body":"words"}`),
		}
		for _, e := range history {
			if e.Is("m.room.power_levels", "") || e.Is("m.room.member", string(alice)) {
				template.AuthEvents = append(template.AuthEvents, e.ID)
			}
		}
		var aside []*matrix.Event
		for _, typ := range []string{"m.room.message", "m.room.topic"} {
			if template.Type = typ; typ == "m.room.topic" {
				template.StateKey = new(string)
			}
			e, err := template.Build(w.version, "test", w.key)
			if err != nil {
				t.Fatal(err)
			}
			aside = append(aside, e)
		}
		if left, err := f.SetAside(t.Context(), w.room, aside); len(left) > 0 || err != nil {
			t.Fatal(left, err)
		}
		peer := f.Peer(far)
		for _, e := range aside {
			shown, err := peer.Event(t.Context(), e.ID)
			if err != nil || shown.ID != e.ID || strings.Contains(string(shown.JSON()), "words") != e.IsState() {
				t.Errorf("%s is %s, %v", e.Type, shown.JSON(), err)
			}
			var chain []matrix.EventID
			if err := peer.Chain(t.Context(), w.room, e.ID, told(&chain)); err != nil || len(chain) != 3 {
				t.Errorf("%s is authorized by %v, %v", e.Type, chain, err)
			}
			if _, err := peer.State(t.Context(), w.room, e.ID); matrix.Code(err) != "M_NOT_FOUND" {
				t.Errorf("the state before %s: %v", e.Type, err)
			}
			walked, err := peer.Backfill(t.Context(), w.room, []matrix.EventID{e.ID}, 1)
			if err != nil || len(walked) != 1 || walked[0].ID != last.ID {
				t.Errorf("behind %s there is %v, %v", e.Type, idsOf(walked), err)
			}
		}
	})
}

// A server sees what was said where it was: on a branch without it, it is not there, though it is in the room that all branches make.
func TestServersSeeByBranches(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		w := newWorld(f, 1, "12")
		bob := matrix.UserID("@bob:one")
		f.state(w.room, alice, "m.room.history_visibility", `{"history_visibility":"joined"}`)
		f.arrive(w.room, bob)
		before := f.history(w.room)
		f.arrive(w.room, zoe)
		after := f.history(w.room)
		for without, history := range map[bool][]*storage.Event{true: before, false: after} {
			last := history[len(history)-1]
			template := matrix.EventTemplate{
				RoomID: w.room, Sender: bob, Type: "m.room.message", Content: json.RawMessage(`{"body":"words"}`),
				OriginServerTS: w.clock, Depth: last.Depth + 1, PrevEvents: []matrix.EventID{last.ID},
			}
			for _, e := range history {
				if e.Is("m.room.power_levels", "") || e.Is("m.room.member", string(bob)) {
					template.AuthEvents = append(template.AuthEvents, e.ID)
				}
			}
			said, err := template.Build(w.version, bob.Server(), w.key)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Receive(t.Context(), w.room, []rooms.Arrival{{Event: said}})
			if err != nil || got[0].Verdict != storage.Placed || got[0].Refused != nil || len(got[0].Missing) > 0 {
				t.Fatalf("%+v, %v", got, err)
			}
			shown, err := f.Peer(far).Event(t.Context(), said.ID)
			if err != nil || strings.Contains(string(shown.JSON()), "words") == without {
				t.Errorf("on a branch without the server (%t) there is %s, %v", without, shown.JSON(), err)
			}
		}
	})
}

// An invite that came before this server was in the room is told as it is; what the room was like then is not known here.
func TestInvitesFromOutsideAreTold(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		there, here := open(t, testkit.SQLite(t)), openAs(t, url, "other")
		room := there.create(rooms.CreateRequest{})
		there.do(there.invite, room, alice, yves)
		invite := there.history(room)
		sent := invite[len(invite)-1].Event
		if _, err := here.Peer("test").Invited(t.Context(), rooms.OutsideInvite{Event: sent}); err != nil {
			t.Fatal(err)
		}
		if _, err := here.Peer("test").Event(t.Context(), sent.ID); matrix.Code(err) != "M_NOT_FOUND" {
			t.Errorf("of a room that this server is not in: %v", err)
		}
		if err := joinBetween(t, there, here, room, yves); err != nil {
			t.Fatal(err)
		}
		peer := here.Peer("test")
		if e, err := peer.Event(t.Context(), sent.ID); err != nil || e.ID != sent.ID || !strings.Contains(string(e.Content), "invite") {
			t.Errorf("the invite is %v, %v", e, err)
		}
		if _, err := peer.State(t.Context(), room, sent.ID); matrix.Code(err) != "M_NOT_FOUND" {
			t.Errorf("the state before it: %v", err)
		}
		join := here.history(room)
		walked, err := peer.Backfill(t.Context(), room, []matrix.EventID{join[len(join)-1].ID}, 10)
		if err != nil || len(walked) == 0 || walked[0].ID != join[len(join)-1].ID {
			t.Errorf("before the join there is %v, %v", idsOf(walked), err)
		}
	})
}
