package stateres_test

import (
	"encoding/json"
	"strings"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/matrix/stateres"
)

// The people of the stories. Alice has created the room, and is in it with
// Bob and Carol.
const (
	alice = "@alice:one.example"
	bob   = "@bob:two.example"
	carol = "@carol:three.example"
	dave  = "@dave:three.example"
)

// A history is a room whose events the test tells one by one.
type history struct {
	t       *testing.T
	version *roomversion.Version
	room    matrix.RoomID
	events  map[matrix.EventID]*matrix.Event
	clock   int64 // of the next event, in milliseconds
}

// A fork is a state of the room, which events of that fork go on from.
type fork struct {
	*history
	state stateres.StateMap
}

// newHistory begins a room: public, Bob has power 50, Carol none.
func newHistory(t *testing.T, version string) *fork {
	t.Helper()
	v, ok := roomversion.Lookup(version)
	if !ok {
		t.Fatalf("no room version %s", version)
	}
	h := &history{t: t, version: v, room: "!room:one.example", events: map[matrix.EventID]*matrix.Event{}, clock: 1}
	f := &fork{h, stateres.StateMap{}}
	h.room = f.send("create", alice, "m.room.create", "", `{"creator":"@alice:one.example"}`).RoomID
	f.send("alice", alice, "m.room.member", alice, `{"membership":"join"}`)
	f.levels("levels", alice, `{"@bob:two.example":50}`)
	f.send("public", alice, "m.room.join_rules", "", `{"join_rule":"public"}`)
	f.send("bob", bob, "m.room.member", bob, `{"membership":"join"}`)
	f.send("carol", carol, "m.room.member", carol, `{"membership":"join"}`)
	return f
}

func (f *fork) fork() *fork {
	state := stateres.StateMap{}
	for key, e := range f.state {
		state[key] = e
	}
	return &fork{f.history, state}
}

// send adds a state event that the state of the fork allows.
func (f *fork) send(id, sender, typ, stateKey, content string) *matrix.Event {
	f.t.Helper()
	e := f.build(id, sender, typ, stateKey, content)
	if err := eventauth.Allowed(e, f.state); err != nil {
		f.t.Fatalf("send %s: %v", id, err)
	}
	f.put(e)
	return e
}

// put makes an event part of the state, whether or not it is allowed.
func (f *fork) put(e *matrix.Event) {
	f.state[stateres.StateKey{Type: e.Type, Key: *e.StateKey}] = e
}

func (f *fork) build(id, sender, typ, stateKey, content string) *matrix.Event {
	f.t.Helper()
	template := matrix.EventTemplate{Sender: matrix.UserID(sender), Type: typ, StateKey: &stateKey, Content: json.RawMessage(content)}
	auth := []matrix.EventID{}
	for _, need := range eventauth.NeededFor(f.version, template) {
		if e := f.state[need]; e != nil {
			auth = append(auth, e.ID)
		}
	}
	return f.load(id, sender, typ, stateKey, content, auth)
}

// load makes an event with auth_events of the test's choice.
func (h *history) load(id, sender, typ, stateKey, content string, auth []matrix.EventID) *matrix.Event {
	h.t.Helper()
	prev := []matrix.EventID{"$create"}
	if typ == "m.room.create" {
		prev = nil
	}
	fields := map[string]any{
		"type": typ, "sender": sender, "state_key": stateKey, "content": json.RawMessage(content), "event_id": "$" + id,
		"prev_events": h.references(prev), "auth_events": h.references(auth), "origin_server_ts": h.clock, "depth": h.clock,
	}
	if typ != "m.room.create" || !h.version.RoomIDFromCreate {
		fields["room_id"] = h.room
	}
	h.clock++
	raw, err := json.Marshal(fields)
	if err != nil {
		h.t.Fatal(err)
	}
	e, err := matrix.LoadEvent(h.version, matrix.EventID("$"+id), raw)
	if err != nil {
		h.t.Fatal(err)
	}
	h.events[e.ID] = e
	return e
}

// references are how events refer to others: in the first two versions with
// their hashes.
func (h *history) references(ids []matrix.EventID) []any {
	list := []any{}
	for _, id := range ids {
		if h.version.HashedReferences {
			list = append(list, []any{id, map[string]string{}})
		} else {
			list = append(list, id)
		}
	}
	return list
}

// levels gives users power, Alice always 100.
func (f *fork) levels(id, sender, users string) *matrix.Event {
	f.t.Helper()
	if !f.version.PrivilegedCreators {
		users = strings.Replace(`{"@alice:one.example":100,`+users[1:], ",}", "}", 1)
	}
	return f.send(id, sender, "m.room.power_levels", "", `{"users":`+users+`}`)
}

func (f *fork) topic(id, sender string) *matrix.Event {
	f.t.Helper()
	return f.send(id, sender, "m.room.topic", "", `{"topic":"`+id+`"}`)
}

func (f *fork) member(id, sender, target, membership string) *matrix.Event {
	f.t.Helper()
	return f.send(id, sender, "m.room.member", target, `{"membership":"`+membership+`"}`)
}

func (h *history) auth(id matrix.EventID) *matrix.Event { return h.events[id] }

// merge resolves the states of forks.
func merge(forks ...*fork) stateres.StateMap {
	f := forks[0]
	f.t.Helper()
	var states []stateres.StateMap
	for _, f := range forks {
		states = append(states, f.state)
	}
	resolved, err := stateres.Resolve(f.version, states, f.auth)
	if err != nil {
		f.t.Fatal(err)
	}
	return resolved
}

// expect wants an entry of the state to be the event of that name; an empty
// name is none.
func expect(t *testing.T, state stateres.StateMap, typ, stateKey, id string) {
	t.Helper()
	got := "none"
	if e := state.Event(typ, stateKey); e != nil {
		got = string(e.ID[1:])
	}
	if id == "" {
		id = "none"
	}
	if got != id {
		t.Errorf("%s %q is %s, want %s", typ, stateKey, got, id)
	}
}
