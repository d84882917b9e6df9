package bridge

import (
	"encoding/json"
	"testing"

	"trestle/internal/matrix"
)

func TestRightsAreMergedIntoPowerLevels(t *testing.T) {
	type users = map[matrix.UserID]int
	for name, c := range map[string]struct {
		room string
		had  Rights
		want rightsEntry
		next string // empty: nothing changes
	}{
		"new": {
			`{"users":{"@bot:x":100,"@mod:x":50},"ban":60}`, Rights{}, rightsEntry{Rights: Rights{Users: users{"@bob:x": 50}, Topic: 50}},
			`{"ban":60,"events":{"m.room.topic":50},"users":{"@bob:x":50,"@bot:x":100,"@mod:x":50}}`,
		},
		"taken back": {
			`{"users":{"@bot:x":100,"@mod:x":50,"@bob:x":50},"events":{"m.room.topic":0}}`, Rights{Users: users{"@bob:x": 50}}, rightsEntry{},
			`{"events":{"m.room.topic":0},"users":{"@bot:x":100,"@mod:x":50}}`,
		},
		"never the bot's": {
			`{"users":{"@bot:x":50,"@admin:x":100},"events":{"m.room.topic":0}}`, Rights{Users: users{"@admin:x": 50}}, rightsEntry{Rights: Rights{Users: users{"@bob:x": 90, "@bot:x": 1}}},
			`{"events":{"m.room.topic":0},"users":{"@admin:x":100,"@bob:x":49,"@bot:x":50}}`,
		},
		"a creator above all": {
			`{"users":{},"events":{"m.room.topic":0}}`, Rights{}, rightsEntry{Rights: Rights{Users: users{"@bob:x": 99}, Speak: 1}},
			`{"events":{"m.room.topic":0},"events_default":1,"users":{"@bob:x":99}}`,
		},
		"people's own rules stay": {
			`{"users":{"@bot:x":100},"events":{"m.room.topic":30},"events_default":10}`, Rights{Speak: 1, Topic: 50}, rightsEntry{Rights: Rights{Speak: 1, Topic: 50}}, "",
		},
		"except against IRC": {
			`{"users":{"@bot:x":100,"@eve:x":50},"events":{"m.room.topic":30},"events_default":10}`, Rights{Speak: 1, Topic: 50},
			rightsEntry{Rights: Rights{Speak: 1, Topic: 50}, Enforce: true, Revoke: []matrix.UserID{"@eve:x"}},
			`{"events":{"m.room.topic":50},"events_default":1,"users":{"@bot:x":100}}`,
		},
		"broken": {
			`{"users":[],"events":7}`, Rights{}, rightsEntry{Rights: Rights{Users: users{"@bob:x": 50}}},
			`{"events":{"m.room.topic":0},"users":{"@bob:x":50}}`,
		},
	} {
		next, changed := mergeLevels(json.RawMessage(c.room), "@bot:x", c.had, c.want)
		if got := string(encode(next)); changed != (c.next != "") || changed && got != c.next {
			t.Errorf("%s: changed is %v:\n%s, want\n%s", name, changed, got, c.next)
		}
	}
}
