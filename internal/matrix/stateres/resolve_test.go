package stateres_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/matrix/stateres"
	"trestle/internal/matrix/stateres/roomgen"
)

// generated calls check for states of many rooms, honest and distorted ones.
func generated(t *testing.T, versions []string, rooms uint64, check func(t *testing.T, room *roomgen.Room, states []stateres.StateMap)) {
	t.Helper()
	for _, id := range versions {
		t.Run("v"+id, func(t *testing.T) {
			v, _ := roomversion.Lookup(id)
			for seed := range rooms {
				room, err := roomgen.New(v, seed, 60, stateres.Resolve)
				if err != nil {
					t.Fatal(err)
				}
				t.Run(fmt.Sprint("honest/", seed), func(t *testing.T) { check(t, room, room.Tips) })
				t.Run(fmt.Sprint("distorted/", seed), func(t *testing.T) { check(t, room, room.Distorted()) })
			}
		})
	}
}

func resolve(t *testing.T, room *roomgen.Room, states []stateres.StateMap) stateres.StateMap {
	t.Helper()
	resolved, err := stateres.Resolve(room.Version, states, room.Auth)
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

func same(t *testing.T, what string, got, want stateres.StateMap) {
	t.Helper()
	for key := range want {
		if got[key] == nil || got[key].ID != want[key].ID {
			t.Errorf("%s: %s %q is %v, want %s", what, key.Type, key.Key, got[key], want[key].ID)
		}
	}
	for key := range got {
		if want[key] == nil {
			t.Errorf("%s: %s %q is %s, want none", what, key.Type, key.Key, got[key].ID)
		}
	}
}

func TestProperties(t *testing.T) {
	generated(t, []string{"10", "12"}, 25, func(t *testing.T, room *roomgen.Room, states []stateres.StateMap) {
		before := make([]stateres.StateMap, len(states))
		for i, state := range states {
			before[i] = maps.Clone(state)
		}
		resolved := resolve(t, room, states)
		for i, state := range states {
			same(t, "the input", state, before[i])
		}
		for range 3 {
			states = append(states[1:len(states):len(states)], states[0])
			same(t, "in another order", resolve(t, room, states), resolved)
		}
		slices.Reverse(states)
		same(t, "backwards", resolve(t, room, states), resolved)
		same(t, "with one state twice", resolve(t, room, append(slices.Clone(states), states[0])), resolved)
		same(t, "the result alone", resolve(t, room, []stateres.StateMap{resolved}), resolved)
		same(t, "the result with itself", resolve(t, room, []stateres.StateMap{resolved, maps.Clone(resolved)}), resolved)
	})
}

// An event's auth events stand in where the state has nothing, unless they
// were rejected.
func TestRejected(t *testing.T) {
	begin := newHistory(t, "12")
	begin.send("name", bob, "m.room.name", "", `{}`) // so that Bob's join is in both auth chains
	left, right := begin.fork(), begin.fork()
	left.topic("topic", bob)
	delete(left.state, stateres.StateKey{Type: "m.room.member", Key: bob})
	delete(right.state, stateres.StateKey{Type: "m.room.member", Key: bob})
	resolver := stateres.Resolver{Version: begin.version, Auth: begin.auth}
	states := []stateres.StateMap{left.state, right.state}
	resolved, err := resolver.Resolve(states)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, resolved, "m.room.topic", "", "topic")

	resolver.Rejected = func(id matrix.EventID) bool { return id == "$bob" }
	if resolved, err = resolver.Resolve(states); err != nil {
		t.Fatal(err)
	}
	expect(t, resolved, "m.room.topic", "", "")
}

func TestMissing(t *testing.T) {
	for _, version := range []string{"11", "12"} {
		begin := newHistory(t, version)
		left, right := begin.fork(), begin.fork()
		left.levels("more", alice, `{"@carol:three.example":10}`)
		left.levels("less", alice, `{}`)
		left.topic("topic", alice)
		delete(begin.events, "$more")
		_, err := stateres.Resolve(begin.version, []stateres.StateMap{left.state, right.state}, begin.auth)
		var missing *stateres.MissingError
		if !errors.As(err, &missing) || missing.ID != "$more" || missing.NeededBy != "$less" {
			t.Errorf("version %s: error %v", version, err)
		}
	}
}

// In version 12 no event names the create event; it is missed all the same.
func TestMissingCreate(t *testing.T) {
	begin := newHistory(t, "12")
	left, right := begin.fork(), begin.fork()
	left.topic("topic", alice)
	create := stateres.StateKey{Type: "m.room.create"}
	delete(left.state, create)
	delete(right.state, create)
	if _, err := stateres.Resolve(begin.version, []stateres.StateMap{left.state, right.state}, begin.auth); err != nil {
		t.Errorf("the create event is among the auth events: %v", err)
	}
	delete(begin.events, "$create")
	_, err := stateres.Resolve(begin.version, []stateres.StateMap{left.state, right.state}, begin.auth)
	var missing *stateres.MissingError
	if !errors.As(err, &missing) || missing.ID != "$create" {
		t.Errorf("error %v", err)
	}
}

// Events can only authorize each other in a circle where their IDs aren't
// hashes, or if storage is broken; it must not hang us in any version.
func TestCycle(t *testing.T) {
	for _, version := range []string{"2", "11", "12"} {
		begin := newHistory(t, version)
		left, right := begin.fork(), begin.fork()
		const content = `{"users":{}}`
		left.put(begin.load("a", alice, "m.room.power_levels", "", content, []matrix.EventID{"$alice", "$b"}))
		begin.load("b", alice, "m.room.power_levels", "", content, []matrix.EventID{"$alice", "$c"})
		begin.load("c", alice, "m.room.power_levels", "", content, []matrix.EventID{"$alice", "$a"})
		_, err := stateres.Resolve(begin.version, []stateres.StateMap{left.state, right.state}, begin.auth)
		if !errors.Is(err, stateres.ErrCycle) {
			t.Errorf("version %s: error %v", version, err)
		}
		right.put(begin.load("self", alice, "m.room.topic", "", `{}`, []matrix.EventID{"$self"}))
		left = begin.fork()
		_, err = stateres.Resolve(begin.version, []stateres.StateMap{left.state, right.state}, begin.auth)
		if !errors.Is(err, stateres.ErrCycle) {
			t.Errorf("version %s: error %v for an event that authorizes itself", version, err)
		}
	}
}

func TestOtherRoom(t *testing.T) {
	begin := newHistory(t, "11")
	left, right := begin.fork(), begin.fork()
	begin.room = "!other:one.example"
	begin.load("foreign", alice, "m.room.power_levels", "", `{}`, nil)
	begin.room = "!room:one.example"
	left.put(begin.load("topic", alice, "m.room.topic", "", `{}`, []matrix.EventID{"$create", "$foreign"}))
	if _, err := stateres.Resolve(begin.version, []stateres.StateMap{left.state, right.state}, begin.auth); err == nil {
		t.Error("an event of another room authorizes one of this")
	}
}

// A hundred forks, and an auth chain that no recursion would survive.
func TestManyForksAndLongChains(t *testing.T) {
	const forks, length = 100, 20_000
	for _, version := range []string{"11", "12"} {
		t.Run("v"+version, func(t *testing.T) {
			begin := newHistory(t, version)
			for i := range length {
				begin.put(begin.build(fmt.Sprint("l", i), alice, "m.room.power_levels", "", `{"users":{"@bob:two.example":50}}`))
			}
			var states []stateres.StateMap
			for i := range forks {
				f := begin.fork()
				f.put(f.build(fmt.Sprintf("t%03d", i), bob, "m.room.topic", "", `{}`))
				if i%7 == 0 {
					f.put(begin.events[matrix.EventID(fmt.Sprint("$l", i))])
				}
				states = append(states, f.state)
			}
			resolved, err := stateres.Resolve(begin.version, states, begin.auth)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, resolved, "m.room.topic", "", fmt.Sprintf("t%03d", forks-1))
		})
	}
}
