package matrix_test

import (
	"encoding/json"
	"strings"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// TestRedactContent has, for each event type, a content and what is left of
// it from one version on.
func TestRedactContent(t *testing.T) {
	const levels = `"ban":1,"events":{"x":2},"events_default":3,"invite":4,"kick":5,"notifications":{"room":6},"redact":7,"state_default":8,"users":{"@a:b":9},"users_default":10`
	const levelsV1 = `{"ban":1,"events":{"x":2},"events_default":3,"kick":5,"redact":7,"state_default":8,"users":{"@a:b":9},"users_default":10}`
	const levelsV11 = `{"ban":1,"events":{"x":2},"events_default":3,"invite":4,"kick":5,"redact":7,"state_default":8,"users":{"@a:b":9},"users_default":10}`
	tests := []struct {
		typ, content string
		want         map[int]string // by the first version
	}{
		{"m.room.message", `{"body":"x","membership":"join"}`, map[int]string{1: `{}`}},
		{"m.room.topic", `{"topic":"x"}`, map[int]string{1: `{}`}},
		{"m.room.member", `{"avatar_url":"x","join_authorised_via_users_server":"@a:b","membership":"join","third_party_invite":{"display_name":"x","signed":{"mxid":"@a:b","token":"t"}}}`,
			map[int]string{1: `{"membership":"join"}`, 9: `{"join_authorised_via_users_server":"@a:b","membership":"join"}`,
				11: `{"join_authorised_via_users_server":"@a:b","membership":"join","third_party_invite":{"signed":{"mxid":"@a:b","token":"t"}}}`}},
		{"m.room.member", `{"membership":"invite","third_party_invite":{"display_name":"x"}}`,
			map[int]string{1: `{"membership":"invite"}`, 11: `{"membership":"invite","third_party_invite":{}}`}},
		{"m.room.member", `{"membership":"invite","third_party_invite":"x"}`, map[int]string{1: `{"membership":"invite"}`}},
		{"m.room.member", `{"displayname":"x"}`, map[int]string{1: `{}`}},
		{"m.room.create", `{"creator":"@a:b","m.federate":false,"room_version":"1"}`,
			map[int]string{1: `{"creator":"@a:b"}`, 11: `{"creator":"@a:b","m.federate":false,"room_version":"1"}`}},
		{"m.room.join_rules", `{"allow":[{"type":"x"}],"join_rule":"restricted","x":1}`,
			map[int]string{1: `{"join_rule":"restricted"}`, 8: `{"allow":[{"type":"x"}],"join_rule":"restricted"}`}},
		{"m.room.power_levels", `{` + levels + `,"x":11}`, map[int]string{1: levelsV1, 11: levelsV11}},
		{"m.room.aliases", `{"aliases":["#a:b"],"x":1}`, map[int]string{1: `{"aliases":["#a:b"]}`, 6: `{}`}},
		{"m.room.history_visibility", `{"history_visibility":"shared","x":1}`, map[int]string{1: `{"history_visibility":"shared"}`}},
		{"m.room.redaction", `{"reason":"x","redacts":"$x"}`, map[int]string{1: `{}`, 11: `{"redacts":"$x"}`}},
	}
	for _, test := range tests {
		want := ""
		for i, v := range roomversion.All() {
			if next, ok := test.want[i+1]; ok {
				want = next
			}
			e := build(t, v, matrix.EventTemplate{Type: test.typ, Content: json.RawMessage(test.content)})
			redacted, err := e.Redact()
			if err != nil || string(redacted.Content) != want {
				t.Errorf("version %s, %s: %s, %v; want %s", v.ID, test.typ, redacted.Content, err, want)
			}
		}
	}
}

func TestRedactKeepsIdentity(t *testing.T) {
	for _, v := range roomversion.All() {
		e := build(t, v, matrix.EventTemplate{
			Type: "m.room.member", StateKey: new("@alice:example.org"), Content: json.RawMessage(`{"displayname":"Alice","membership":"join"}`),
			PrevEvents: []matrix.EventID{"$p"}, AuthEvents: []matrix.EventID{"$a"},
		})
		redacted, err := e.Redact()
		if err != nil {
			t.Fatal(err)
		}
		if redacted.ID != e.ID || redacted.ReferenceHash() != e.ReferenceHash() || redacted.Membership() != "join" || !redacted.Is(e.Type, *e.StateKey) ||
			redacted.Sender != e.Sender || redacted.Depth != e.Depth || len(redacted.PrevEvents) != 1 || len(redacted.AuthEvents) != 1 {
			t.Errorf("version %s: %+v", v.ID, redacted)
		}
		if redacted.CheckHash() {
			t.Errorf("version %s: the content hash still fits", v.ID)
		}
		if err := redacted.VerifySignature("example.org", testKey.ID, testKey.Public()); err != nil {
			t.Errorf("version %s: %v", v.ID, err)
		}
		if string(e.Content) != `{"displayname":"Alice","membership":"join"}` {
			t.Errorf("version %s: redaction changed the event itself", v.ID)
		}
	}
}

func TestRedactTopLevel(t *testing.T) {
	for i, v := range roomversion.All() {
		e, err := matrix.ParseEvent(v, remote(v, map[string]string{
			"membership": `"join"`, "origin": `"x"`, "prev_state": `[]`, "redacts": `"$r"`, "replaces_state": `"$s"`, "state_key": `""`, "z": `1`,
		}))
		if err != nil {
			t.Fatal(err)
		}
		redacted, err := e.Redact()
		if err != nil {
			t.Fatal(err)
		}
		for key, last := range map[string]int{"membership": 10, "origin": 10, "prev_state": 10, "redacts": 0, "replaces_state": 0, "z": 0, "state_key": 12, "hashes": 12, "signatures": 12} {
			if has := strings.Contains(string(redacted.JSON()), `"`+key+`":`); has != (i+1 <= last) {
				t.Errorf("version %s: %s is kept: %v", v.ID, key, has)
			}
		}
	}
}
