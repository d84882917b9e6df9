package matrix_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// remote is an event as another server might send it, with some members set
// to other JSON, or taken out by "".
func remote(v *roomversion.Version, changes map[string]string) []byte {
	members := map[string]string{
		"auth_events": `[]`, "content": `{"body":"hi"}`, "depth": `5`, "hashes": `{"sha256":"AAAA"}`, "origin_server_ts": `1000`,
		"prev_events": `[]`, "room_id": `"!r:example.org"`, "sender": `"@a:example.org"`, "signatures": `{}`, "type": `"m.room.message"`,
	}
	if v.EventIDFormat == roomversion.EventIDInEvent {
		members["event_id"] = `"$e:example.org"`
	}
	maps.Copy(members, changes)
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(members)) {
		if members[key] != "" {
			texts = append(texts, fmt.Sprintf("%q : %s", key, members[key]))
		}
	}
	return []byte("{ " + strings.Join(texts, " ,\n") + " }")
}

func TestParseEvent(t *testing.T) {
	long := strings.Repeat("x", 240)
	many := func(n int, id string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(id+",", n), ",") + "]"
	}
	const tooLarge, badJSON = "M_TOO_LARGE", "M_BAD_JSON"
	tests := []struct {
		name        string
		first, last int // the versions that code is for; for others it is fine
		code        string
		changes     map[string]string
	}{
		{"plain", 1, 12, "", nil},
		{"unknown members", 1, 12, "", map[string]string{"foo": `{"a":[null]}`, "origin": `"example.org"`}},
		{"unsigned of any shape", 1, 12, "", map[string]string{"unsigned": `[{}]`}},
		{"state", 1, 12, "", map[string]string{"state_key": `""`}},
		{"time before 1970", 1, 12, "", map[string]string{"origin_server_ts": `-5`}},
		{"historical user ID", 1, 12, "", map[string]string{"sender": `"@É x:example.org"`}},

		{"no auth_events", 1, 12, badJSON, map[string]string{"auth_events": ""}},
		{"no content", 1, 12, badJSON, map[string]string{"content": ""}},
		{"no depth", 1, 12, badJSON, map[string]string{"depth": ""}},
		{"no hashes", 1, 12, badJSON, map[string]string{"hashes": ""}},
		{"no origin_server_ts", 1, 12, badJSON, map[string]string{"origin_server_ts": ""}},
		{"no prev_events", 1, 12, badJSON, map[string]string{"prev_events": ""}},
		{"no room_id", 1, 12, badJSON, map[string]string{"room_id": ""}},
		{"no sender", 1, 12, badJSON, map[string]string{"sender": ""}},
		{"no signatures", 1, 12, badJSON, map[string]string{"signatures": ""}},
		{"no type", 1, 12, badJSON, map[string]string{"type": ""}},
		{"no event_id", 1, 2, badJSON, map[string]string{"event_id": ""}},

		{"auth_events is no array", 1, 12, badJSON, map[string]string{"auth_events": `{}`}},
		{"auth_events of numbers", 1, 12, badJSON, map[string]string{"auth_events": `[1]`}},
		{"references in pairs", 3, 12, badJSON, map[string]string{"prev_events": `[["$p:x",{"sha256":"AAAA"}]]`}},
		{"references as plain IDs", 1, 2, badJSON, map[string]string{"prev_events": `["$p"]`}},
		{"references as empty pairs", 1, 12, badJSON, map[string]string{"prev_events": `[[]]`}},
		{"content is no object", 1, 12, badJSON, map[string]string{"content": `"x"`}},
		{"content is null", 1, 12, badJSON, map[string]string{"content": `null`}},
		{"depth is no number", 1, 12, badJSON, map[string]string{"depth": `"5"`}},
		{"negative depth", 1, 12, badJSON, map[string]string{"depth": `-1`}},
		{"depth over 2^53", 6, 12, badJSON, map[string]string{"depth": `9007199254740992`}},
		{"depth over 2^63", 1, 12, badJSON, map[string]string{"depth": `9223372036854775808`}},
		{"hashes is no object", 1, 12, badJSON, map[string]string{"hashes": `[]`}},
		{"signatures is no object", 1, 12, badJSON, map[string]string{"signatures": `null`}},
		{"state_key is no string", 1, 12, badJSON, map[string]string{"state_key": `null`}},
		{"type is no string", 1, 12, badJSON, map[string]string{"type": `5`}},
		{"sender is no user ID", 1, 12, badJSON, map[string]string{"sender": `"a:example.org"`}},
		{"room_id is no room ID", 1, 12, badJSON, map[string]string{"room_id": `"#r:example.org"`}},
		{"room_id without server", 1, 11, badJSON, map[string]string{"room_id": `"!Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ"`}},
		{"event_id is no event ID", 1, 2, badJSON, map[string]string{"event_id": `"e:example.org"`}},
		{"event_id is no string", 1, 2, badJSON, map[string]string{"event_id": `5`}},
		{"redacts is no string", 1, 10, badJSON, map[string]string{"type": `"m.room.redaction"`, "redacts": `5`}},
		{"NUL in type", 1, 12, badJSON, map[string]string{"type": `"a\u0000"`}},
		{"NUL in state_key", 1, 12, badJSON, map[string]string{"state_key": `"\u0000"`}},
		{"float", 6, 12, badJSON, map[string]string{"content": `{"a":1.5}`}},
		{"large integer", 6, 12, badJSON, map[string]string{"content": `{"a":9007199254740992}`}},
		{"key twice", 6, 12, badJSON, map[string]string{"content": `{"a":1,"a":2}`}},
		{"create with room_id", 12, 12, badJSON, map[string]string{"type": `"m.room.create"`, "state_key": `""`}},
		{"create without room_id", 1, 11, badJSON, map[string]string{"type": `"m.room.create"`, "state_key": `""`, "room_id": ""}},

		{"21 prev_events", 3, 12, badJSON, map[string]string{"prev_events": many(21, `"$p"`)}},
		{"20 prev_events", 1, 2, badJSON, map[string]string{"prev_events": many(20, `"$p"`)}},
		{"11 auth_events", 3, 12, badJSON, map[string]string{"auth_events": many(11, `"$p"`)}},
		{"11 auth_events in pairs", 1, 12, badJSON, map[string]string{"auth_events": many(11, `["$p",{}]`)}},
		{"prev_events that are none", 3, 12, badJSON, map[string]string{"prev_events": `["p"]`}},
		{"auth_events with NUL", 3, 12, badJSON, map[string]string{"auth_events": `["$\u0000"]`}},
		{"long auth_events", 3, 12, badJSON, map[string]string{"auth_events": `["$` + strings.Repeat("x", 255) + `"]`}},
		{"auth_events in pairs with NUL", 1, 2, badJSON, map[string]string{"auth_events": `[["$\u0000",{}]]`}},
		{"long type", 1, 12, tooLarge, map[string]string{"type": `"` + strings.Repeat("x", 256) + `"`}},
		{"long state_key", 1, 12, tooLarge, map[string]string{"state_key": `"` + strings.Repeat("x", 256) + `"`}},
		{"long sender", 1, 12, tooLarge, map[string]string{"sender": `"@` + long + `:long.example.org"`}},
		{"long room_id", 1, 12, tooLarge, map[string]string{"room_id": `"!` + long + `:long.example.org"`}},
		{"long event_id", 1, 2, tooLarge, map[string]string{"event_id": `"$` + long + `:long.example.org"`}},
		{"large", 1, 12, tooLarge, map[string]string{"content": `{"a":"` + strings.Repeat("x", matrix.MaxEventSize) + `"}`}},
		{"large signatures", 1, 12, tooLarge, map[string]string{"signatures": `{"a":"` + strings.Repeat("x", matrix.MaxEventSize) + `"}`}},
		{"large unsigned", 1, 12, "", map[string]string{"unsigned": `{"a":"` + strings.Repeat("x", matrix.MaxEventSize) + `"}`}},
		{"large only in escapes", 1, 12, "", map[string]string{"content": `{"a":"` + strings.Repeat(`\u0041`, 50000) + `"}`}},
	}
	for _, test := range tests {
		for i, v := range roomversion.All() {
			want := test.code
			if i+1 < test.first || i+1 > test.last {
				if strings.Contains(test.name, "references") || strings.Contains(test.name, "_events") {
					continue // wrong for the others in another way
				}
				want = ""
			}
			if _, err := matrix.ParseEvent(v, remote(v, test.changes)); matrix.Code(err) != want || (err == nil) != (want == "") {
				t.Errorf("%s, version %s: %v", test.name, v.ID, err)
			}
		}
	}
}

// Events of former days may refer to any number of others, and have to be like all events otherwise.
func TestParseHistoricEvent(t *testing.T) {
	v := version(t, "10")
	refer := func(n int, id string) []byte {
		ids := strings.TrimSuffix(strings.Repeat(id+",", n), ",")
		return remote(v, map[string]string{"prev_events": "[" + ids + "]", "auth_events": "[" + ids + "]"})
	}
	e, err := matrix.ParseHistoricEvent(v, refer(500, `"$p"`))
	if err != nil || len(e.PrevEvents) != 500 || len(e.AuthEvents) != 500 {
		t.Errorf("%+v %v", e, err)
	}
	if _, err := matrix.ParseEvent(v, refer(500, `"$p"`)); matrix.Code(err) != "M_BAD_JSON" {
		t.Errorf("one of today: %v", err)
	}
	if _, err := matrix.ParseHistoricEvent(v, refer(500, `"p"`)); matrix.Code(err) != "M_BAD_JSON" {
		t.Errorf("no IDs: %v", err)
	}
	if _, err := matrix.ParseHistoricEvent(v, refer(20000, `"$p"`)); matrix.Code(err) != "M_TOO_LARGE" {
		t.Errorf("a large one: %v", err)
	}
}

// What a redaction redacts is an event ID, or nothing.
func TestRedactsNothing(t *testing.T) {
	for _, v := range roomversion.All() {
		for redacts, want := range map[string]matrix.EventID{`"$a"`: "$a", `"a"`: "", `"$a\u0000"`: "", `"$` + strings.Repeat("x", 255) + `"`: ""} {
			changes := map[string]string{"type": `"m.room.redaction"`, "redacts": redacts}
			if v.RedactsInContent {
				changes = map[string]string{"type": `"m.room.redaction"`, "content": `{"redacts":` + redacts + `}`}
			}
			e, err := matrix.ParseEvent(v, remote(v, changes))
			if err != nil || e.Redacts != want {
				t.Errorf("version %s, %.20s: %+v %v", v.ID, redacts, e, err)
			}
		}
	}
}

func TestParseEventOfNoObject(t *testing.T) {
	for raw, code := range map[string]string{``: "M_NOT_JSON", `{`: "M_NOT_JSON", `[]`: "M_BAD_JSON", `null`: "M_BAD_JSON", `{}`: "M_BAD_JSON", "\xff": "M_NOT_JSON"} {
		if _, err := matrix.ParseEvent(version(t, "12"), []byte(raw)); matrix.Code(err) != code {
			t.Errorf("ParseEvent(%q): %v", raw, err)
		}
	}
}

func TestParseEventLeavesOutWhatIsNotSigned(t *testing.T) {
	for _, v := range roomversion.All() {
		plain, err := matrix.ParseEvent(v, remote(v, nil))
		if err != nil {
			t.Fatal(err)
		}
		changes := map[string]string{"unsigned": `{"age":5}`}
		if v.EventIDFormat != roomversion.EventIDInEvent {
			changes["event_id"] = `"$lie"`
		}
		e, err := matrix.ParseEvent(v, remote(v, changes))
		if err != nil {
			t.Fatal(err)
		}
		if e.ID != plain.ID || !bytes.Equal(e.JSON(), plain.JSON()) {
			t.Errorf("version %s: %s\n%s", v.ID, e.ID, e.JSON())
		}
	}
}

func TestParseEventDoesNotKeepItsInput(t *testing.T) {
	v := version(t, "12")
	raw := remote(v, nil)
	e, err := matrix.ParseEvent(v, raw)
	if err != nil {
		t.Fatal(err)
	}
	before := string(e.JSON())
	clear(raw)
	if string(e.JSON()) != before || e.Sender != "@a:example.org" || string(e.Content) != `{"body":"hi"}` {
		t.Error("the event changed with the input")
	}
}

// TestOldRoomsMayHoldAnyNumber: versions 1 to 5 don't enforce Canonical JSON.
func TestOldRoomsMayHoldAnyNumber(t *testing.T) {
	numbers := map[string]string{
		`-0`: `0`, `1e10`: `10000000000`, `12E2`: `1200`, `1.0`: `1.0`, `-1.50`: `-1.5`, `0.00001`: `1e-05`, `1e-3`: `0.001`, `1e16`: `1e+16`,
		`123456789012345678901234567890`: `123456789012345678901234567890`, `9007199254740992`: `9007199254740992`, `1.5e3`: `1500.0`, `-0.0`: `-0.0`,
	}
	for _, v := range roomversion.All() {
		for in, want := range numbers {
			e, err := matrix.ParseEvent(v, remote(v, map[string]string{"content": `{"n":` + in + `}`}))
			if v.StrictJSON {
				if matrix.Code(err) != "M_BAD_JSON" {
					t.Errorf("version %s, %s: %v", v.ID, in, err)
				}
			} else if err != nil || string(e.Content) != `{"n":`+want+`}` {
				t.Errorf("version %s, %s: %+v, %v", v.ID, in, e, err)
			}
		}
		e, err := matrix.ParseEvent(v, remote(v, map[string]string{"content": `{"b":1,"a":2,"b":3}`}))
		if (err == nil) == v.StrictJSON || err == nil && string(e.Content) != `{"a":2,"b":3}` {
			t.Errorf("version %s: a key twice: %+v, %v", v.ID, e, err)
		}
		if _, err := matrix.ParseEvent(v, remote(v, map[string]string{"content": `{"n":1e999}`})); err == nil {
			t.Errorf("version %s took 1e999", v.ID)
		}
	}
}

// FuzzParseEvent: whatever a peer sends, nothing panics, and what is accepted
// means the same when it is stored, read and sent on.
func FuzzParseEvent(f *testing.F) {
	for i, v := range roomversion.All() {
		f.Add(remote(v, nil), i)
		f.Add(remote(v, map[string]string{"type": `"m.room.member"`, "state_key": `"@a:b"`, "content": `{"membership":"join","third_party_invite":{"signed":{},"x":1}}`}), i)
		f.Add(remote(v, map[string]string{"type": `"m.room.create"`, "state_key": `""`, "room_id": "", "unsigned": `{}`}), i)
		f.Add(remote(v, map[string]string{"type": `"m.room.redaction"`, "redacts": `"$x"`, "content": `{"redacts":"$y"}`}), i)
	}
	f.Fuzz(func(t *testing.T, raw []byte, i int) {
		v := roomversion.All()[uint(i)%12]
		e, err := matrix.ParseEvent(v, raw)
		if err != nil {
			return
		}
		again, err := matrix.ParseEvent(v, e.JSON())
		if err != nil || again.ID != e.ID || !bytes.Equal(again.JSON(), e.JSON()) {
			t.Fatalf("%s came back as %+v, %v", e.JSON(), again, err)
		}
		redacted, err := e.Redact()
		if err != nil || redacted.ID != e.ID || redacted.ReferenceHash() != e.ReferenceHash() || redacted.RoomID != e.RoomID {
			t.Fatalf("%s redacted is %+v, %v", e.JSON(), redacted, err)
		}
		twice, err := redacted.Redact()
		if err != nil || !bytes.Equal(twice.JSON(), redacted.JSON()) {
			t.Fatalf("%s redacted twice is %s, %v", e.JSON(), twice.JSON(), err)
		}
		if client := e.AppendClient(nil, matrix.ClientOptions{}); !json.Valid(client) {
			t.Fatalf("a client would get %s", client)
		}
		if stripped := e.StrippedState(); !json.Valid(stripped) {
			t.Fatalf("a client would get %s", stripped)
		}
		e.CheckHash()
	})
}

// FuzzLoadEvent: a damaged database is an error, never a panic.
func FuzzLoadEvent(f *testing.F) {
	f.Add([]byte(`{"type":"m.room.member","content":{"membership":"join"},"prev_events":["$a"]}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"a":"\`))
	f.Add([]byte(`{"a":[}]`))
	f.Add([]byte(`{"state_key":"\u00`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, v := range roomversion.All() {
			e, err := matrix.LoadEvent(v, "$id", raw)
			if err != nil {
				continue
			}
			e.CheckHash()
			e.ReferenceHash()
			e.SignatureKeys("example.org")
			if client := e.AppendClient(nil, matrix.ClientOptions{}); json.Valid(raw) && !json.Valid(client) {
				t.Fatalf("a client would get %s", client)
			}
			if _, err := e.Redact(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestLengthsOfOldRooms has state keys of as many characters as may be, and more bytes.
func TestLengthsOfOldRooms(t *testing.T) {
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]map[int]string{
		"10": {255: "", 256: "M_TOO_LARGE"}, "11": {63: "", 64: "M_TOO_LARGE"}, "12": {63: "", 64: "M_TOO_LARGE"},
	} {
		v, _ := roomversion.Lookup(id)
		room := matrix.RoomID("!room:a.example")
		if v.RoomIDFromCreate {
			room = matrix.RoomID("!" + strings.Repeat("a", 43))
		}
		short := "x"
		e, err := matrix.EventTemplate{
			RoomID: room, Sender: "@u:a.example", Type: "m.thing", StateKey: &short, Content: json.RawMessage("{}"), Depth: 1,
		}.Build(v, "a.example", key)
		if err != nil {
			t.Fatal(err)
		}
		for characters, code := range want {
			raw := strings.Replace(string(e.JSON()), `"state_key":"x"`, `"state_key":"`+strings.Repeat("💥", characters)+`"`, 1)
			if _, err := matrix.ParseEvent(v, []byte(raw)); matrix.Code(err) != code {
				t.Errorf("version %s, %d characters: %v, want %q", id, characters, err, code)
			}
		}
	}
}
