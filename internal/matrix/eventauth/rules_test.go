package eventauth_test

import (
	"testing"

	"trestle/internal/matrix/eventauth"
)

func TestCreate(t *testing.T) {
	tests := []struct {
		name     string
		versions string
		roomID   string
		prev     []string
		content  string
		refused  string
	}{
		{"an ordinary one", before12, "!room:one.example", nil, `{"creator":"@alice:one.example"}`, ""},
		{"an ordinary one", from12, "", nil, `{}`, ""},
		{"not the first event", before12, "!room:one.example", []string{previous}, `{"creator":"@alice:one.example"}`, "must be the first"},
		{"not the first event", from12, "", []string{previous}, `{}`, "must be the first"},
		{"a room ID of another server", before12, "!room:two.example", nil, `{"creator":"@alice:one.example"}`, "must belong to the server"},
		{"a room ID that is not its hash", from12, "!room:one.example", nil, `{}`, "may not have a room_id"},
		{"no creator in the content", before11, "!room:one.example", nil, `{}`, "does not name the creator"},
		{"no creator in the content", "11", "!room:one.example", nil, `{}`, ""},
		{"a known room version", before12, "!room:one.example", nil, `{"creator":"@alice:one.example","room_version":"5"}`, ""},
		{"an unknown room version", before12, "!room:one.example", nil, `{"creator":"@alice:one.example","room_version":"org.example.7"}`, "is not known"},
		{"an unknown room version", from12, "", nil, `{"room_version":12}`, "is not known"},
		{"additional creators", from12, "", nil, `{"additional_creators":["@bob:two.example"]}`, ""},
		{"no additional creators", from12, "", nil, `{"additional_creators":[]}`, ""},
		{"additional creators that are no list", from12, "", nil, `{"additional_creators":"@bob:two.example"}`, "must be a list of user IDs"},
		{"additional creators that are null", from12, "", nil, `{"additional_creators":null}`, "must be a list of user IDs"},
		{"an additional creator that is no user", from12, "", nil, `{"additional_creators":["@bob:two.example","bob"]}`, "must be a list of user IDs"},
		{"an additional creator that is a number", from12, "", nil, `{"additional_creators":[1]}`, "must be a list of user IDs"},
		{"additional creators mean nothing", "11", "!room:one.example", nil, `{"additional_creators":1}`, ""},
	}
	for _, test := range tests {
		for _, version := range versions(test.versions) {
			t.Run(test.name+"/v"+version, func(t *testing.T) {
				r := newRoom(t, version)
				r.id = ""
				create := state(alice, "m.room.create", "", test.content)
				create.roomID, create.prev = test.roomID, append([]string{}, test.prev...)
				r.check(r.event(create), test.refused)
			})
		}
	}
}

func TestEveryEvent(t *testing.T) {
	checkRules(t, []rule{
		{name: "a member writes", event: message(carol, "m.room.message")},
		{name: "a stranger writes", event: message(dave, "m.room.message"), refused: "is not in this room"},
		{name: "someone invited writes", given: []ev{member(bob, dave, "invite")}, event: message(dave, "m.room.message"), refused: "is not in this room"},
		{name: "someone banned writes", given: []ev{member(bob, carol, "ban")}, event: message(carol, "m.room.message"), refused: "is not in this room"},
		{name: "state needs the state default", event: state(carol, "m.room.topic", "", `{}`), refused: "has power level 0, but needs 50"},
		{name: "a moderator sets state", event: state(bob, "m.room.topic", "", `{}`)},
		{name: "a type with a level of its own", given: []ev{levels(alice, `{"events":{"m.room.message":10}}`)},
			event: message(carol, "m.room.message"), refused: "needs 10"},
		{name: "state of a type that is open to all", given: []ev{levels(alice, `{"events":{"m.room.topic":0}}`)},
			event: state(carol, "m.room.topic", "", `{}`)},
		{name: "the events default", given: []ev{levels(alice, `{"events_default":1}`)},
			event: message(carol, "m.room.message"), refused: "needs 1"},
		{name: "the users default", given: []ev{levels(alice, `{"users_default":50}`)}, event: state(carol, "m.room.topic", "", `{}`)},
		{name: "one's own state", given: []ev{levels(alice, `{"state_default":0}`)},
			event: state(carol, "org.example.own", carol, `{}`)},
		{name: "the state of another user", event: state(bob, "org.example.own", carol, `{}`), refused: "may not set"},
		{name: "a message type with a user's state key is no exception", given: []ev{levels(alice, `{"state_default":0}`)},
			event: state(carol, "m.room.message", bob, `{}`), refused: "may not set"},
		{name: "a third-party invite needs the invite level only", given: []ev{levels(alice, `{"state_default":90,"invite":0}`)},
			event: state(carol, "m.room.third_party_invite", "token", `{}`)},
		{name: "a third-party invite needs the invite level", given: []ev{levels(alice, `{"invite":10}`)},
			event: state(carol, "m.room.third_party_invite", "token", `{}`), refused: "needs 10 to invite"},
		{name: "aliases of one's own server", versions: before6, event: state(dave, "m.room.aliases", "three.example", `{}`)},
		{name: "aliases of another server", versions: before6, event: state(alice, "m.room.aliases", "three.example", `{}`), refused: "only its own aliases"},
		{name: "aliases without a state key", versions: before6, event: message(alice, "m.room.aliases"), refused: "only its own aliases"},
		{name: "aliases are like any state", versions: from6, event: state(dave, "m.room.aliases", "three.example", `{}`), refused: "is not in this room"},
		{name: "aliases are like any state", versions: from6, event: state(bob, "m.room.aliases", "three.example", `{}`)},
	})
}

func TestRedactions(t *testing.T) {
	redaction := func(sender, target string) ev {
		return ev{sender: sender, typ: "m.room.redaction", content: `{}`, redacts: target}
	}
	checkRules(t, []rule{
		{name: "an event of the same server", versions: before3, event: redaction(carol, "$x:one.example")},
		{name: "an event of another server", versions: before3, event: redaction(carol, "$x:two.example"), refused: "to redact"},
		{name: "an event without a server", versions: before3, event: redaction(carol, "$x"), refused: "to redact"},
		{name: "no event", versions: before3, event: redaction(carol, ""), refused: "to redact"},
		{name: "by a moderator", versions: before3, event: redaction(bob, "$x:three.example")},
		{name: "whether it counts is not asked here", versions: from3, event: redaction(carol, "$x:two.example")},
	})
}

func TestRoom(t *testing.T) {
	for _, version := range versions("") {
		t.Run("v"+version, func(t *testing.T) {
			r := newEmptyRoom(t, version, `{"creator":"@alice:one.example","m.federate":false}`)
			r.put(member(alice, alice, "join"), member(carol, carol, "join"), member(bob, bob, "join"), joinRule("public"))
			r.check(r.event(message(carol, "m.room.message")), "")
			r.check(r.event(message(bob, "m.room.message")), "open only to users of one.example")
			r.check(r.event(member(dave, dave, "join")), "open only to users of one.example")
			r.check(r.event(member(alice, dave, "invite")), "")

			elsewhere := message(carol, "m.room.message")
			elsewhere.roomID = "!other:one.example"
			r.check(r.event(elsewhere), "the state is that of")

			nothing := newEmptyRoom(t, version, `{}`)
			event := nothing.event(member(alice, alice, "join"))
			nothing.state = eventauth.StateMap{}
			nothing.check(event, "has no m.room.create event")
		})
	}
}

// Until there are power levels, the creator has 100 and state needs 50.
func TestRoomWithoutPowerLevels(t *testing.T) {
	for _, version := range versions("") {
		t.Run("v"+version, func(t *testing.T) {
			r := newEmptyRoom(t, version, `{"creator":"@alice:one.example","additional_creators":["@bob:two.example"]}`)
			r.put(member(alice, alice, "join"), member(carol, carol, "join"), member(bob, bob, "join"))
			r.check(r.event(state(alice, "m.room.name", "", `{}`)), "")
			r.check(r.event(state(carol, "m.room.name", "", `{}`)), "needs 50")
			r.check(r.event(message(carol, "m.room.message")), "")
			r.check(r.event(member(carol, dave, "invite")), "")
			if r.version.PrivilegedCreators {
				r.check(r.event(state(bob, "m.room.name", "", `{}`)), "")
				r.check(r.event(levels(bob, `{"users":{"@carol:one.example":9000}}`)), "")
				return
			}
			r.check(r.event(state(bob, "m.room.name", "", `{}`)), "needs 50")
			r.check(r.event(levels(alice, `{"users":{"@carol:one.example":9000}}`)), "")
		})
	}
}
