package irc

import (
	"encoding/json"
	"math"
	"testing"

	"maunium.net/go/mautrix/event"

	"trestle/internal/matrix"
)

func TestAnswers(t *testing.T) {
	for text, want := range map[string]answer{
		"yes 012345":          {verb: "yes", code: "012345"},
		"  YES  012345 ":      {verb: "yes", code: "012345"},
		"yes 012345 Public":   {verb: "yes", code: "012345", public: true},
		"no 1":                {verb: "no", code: "1"},
		"unlink #a{b":         {verb: "unlink", channel: "#a{b"},
		"yes":                 {},
		"yes please":          {},
		"yes 1 2":             {},
		"no 1 public":         {},
		"unlink":              {},
		"unlink #a #b":        {},
		"I say yes 012345":    {},
		"what is this 012345": {},
	} {
		if got, ok := parseAnswer(text); got != want || ok != (want != answer{}) {
			t.Errorf("%q is %+v, %v", text, got, ok)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("yes 012345 public")
	f.Add("unlink #trestle")
	f.Fuzz(func(t *testing.T, text string) {
		a, ok := parseAnswer(text)
		if ok != (a.verb != "") || len(a.code)+len(a.channel) > maxAnswer || a.public && a.verb != "yes" {
			t.Errorf("%q is %+v, %v", text, a, ok)
		}
	})
}

// state is a room's, of types and contents; the sender made the room.
func stateOf(t *testing.T, contents map[string]string) *lodging {
	t.Helper()
	l := &lodging{joined: map[matrix.UserID]bool{}, creators: map[matrix.UserID]bool{}}
	for kind, content := range contents {
		raw, err := json.Marshal(map[string]any{"type": kind, "sender": "@maker:hs", "state_key": "", "content": json.RawMessage(content)})
		if err != nil {
			t.Fatal(err)
		}
		var e event.Event
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		l.take(&e)
	}
	return l
}

func TestPowerInARoom(t *testing.T) {
	const users = `{"users":{"@mod:hs":50},"users_default":5}`
	old := stateOf(t, map[string]string{"m.room.create": `{"room_version":"11"}`, "m.room.power_levels": users})
	now := stateOf(t, map[string]string{"m.room.create": `{"room_version":"12","additional_creators":["@also:hs"]}`, "m.room.power_levels": users})
	for user, want := range map[matrix.UserID][2]int{
		"@mod:hs": {50, 50}, "@maker:hs": {5, math.MaxInt}, "@also:hs": {5, math.MaxInt}, "@other:hs": {5, 5},
	} {
		if got := [2]int{old.power(user), now.power(user)}; got != want {
			t.Errorf("%s has %v, not %v", user, got, want)
		}
	}
	n := configured(Network{PlumbPower: 40})
	for user, want := range map[matrix.UserID]bool{"@mod:hs": true, "@maker:hs": true, "@other:hs": false} {
		now.joined[user] = true
		if err := now.moderates(user, n); (err == nil) != want {
			t.Errorf("%s: %v", user, err)
		}
	}
	delete(now.joined, "@maker:hs")
	if now.moderates("@maker:hs", n) == nil {
		t.Error("who is not there moderates")
	}
	strict := stateOf(t, map[string]string{"m.room.power_levels": `{"users":{"@mod:hs":50},"state_default":51}`})
	strict.joined["@mod:hs"] = true
	if strict.moderates("@mod:hs", n) == nil {
		t.Error("who may not change the room moderates it")
	}
	for _, broken := range []string{`{}`, `{"users":"no"}`, `{"users":{"@a:hs":"high"}}`, `{"users_default":"50"}`} {
		if l := stateOf(t, map[string]string{"m.room.power_levels": broken}); l.power("@a:hs") != 0 {
			t.Errorf("%s gives power", broken)
		}
	}
}
