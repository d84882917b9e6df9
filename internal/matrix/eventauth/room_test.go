package eventauth_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
)

// The people of the tests. Alice has created the room; Alice (100), Bob (50)
// and Carol (0) are in it, Dave and Erin are not.
const (
	alice = "@alice:one.example"
	bob   = "@bob:two.example"
	carol = "@carol:one.example"
	dave  = "@dave:three.example"
	erin  = "@erin:one.example"
)

// An ev is an event of a table, in short. State events have a key.
type ev struct {
	sender, typ string
	key         *string
	content     string

	prev    []string // event IDs; [previous] unless given
	redacts string
	roomID  string // the room's unless given
}

func message(sender, typ string) ev { return ev{sender: sender, typ: typ, content: `{}`} }

func state(sender, typ, key, content string) ev {
	return ev{sender: sender, typ: typ, key: &key, content: content}
}

func member(sender, target, membership string) ev {
	return state(sender, "m.room.member", target, `{"membership":"`+membership+`"}`)
}

func levels(sender, content string) ev { return state(sender, "m.room.power_levels", "", content) }

func joinRule(rule string) ev {
	return state(alice, "m.room.join_rules", "", `{"join_rule":"`+rule+`"}`)
}

const previous = "$previous:one.example"

// A room is a room's state in the making.
type room struct {
	t       *testing.T
	version *roomversion.Version
	id      matrix.RoomID
	events  int
	state   eventauth.StateMap
}

// newRoom makes the room with the people of the tests.
func newRoom(t *testing.T, version string) *room {
	t.Helper()
	r := newEmptyRoom(t, version, `{"creator":"`+alice+`"}`)
	users := `"` + bob + `":50`
	if !r.version.PrivilegedCreators {
		users += `,"` + alice + `":100`
	}
	r.put(
		member(alice, alice, "join"), member(bob, bob, "join"), member(carol, carol, "join"),
		levels(alice, `{"users":{`+users+`}}`), joinRule("invite"),
	)
	return r
}

// newEmptyRoom makes a room in which nothing is but the create event.
func newEmptyRoom(t *testing.T, version, createContent string) *room {
	t.Helper()
	v, ok := roomversion.Lookup(version)
	if !ok {
		t.Fatalf("no room version %s", version)
	}
	r := &room{t: t, version: v, id: "!room:one.example", state: eventauth.StateMap{}}
	create := state(alice, "m.room.create", "", createContent)
	create.prev = []string{}
	if v.RoomIDFromCreate {
		r.id = ""
	}
	e := r.event(create)
	r.id = e.RoomID
	r.state = eventauth.StateOf(e)
	return r
}

// put makes events part of the state, without asking whether they may.
func (r *room) put(events ...ev) {
	for _, short := range events {
		e := r.event(short)
		r.state[eventauth.StateKey{Type: e.Type, Key: *e.StateKey}] = e
	}
}

func (r *room) create() *matrix.Event { return r.state.Event("m.room.create", "") }

// event is the event in full.
func (r *room) event(short ev) *matrix.Event {
	r.t.Helper()
	r.events++
	id := matrix.EventID(fmt.Sprintf("$event%d", r.events))
	if r.version.EventIDFormat == roomversion.EventIDInEvent {
		id += ":one.example"
	}
	if short.prev == nil {
		short.prev = []string{previous}
	}
	fields := map[string]any{
		"type": short.typ, "sender": short.sender, "content": json.RawMessage(short.content),
		"prev_events": r.references(short.prev), "auth_events": []string{},
		"origin_server_ts": r.events, "depth": r.events, "event_id": id,
	}
	if short.key != nil {
		fields["state_key"] = *short.key
	}
	if short.redacts != "" {
		fields["redacts"] = short.redacts
	}
	if short.roomID == "" {
		short.roomID = string(r.id)
	}
	if short.roomID != "" {
		fields["room_id"] = short.roomID
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := matrix.LoadEvent(r.version, id, raw)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

func (r *room) references(ids []string) any {
	if !r.version.HashedReferences {
		return ids
	}
	pairs := [][]any{}
	for _, id := range ids {
		pairs = append(pairs, []any{id, map[string]string{}})
	}
	return pairs
}

// A rule is a row of a table: what the state is apart from the people of the
// tests, an event, and the reason why it is refused, empty if it is not.
type rule struct {
	name     string
	versions string // "1 2 3"; empty for all
	given    []ev
	event    ev
	refused  string
}

func checkRules(t *testing.T, rules []rule) {
	t.Helper()
	for _, rule := range rules {
		for _, version := range versions(rule.versions) {
			t.Run(rule.name+"/v"+version, func(t *testing.T) {
				r := newRoom(t, version)
				r.put(rule.given...)
				r.check(r.event(rule.event), rule.refused)
			})
		}
	}
}

// check wants the event to be refused for a reason, or allowed if that is empty.
func (r *room) check(e *matrix.Event, refused string) {
	r.t.Helper()
	err := eventauth.Allowed(e, r.state)
	switch {
	case refused == "" && err != nil:
		r.t.Errorf("refused: %v", err)
	case refused != "" && err == nil:
		r.t.Errorf("allowed, but should be refused because %q", refused)
	case err != nil && !strings.Contains(err.Error(), refused):
		r.t.Errorf("refused because %q, should be because %q", err, refused)
	case err != nil && matrix.Code(err) != "M_FORBIDDEN":
		r.t.Errorf("error %v is not M_FORBIDDEN", err)
	}
}

func versions(list string) []string {
	if list != "" {
		return strings.Fields(list)
	}
	var all []string
	for _, v := range roomversion.All() {
		all = append(all, v.ID)
	}
	return all
}

const (
	before3  = "1 2"
	before6  = "1 2 3 4 5"
	before7  = "1 2 3 4 5 6"
	before8  = "1 2 3 4 5 6 7"
	before10 = "1 2 3 4 5 6 7 8 9"
	before11 = "1 2 3 4 5 6 7 8 9 10"
	before12 = "1 2 3 4 5 6 7 8 9 10 11"
	from3    = "3 4 5 6 7 8 9 10 11 12"
	from6    = "6 7 8 9 10 11 12"
	from7    = "7 8 9 10 11 12"
	from8    = "8 9 10 11 12"
	from10   = "10 11 12"
	from11   = "11 12"
	from12   = "12"
)
