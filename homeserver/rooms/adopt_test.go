package rooms_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/testkit"
)

const yves = matrix.UserID("@yves:other")

// joinBetween has a user of one server join a room of another, as servers do that by requests.
func joinBetween(t *testing.T, there, here *fixture, room matrix.RoomID, user matrix.UserID) error {
	t.Helper()
	ctx := t.Context()
	info, err := there.Info(ctx, room)
	if err != nil {
		t.Fatal(err)
	}
	head, err := there.store.Rooms.Head(ctx, info.NID)
	if err != nil {
		t.Fatal(err)
	}
	now, err := there.Head(ctx, info.NID)
	if err != nil {
		t.Fatal(err)
	}
	key := string(user)
	template := matrix.EventTemplate{
		RoomID: room, Sender: user, Type: "m.room.member", StateKey: &key, Content: json.RawMessage(`{"membership":"join"}`),
		OriginServerTS: 1_700_000_000_000, Depth: head.Depth + 1, PrevEvents: head.Extremities,
	}
	for _, key := range eventauth.NeededFor(info.Version, template) {
		e, err := now.Event(ctx, key.Type, key.Key)
		if err != nil {
			t.Fatal(err)
		}
		if e != nil {
			template.AuthEvents = append(template.AuthEvents, e.ID)
		}
	}
	state, err := now.Events(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	join, err := template.Build(info.Version, user.Server(), here.Key)
	if err != nil {
		t.Fatal(err)
	}
	done, err := there.Receive(ctx, room, []rooms.Arrival{{Event: join}})
	if err != nil || done[0].Verdict != storage.Placed {
		t.Fatalf("the join is received as %+v, %v", done, err)
	}
	a := rooms.Adoption{Room: room, Version: info.Version, Join: join}
	known := map[matrix.EventID]bool{}
	for _, e := range state {
		a.State = append(a.State, e.Event)
		known[e.ID] = true
	}
	for _, e := range there.history(room) {
		if e.IsState() && !known[e.ID] {
			a.Auth = append(a.Auth, e.Event)
		}
	}
	return here.Adopt(ctx, a)
}

// TestAdoption has a server come into a room that another has had for a while.
func TestAdoption(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		there, here := open(t, testkit.SQLite(t)), openAs(t, url, "other")
		room := there.create(rooms.CreateRequest{Preset: "public_chat", Name: "Tea", Version: "11"})
		there.join(room, bob)
		there.send(room, bob, "", "before")
		if err := joinBetween(t, there, here, room, yves); err != nil {
			t.Fatal(err)
		}
		info, err := here.Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		now, err := here.Head(t.Context(), info.NID)
		if err != nil {
			t.Fatal(err)
		}
		if now.Summary.JoinedMembers != 3 || now.Summary.Name != "Tea" || now.Summary.JoinRule != "public" {
			t.Errorf("the room is %+v", now.Summary)
		}
		for _, user := range []matrix.UserID{alice, bob, yves} {
			if m, err := here.store.Members.In(t.Context(), info.NID, user); err != nil || m == nil || m.Membership != "join" {
				t.Errorf("%s is %+v, %v", user, m, err)
			}
		}
		history := here.history(room)
		if len(history) != 1 || history[0].Sender != yves {
			t.Errorf("%d events are in the stream", len(history))
		}
		frontier, err := here.store.Rooms.Frontier(t.Context(), info.NID, 10)
		if err != nil || len(frontier) != 1 || frontier[0] != history[0].PrevEvents[0] {
			t.Errorf("history goes on at %v, %v", frontier, err)
		}
		first, err := here.store.Rooms.FirstRoot(t.Context(), info.NID)
		if err != nil {
			t.Fatal(err)
		}
		before, err := here.At(t.Context(), info.NID, first)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := before.Membership(t.Context(), yves); m != "" || err != nil {
			t.Errorf("yves is %s before he comes, %v", m, err)
		}
		if m, err := before.Membership(t.Context(), bob); m != "join" || err != nil {
			t.Errorf("bob is %s, %v", m, err)
		}
		for _, resident := range []bool{true, false} {
			for _, service := range []*rooms.Service{here.Service, again(here)} {
				if got, err := service.Resident(t.Context(), info); got != resident || err != nil {
					t.Errorf("this server takes part: %v, %v", got, err)
				}
			}
			if resident {
				if err := here.Leave(t.Context(), rooms.MemberRequest{Room: room, Sender: yves}); err != nil {
					t.Fatal(err)
				}
			}
		}
		// Nobody has told this server what happened since, and he comes again.
		there.send(room, alice, "", "unheard")
		leave := here.history(room)[1]
		if _, err := there.Receive(t.Context(), room, []rooms.Arrival{{Event: leave.Event}}); err != nil {
			t.Fatal(err)
		}
		if err := joinBetween(t, there, here, room, yves); err != nil {
			t.Fatal(err)
		}
		converged(t, there, here, room)
	})
}

// TestAdoptionThatDoesNotHold has another server tell what is not so.
func TestAdoptionThatDoesNotHold(t *testing.T) {
	there, here := open(t, testkit.SQLite(t)), openAs(t, testkit.SQLite(t), "other")
	room := there.create(rooms.CreateRequest{Preset: "public_chat", Version: "11"})
	var state []*matrix.Event
	for _, e := range there.history(room) {
		state = append(state, e.Event)
	}
	key := string(yves)
	last := state[len(state)-1]
	join := func(auth ...*matrix.Event) *matrix.Event {
		template := matrix.EventTemplate{
			RoomID: room, Sender: yves, Type: "m.room.member", StateKey: &key, Content: json.RawMessage(`{"membership":"join"}`),
			Depth: last.Depth + 1, PrevEvents: []matrix.EventID{last.ID},
		}
		for _, e := range auth {
			template.AuthEvents = append(template.AuthEvents, e.ID)
		}
		e, err := template.Build(last.Version, "other", here.Key)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	only := func(types ...string) (list []*matrix.Event) {
		for _, e := range state {
			if slices.Contains(types, e.Type) {
				list = append(list, e)
			}
		}
		return list
	}
	needed := only("m.room.create", "m.room.power_levels", "m.room.join_rules")
	for name, a := range map[string]rooms.Adoption{
		"no beginning":       {Join: join(needed...), State: only("m.room.member", "m.room.power_levels", "m.room.join_rules")},
		"no rules":           {Join: join(needed...), State: only("m.room.create", "m.room.member", "m.room.power_levels")},
		"no reason":          {Join: join(), State: state},
		"not allowed by it":  {Join: join(only("m.room.create", "m.room.power_levels")...), State: state},
		"nothing whatsoever": {Join: join(needed...)},
	} {
		a.Room, a.Version = room, last.Version
		if err := here.Adopt(t.Context(), a); matrix.Code(err) != "M_FORBIDDEN" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if joined, err := here.Joined(t.Context(), room, yves); joined || err != nil {
		t.Errorf("yves is in: %v, %v", joined, err)
	}
	if err := here.Adopt(t.Context(), rooms.Adoption{Room: room, Version: last.Version, Join: join(needed...), State: state}); err != nil {
		t.Error(err)
	}
}

// converged waits for nothing: both have been told everything.
func converged(t *testing.T, a, b *fixture, room matrix.RoomID) {
	t.Helper()
	states := make([]map[storage.StateKey]matrix.EventID, 2)
	for i, f := range []*fixture{a, b} {
		info, err := f.Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		now, err := f.Head(t.Context(), info.NID)
		if err != nil {
			t.Fatal(err)
		}
		events, err := now.Events(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		states[i] = map[storage.StateKey]matrix.EventID{}
		for _, e := range events {
			states[i][storage.StateKey{Type: e.Type, Key: *e.StateKey}] = e.ID
		}
	}
	if len(states[0]) != len(states[1]) {
		t.Errorf("one state has %d events, the other %d", len(states[0]), len(states[1]))
	}
	for key, id := range states[0] {
		if states[1][key] != id {
			t.Errorf("%s %q: %s and %s", key.Type, key.Key, id, states[1][key])
		}
	}
}

// TestTwoServers lets people of two servers talk and change things at once; each tells the other when it gets to it. In the end they
// are of one mind.
func TestTwoServers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				names := []matrix.ServerName{matrix.ServerName(fmt.Sprintf("test%d", seed)), matrix.ServerName(fmt.Sprintf("other%d", seed))}
				servers := []*fixture{openAs(t, testkit.SQLite(t), names[0]), openAs(t, url, names[1])}
				people := []matrix.UserID{matrix.NewUserID("alice", names[0]), matrix.NewUserID("yves", names[1])}
				room := servers[0].create(rooms.CreateRequest{
					Creator: people[0], Preset: "public_chat", Version: []string{"12", "11", "10"}[seed],
					PowerLevels: map[string]json.RawMessage{"state_default": json.RawMessage("0"), "events": json.RawMessage("{}")},
				})
				if err := joinBetween(t, servers[0], servers[1], room, people[1]); err != nil {
					t.Fatal(err)
				}
				told := []int{len(servers[0].history(room)), len(servers[1].history(room))} // of the events of each
				tell := func(from int) {
					history := servers[from].history(room)
					for ; told[from] < len(history); told[from]++ {
						e := history[told[from]]
						if e.Sender.Server() != names[from] {
							continue
						}
						done, err := servers[1-from].Receive(t.Context(), room, []rooms.Arrival{{Event: e.Event}})
						if err != nil || len(done[0].Missing) > 0 || done[0].Verdict == storage.Rejected {
							t.Fatalf("%s of %s is received as %+v, %v", e.ID, names[from], done, err)
						}
						if random.IntN(3) == 0 {
							told[from]++
							return
						}
					}
				}
				for i := range 120 {
					by := random.IntN(2)
					switch random.IntN(4) {
					case 0:
						tell(by)
					case 1:
						servers[by].send(room, people[by], "", fmt.Sprint(i))
					default:
						key := fmt.Sprint(random.IntN(4))
						_, err := servers[by].Send(t.Context(), rooms.SendRequest{
							Room: room, Sender: people[by], Type: "m.thing", StateKey: &key, Content: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i)),
						})
						if err != nil {
							t.Fatal(err)
						}
					}
				}
				for told[0] < len(servers[0].history(room)) || told[1] < len(servers[1].history(room)) {
					tell(0)
					tell(1)
				}
				converged(t, servers[0], servers[1], room)
				if a, b := len(servers[0].history(room)), len(servers[1].history(room)); a < b {
					t.Errorf("one has %d events, the other, which came later, %d", a, b)
				}
			})
		}
	})
}
