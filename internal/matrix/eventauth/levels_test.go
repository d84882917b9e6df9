package eventauth_test

import (
	"testing"

	"trestle/internal/matrix/eventauth"
)

// The power levels before each of the changes.
const levelsBefore = `{
	"ban": 50, "invite": 0, "kick": 60,
	"events": {"m.room.topic": 40, "m.room.name": 70},
	"notifications": {"room": 30, "org.example.all": 70},
	"users": {"@bob:two.example": 50, "@carol:one.example": 50, "@dave:three.example": 70, "@erin:one.example": 10}
}`

// Bob has 50.
func TestChangedPowerLevels(t *testing.T) {
	const (
		events = `"events":{"m.room.topic":40,"m.room.name":70}`
		users  = `"users":{"@bob:two.example":50,"@carol:one.example":50,"@dave:three.example":70,"@erin:one.example":10}`
		notify = `"notifications":{"room":30,"org.example.all":70}`
		rest   = events + `,` + users + `,` + notify
		named  = `"ban":50,"invite":0,"kick":60`
	)
	tests := []struct {
		name, versions, content, refused string
	}{
		{"nothing changes", "", `{` + named + `,` + rest + `}`, ""},
		{"a level is lowered", "", `{"ban":40,"invite":0,"kick":60,` + rest + `}`, ""},
		{"a level is raised to one's own", "", `{"ban":50,"invite":50,"kick":60,` + rest + `}`, ""},
		{"a level is raised above one's own", "", `{"ban":51,"invite":0,"kick":60,` + rest + `}`, "can't set that for ban to 51"},
		{"a higher level is lowered", "", `{"ban":50,"invite":0,"kick":0,` + rest + `}`, "can't change that for kick, which is 60"},
		{"a level is removed", "", `{"invite":0,"kick":60,` + rest + `}`, ""},
		{"a higher level is removed", "", `{"ban":50,"invite":0,` + rest + `}`, "can't change that for kick"},
		{"a level is added", "", `{` + named + `,"redact":50,` + rest + `}`, ""},
		{"a level is added above one's own", "", `{` + named + `,"redact":51,` + rest + `}`, "can't set that for redact"},
		{"the users default is raised above one's own", "", `{` + named + `,"users_default":51,` + rest + `}`, "can't set that for users_default"},
		{"the events default is raised above one's own", "", `{` + named + `,"events_default":51,` + rest + `}`, "can't set that for events_default"},
		{"the state default is raised above one's own", "", `{` + named + `,"state_default":51,` + rest + `}`, "can't set that for state_default"},

		{"an event's level is changed", "", `{` + named + `,"events":{"m.room.topic":0,"m.room.name":70},` + users + `,` + notify + `}`, ""},
		{"an event's level is raised above one's own", "", `{` + named + `,"events":{"m.room.topic":51,"m.room.name":70},` + users + `,` + notify + `}`, "can't set that for events m.room.topic"},
		{"an event's higher level is lowered", "", `{` + named + `,"events":{"m.room.topic":40,"m.room.name":0},` + users + `,` + notify + `}`, "can't change that for events m.room.name"},
		{"an event's higher level is removed", "", `{` + named + `,"events":{"m.room.topic":40},` + users + `,` + notify + `}`, "can't change that for events m.room.name"},
		{"all events are removed", "", `{` + named + `,` + users + `,` + notify + `}`, "can't change that for events"},
		{"an event's level is added", "", `{` + named + `,"events":{"m.room.topic":40,"m.room.name":70,"x":50},` + users + `,` + notify + `}`, ""},
		{"an event's level is added above one's own", "", `{` + named + `,"events":{"m.room.topic":40,"m.room.name":70,"x":51},` + users + `,` + notify + `}`, "can't set that for events x"},

		{"a notification's level is raised above one's own", from6, `{` + named + `,` + events + `,` + users + `,"notifications":{"room":51,"org.example.all":70}}`, "can't set that for notifications room"},
		{"a notification's higher level is removed", from6, `{` + named + `,` + events + `,` + users + `,"notifications":{"room":30}}`, "can't change that for notifications"},
		{"a notification's level is changed", from6, `{` + named + `,` + events + `,` + users + `,"notifications":{"room":50,"org.example.all":70}}`, ""},
		{"notifications are not guarded", before6, `{` + named + `,` + events + `,` + users + `,"notifications":{"room":100}}`, ""},

		{"a user is promoted", "", `{` + named + `,` + events + `,` + notify + `,"users":{"@bob:two.example":50,"@carol:one.example":50,"@dave:three.example":70,"@erin:one.example":50}}`, ""},
		{"a user is promoted above oneself", "", `{` + named + `,` + events + `,` + notify + `,"users":{"@bob:two.example":50,"@carol:one.example":50,"@dave:three.example":70,"@erin:one.example":51}}`, "can't give @erin:one.example 51"},
		{"a new user is promoted above oneself", "", `{` + named + `,` + events + `,` + notify + `,"users":{"@new:x":51,"@bob:two.example":50,"@carol:one.example":50,"@dave:three.example":70,"@erin:one.example":10}}`, "can't give @new:x 51"},
		{"an equal is demoted", "", `{` + named + `,` + events + `,` + notify + `,"users":{"@bob:two.example":50,"@carol:one.example":0,"@dave:three.example":70,"@erin:one.example":10}}`, "can't change that of @carol"},
		{"an equal is removed", "", `{` + named + `,` + events + `,` + notify + `,"users":{"@bob:two.example":50,"@dave:three.example":70,"@erin:one.example":10}}`, "can't change that of @carol"},
		{"a superior is demoted", "", `{` + named + `,` + events + `,` + notify + `,"users":{"@bob:two.example":50,"@carol:one.example":50,"@dave:three.example":0,"@erin:one.example":10}}`, "can't change that of @dave"},
		{"somebody below is removed", "", `{` + named + `,` + events + `,` + notify + `,"users":{"@bob:two.example":50,"@carol:one.example":50,"@dave:three.example":70}}`, ""},
		{"oneself is demoted", "", `{` + named + `,` + events + `,` + notify + `,"users":{"@bob:two.example":1,"@carol:one.example":50,"@dave:three.example":70,"@erin:one.example":10}}`, ""},
		{"oneself is removed", "", `{` + named + `,` + events + `,` + notify + `,"users":{"@carol:one.example":50,"@dave:three.example":70,"@erin:one.example":10}}`, ""},
		{"oneself is promoted", "", `{` + named + `,` + events + `,` + notify + `,"users":{"@bob:two.example":51,"@carol:one.example":50,"@dave:three.example":70,"@erin:one.example":10}}`, "can't give @bob:two.example 51"},
	}
	for _, test := range tests {
		for _, version := range versions(test.versions) {
			t.Run(test.name+"/v"+version, func(t *testing.T) {
				r := newRoom(t, version)
				r.put(levels(alice, levelsBefore))
				r.check(r.event(levels(bob, test.content)), test.refused)
			})
		}
	}
}

func TestPowerLevelsThatAreNone(t *testing.T) {
	tests := []struct {
		name, versions, content, refused string
	}{
		{"empty", "", `{}`, ""},
		{"no users", "", `{"users":{}}`, ""},
		{"users that are a list", "", `{"users":[]}`, "The users of"},
		{"users that are null", "", `{"users":null}`, "The users of"},
		{"a user who is none", "", `{"users":{"dave":0}}`, "which is not a user ID"},
		{"a user without a server", "", `{"users":{"@dave":0}}`, "which is not a user ID"},
		{"a user's level that is true", "", `{"users":{"@dave:three.example":true}}`, "The users of"},
		{"a user's level that is null", "", `{"users":{"@dave:three.example":null}}`, "The users of"},
		{"a user's level that is text", "", `{"users":{"@dave:three.example":"much"}}`, "The users of"},
		{"a level that is a list", "", `{"ban":[1]}`, "The ban of"},
		{"events that are a number", "", `{"events":1}`, "The events of"},
		{"strings", before10, `{"ban":" +050 ","events":{"x":"-7"},"users":{"@alice:one.example":"100"}}`, ""},
		{"a string of two signs", before10, `{"ban":"+-5"}`, "The ban of"},
		{"an empty string", before10, `{"ban":""}`, "The ban of"},
		{"a string of a float", before10, `{"ban":"5.0"}`, "The ban of"},
		{"null is nothing", before10, `{"ban":null}`, ""},
		{"a level that is null", from10, `{"ban":null}`, "The ban of"},
		{"a level that is a string", from10, `{"ban":"50"}`, "The ban of"},
		{"an event's level that is a string", from10, `{"events":{"x":"50"}}`, "The events of"},
		{"a notification's level that is a string", from10, `{"notifications":{"room":"50"}}`, "The notifications of"},
		{"a notification's level that is true", from6, `{"notifications":{"room":true}}`, "The notifications of"},
		{"notifications are not looked at", before6, `{"notifications":{"room":true}}`, ""},
		{"a user's level that is a string", from10, `{"users":{"@dave:three.example":"5"}}`, "The users of"},
		{"floats", before6, `{"ban":50.9,"kick":5e1}`, ""},
		{"floats above any", before6, `{"ban":1e400}`, "The ban of"},
		{"floats", from6, `{"ban":50.9}`, "The ban of"},
		{"a creator", from12, `{"users":{"@alice:one.example":100}}`, "is a creator"},
	}
	for _, test := range tests {
		for _, version := range versions(test.versions) {
			t.Run(test.name+"/v"+version, func(t *testing.T) {
				r := newEmptyRoom(t, version, `{"creator":"@alice:one.example"}`)
				r.put(member(alice, alice, "join"))
				r.check(r.event(levels(alice, test.content)), test.refused)
			})
		}
	}
}

func TestAdditionalCreatorsInPowerLevels(t *testing.T) {
	r := newEmptyRoom(t, "12", `{"additional_creators":["@bob:two.example"]}`)
	r.put(member(alice, alice, "join"))
	r.check(r.event(levels(alice, `{"users":{"@bob:two.example":1}}`)), "is a creator")
	r.check(r.event(levels(alice, `{"users":{"@carol:one.example":1}}`)), "")
}

func TestPowerLevels(t *testing.T) {
	for _, version := range versions("") {
		t.Run("v"+version, func(t *testing.T) {
			r := newRoom(t, version)
			p := eventauth.PowerLevelsOf(r.create(), nil)
			creator := int64(100)
			if r.version.PrivilegedCreators {
				creator = eventauth.CreatorLevel
			}
			expect(t, "creator without levels", p.User(alice), creator)
			expect(t, "anyone without levels", p.User(bob), 0)
			expect(t, "state default", p.Event("x", true), 50)
			expect(t, "events default", p.Event("x", false), 0)
			expect(t, "invite", p.Invite(), 0)
			expect(t, "kick", p.Kick(), 50)
			expect(t, "ban", p.Ban(), 50)
			expect(t, "redact", p.Redact(), 50)
			expect(t, "notification", p.Notification("room"), 50)

			r.put(levels(alice, `{"users":{"@bob:two.example":7},"users_default":1,"events":{"x":2},"events_default":3,
				"state_default":4,"invite":5,"kick":6,"ban":8,"redact":9,"notifications":{"room":10}}`))
			p = eventauth.PowerLevelsOf(r.create(), r.state.Event("m.room.power_levels", ""))
			if !r.version.PrivilegedCreators {
				creator = 1
			}
			expect(t, "creator", p.User(alice), creator)
			expect(t, "user", p.User(bob), 7)
			expect(t, "users default", p.User(carol), 1)
			expect(t, "event", p.Event("x", true), 2)
			expect(t, "events default", p.Event("y", false), 3)
			expect(t, "state default", p.Event("y", true), 4)
			expect(t, "invite", p.Invite(), 5)
			expect(t, "kick", p.Kick(), 6)
			expect(t, "ban", p.Ban(), 8)
			expect(t, "redact", p.Redact(), 9)
			expect(t, "notification", p.Notification("room"), 10)
			expect(t, "other notification", p.Notification("x"), 50)
		})
	}
}

// Old rooms hold power levels in all sorts of spellings.
func TestPowerLevelSpellings(t *testing.T) {
	tests := []struct {
		version, raw string
		want         int64
	}{
		{"1", `"000100"`, 100}, {"1", `" -5 "`, -5}, {"1", `50.57`, 50}, {"1", `-50.57`, -50}, {"1", `5.114698E4`, 51146},
		{"1", `1e300`, eventauth.CreatorLevel - 1}, {"1", `-1e300`, 1 - eventauth.CreatorLevel},
		{"1", `"99999999999999999999"`, eventauth.CreatorLevel - 1}, {"1", `99999999999999999999`, eventauth.CreatorLevel - 1},
		{"9", `"7"`, 7}, {"9", `"x"`, 50}, {"6", `1.5`, 50}, {"10", `"7"`, 50}, {"12", `9007199254740991`, 1<<53 - 1},
	}
	for _, test := range tests {
		r := newRoom(t, test.version)
		r.put(levels(alice, `{"ban":`+test.raw+`}`))
		p := eventauth.PowerLevelsOf(r.create(), r.state.Event("m.room.power_levels", ""))
		expect(t, "v"+test.version+" "+test.raw, p.Ban(), test.want)
	}
}

func expect(t *testing.T, what string, got, want int64) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %d, want %d", what, got, want)
	}
}
