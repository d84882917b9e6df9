package matrix_test

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

func version(t *testing.T, id string) *roomversion.Version {
	t.Helper()
	v, ok := roomversion.Lookup(id)
	if !ok {
		t.Fatalf("there is no room version %s", id)
	}
	return v
}

// build builds an event by @alice:example.org; what the template leaves open
// is filled in.
func build(t *testing.T, v *roomversion.Version, template matrix.EventTemplate) *matrix.Event {
	t.Helper()
	e, err := fill(v, template).Build(v, "example.org", testKey)
	if err != nil {
		t.Fatalf("version %s: %v", v.ID, err)
	}
	return e
}

func fill(v *roomversion.Version, template matrix.EventTemplate) matrix.EventTemplate {
	isCreate := template.Type == "m.room.create" && template.StateKey != nil && *template.StateKey == ""
	if template.RoomID == "" && !(isCreate && v.RoomIDFromCreate) {
		template.RoomID = "!room:example.org"
	}
	if template.Sender == "" {
		template.Sender = "@alice:example.org"
	}
	if template.Content == nil {
		template.Content = json.RawMessage(`{}`)
	}
	if template.Depth == 0 {
		template.Depth = 7
	}
	return template
}

func TestBuildIsWhatItSays(t *testing.T) {
	for _, v := range roomversion.All() {
		template := matrix.EventTemplate{
			RoomID: "!r:example.org", Sender: "@alice:example.org", Type: "m.room.name", StateKey: new(`a "key"`),
			Content: json.RawMessage(`{ "name": "\u00c9" }`), OriginServerTS: 1234567890123, Depth: 42,
			PrevEvents: []matrix.EventID{"$p1", "$p2"}, AuthEvents: []matrix.EventID{"$a1"},
		}
		built, err := template.Build(v, "example.org", testKey)
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := matrix.LoadEvent(v, built.ID, built.JSON())
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := matrix.ParseEvent(v, built.JSON())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []*matrix.Event{built, loaded, parsed} {
			if e.Version != v || e.ID != built.ID || e.RoomID != "!r:example.org" || e.Sender != "@alice:example.org" || e.Type != "m.room.name" ||
				!e.Is("m.room.name", `a "key"`) || !e.IsState() || e.StateKeyIs("") || string(e.Content) != `{"name":"É"}` ||
				e.OriginServerTS != 1234567890123 || e.Depth != 42 || e.Redacts != "" || e.Membership() != "" ||
				!slices.Equal(e.PrevEvents, template.PrevEvents) || !slices.Equal(e.AuthEvents, template.AuthEvents) {
				t.Errorf("version %s: %+v", v.ID, e)
			}
			if string(e.JSON()) != string(built.JSON()) {
				t.Errorf("version %s: the JSON changed to %s", v.ID, e.JSON())
			}
			if !e.CheckHash() {
				t.Errorf("version %s: wrong content hash", v.ID)
			}
			if err := e.VerifySignature("example.org", testKey.ID, testKey.Public()); err != nil {
				t.Errorf("version %s: %v", v.ID, err)
			}
		}
		if canonical, err := matrix.CanonicalJSON(built.JSON()); err != nil || string(canonical) != string(built.JSON()) {
			t.Errorf("version %s: not canonical: %s, %v", v.ID, built.JSON(), err)
		}
	}
}

// TestGoldenEvents pins the bytes: they are what other servers hash.
func TestGoldenEvents(t *testing.T) {
	message := matrix.EventTemplate{
		RoomID: "!r:example.org", Sender: "@a:example.org", Type: "m.room.message", Content: json.RawMessage(`{"body":"hi"}`),
		OriginServerTS: 1, Depth: 2, PrevEvents: []matrix.EventID{"$p"}, AuthEvents: []matrix.EventID{"$q"},
		ReferenceHashes: map[matrix.EventID][sha256.Size]byte{"$p": {}},
	}
	e, err := message.Build(version(t, "1"), "example.org", testKey)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"auth_events":[["$q",{}]],"content":{"body":"hi"},"depth":2,"event_id":"` + string(e.ID) + `","hashes":{"sha256":`
	if !strings.HasPrefix(string(e.JSON()), want) || !strings.Contains(string(e.JSON()), `"prev_events":[["$p",{"sha256":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]]`) {
		t.Errorf("version 1: %s", e.JSON())
	}
	if !strings.HasSuffix(string(e.ID), ":example.org") {
		t.Errorf("version 1 has the event ID %s", e.ID)
	}

	create := matrix.EventTemplate{
		Sender: "@a:example.org", Type: "m.room.create", StateKey: new(""), Content: json.RawMessage(`{"room_version":"12"}`),
		OriginServerTS: 1, Depth: 1,
	}
	e, err = create.Build(version(t, "12"), "example.org", testKey)
	if err != nil {
		t.Fatal(err)
	}
	want = `{"auth_events":[],"content":{"room_version":"12"},"depth":1,"hashes":{"sha256":"` + goldenHash + `"},"origin_server_ts":1,` +
		`"prev_events":[],"sender":"@a:example.org","signatures":{"example.org":{"ed25519:1":"` + goldenSignature + `"}},"state_key":"","type":"m.room.create"}`
	if string(e.JSON()) != want || e.ID != goldenID {
		t.Errorf("version 12: %s\n%s\nwant %s", e.ID, e.JSON(), want)
	}
}

const (
	goldenHash      = "gWfNvpNNSAf0zHR6NbWpTJf7QvF+xrOHu/ijwW+348g"
	goldenSignature = "Ax2gf+6GsFC7KPqbnnvE6zeSm8YUYuy35vPsdQCjkpS85+tU7idrgRWgdwAeTepUQQP2IwBe+pU5zsxJo0UDAw"
	goldenID        = "$EjjIcnv92sGt560Heo2piOD_-7Cp3s7bkVOHnEXNIh4"
)

func TestEventIDFormats(t *testing.T) {
	for _, v := range roomversion.All() {
		for range 8 { // so that base64 has a chance of showing + or /
			e := build(t, v, matrix.EventTemplate{Type: "m.room.message", Content: json.RawMessage(`{"body":"` + matrix.RandomString(9) + `"}`)})
			hash := e.ReferenceHash()
			hashed := "$" + matrix.Base64(hash[:])
			switch v.EventIDFormat {
			case roomversion.EventIDInEvent:
				if !strings.HasSuffix(string(e.ID), ":example.org") || strings.HasPrefix(string(e.ID), hashed) {
					t.Errorf("version %s: event ID %s", v.ID, e.ID)
				}
			case roomversion.EventIDBase64:
				if string(e.ID) != hashed {
					t.Errorf("version %s: event ID %s, want %s", v.ID, e.ID, hashed)
				}
			case roomversion.EventIDURLSafe:
				if want := strings.NewReplacer("+", "-", "/", "_").Replace(hashed); string(e.ID) != want {
					t.Errorf("version %s: event ID %s, want %s", v.ID, e.ID, want)
				}
			}
			if inJSON := strings.Contains(string(e.JSON()), `"event_id"`); inJSON != (v.EventIDFormat == roomversion.EventIDInEvent) {
				t.Errorf("version %s: %s", v.ID, e.JSON())
			}
		}
	}
}

func TestRoomIDFromCreate(t *testing.T) {
	for _, v := range roomversion.All() {
		e := build(t, v, matrix.EventTemplate{Type: "m.room.create", StateKey: new("")})
		derived := e.RoomID.CreateEventID() == e.ID && !strings.Contains(string(e.JSON()), `"room_id"`)
		if derived != v.RoomIDFromCreate || !derived && e.RoomID != "!room:example.org" {
			t.Errorf("version %s: room %s of %s", v.ID, e.RoomID, e.JSON())
		}
		parsed, err := matrix.ParseEvent(v, e.JSON())
		if err != nil || parsed.RoomID != e.RoomID || parsed.ID != e.ID {
			t.Errorf("version %s: parsed as %+v, %v", v.ID, parsed, err)
		}
		redacted, err := e.Redact()
		if err != nil || redacted.RoomID != e.RoomID {
			t.Errorf("version %s: redacted is %+v, %v", v.ID, redacted, err)
		}
	}
	if id := matrix.RoomID("").CreateEventID(); id != "" {
		t.Errorf("no room has the create event %s", id)
	}
}

func TestMembership(t *testing.T) {
	v := version(t, "12")
	for content, want := range map[string]string{
		`{"membership":"join"}`: "join", `{"membership":"x\ny"}`: "x\ny", `{}`: "", `{"membership":5}`: "", `{"a":{"membership":"ban"}}`: "",
	} {
		if e := build(t, v, matrix.EventTemplate{Type: "m.room.member", StateKey: new("@a:b"), Content: json.RawMessage(content)}); e.Membership() != want {
			t.Errorf("%s has the membership %q", content, e.Membership())
		}
	}
	if e := build(t, v, matrix.EventTemplate{Type: "m.room.name", Content: json.RawMessage(`{"membership":"join"}`)}); e.Membership() != "" {
		t.Errorf("a name has the membership %q", e.Membership())
	}
}

func TestRedactsIsWhereTheVersionKeepsIt(t *testing.T) {
	for _, v := range roomversion.All() {
		e := build(t, v, matrix.EventTemplate{Type: "m.room.redaction", Redacts: `$t"x`, Content: json.RawMessage(`{"reason":"spam","redacts":"$other"}`)})
		if e.Redacts != `$t"x` {
			t.Errorf("version %s redacts %s", v.ID, e.Redacts)
		}
		atTop, inContent := strings.Contains(string(e.JSON()), `"prev_events":[],"redacts":"$t\"x",`), string(e.Content) == `{"reason":"spam","redacts":"$t\"x"}`
		if atTop == v.RedactsInContent || inContent != v.RedactsInContent {
			t.Errorf("version %s: %s", v.ID, e.JSON())
		}
		if !e.CheckHash() {
			t.Errorf("version %s: wrong content hash", v.ID)
		}
	}
}

func TestBuildLimits(t *testing.T) {
	v := version(t, "11")
	long := strings.Repeat("x", 255)
	body := func(n int) json.RawMessage { return json.RawMessage(`{"body":"` + strings.Repeat("x", n) + `"}`) }
	envelope := len(build(t, v, matrix.EventTemplate{Type: "m.room.message", Content: body(0)}).JSON())
	tests := []struct {
		name     string
		template matrix.EventTemplate
		code     string
	}{
		{"largest", matrix.EventTemplate{Type: "m.room.message", Content: body(matrix.MaxEventSize - envelope)}, ""},
		{"too large", matrix.EventTemplate{Type: "m.room.message", Content: body(matrix.MaxEventSize - envelope + 1)}, "M_TOO_LARGE"},
		{"longest type", matrix.EventTemplate{Type: long}, ""},
		{"type too long", matrix.EventTemplate{Type: long + "x"}, "M_TOO_LARGE"},
		{"longest state key", matrix.EventTemplate{Type: "t", StateKey: new(long)}, ""},
		{"state key too long", matrix.EventTemplate{Type: "t", StateKey: new(long + "x")}, "M_TOO_LARGE"},
		{"state key too long in bytes", matrix.EventTemplate{Type: "t", StateKey: new(strings.Repeat("é", 128))}, "M_TOO_LARGE"},
		{"sender too long", matrix.EventTemplate{Type: "t", Sender: matrix.UserID(long + "x")}, "M_TOO_LARGE"},
		{"room ID too long", matrix.EventTemplate{Type: "t", RoomID: matrix.RoomID(long + "x")}, "M_TOO_LARGE"},
		{"NUL in type", matrix.EventTemplate{Type: "a\x00"}, "M_BAD_JSON"},
		{"NUL in state key", matrix.EventTemplate{Type: "t", StateKey: new("\x00")}, "M_BAD_JSON"},
		{"invalid UTF-8 in state key", matrix.EventTemplate{Type: "t", StateKey: new("\xff")}, "M_BAD_JSON"},
		{"float", matrix.EventTemplate{Type: "t", Content: json.RawMessage(`{"a":{"b":[1.5]}}`)}, "M_BAD_JSON"},
		{"array as content", matrix.EventTemplate{Type: "t", Content: json.RawMessage(`[]`)}, "M_BAD_JSON"},
		{"null as content", matrix.EventTemplate{Type: "t", Content: json.RawMessage(`null`)}, "M_BAD_JSON"},
		{"no JSON", matrix.EventTemplate{Type: "t", Content: json.RawMessage(`{`)}, "M_NOT_JSON"},
		{"NUL in content", matrix.EventTemplate{Type: "t", Content: json.RawMessage(`{"a":"\u0000"}`)}, ""},
		{"depth too large", matrix.EventTemplate{Type: "t", Depth: matrix.MaxInteger + 1}, "M_BAD_JSON"},
		{"negative depth", matrix.EventTemplate{Type: "t", Depth: -1}, "M_BAD_JSON"},
		{"time too large", matrix.EventTemplate{Type: "t", OriginServerTS: matrix.MaxInteger + 1}, "M_BAD_JSON"},
	}
	for _, test := range tests {
		e, err := fill(v, test.template).Build(v, "example.org", testKey)
		if matrix.Code(err) != test.code || (err == nil) != (test.code == "") {
			t.Errorf("%s: %v", test.name, err)
		}
		if err != nil {
			continue
		}
		if parsed, err := matrix.ParseEvent(v, e.JSON()); err != nil || parsed.ID != e.ID {
			t.Errorf("%s: a peer would say %v", test.name, err)
		}
	}
}

func TestBuildWantsRoomIDs(t *testing.T) {
	template := matrix.EventTemplate{Sender: "@a:example.org", Type: "m.room.create", StateKey: new(""), Content: json.RawMessage(`{}`)}
	if _, err := template.Build(version(t, "11"), "example.org", testKey); err == nil {
		t.Error("version 11 made a room without an ID")
	}
	template.RoomID = "!r:example.org"
	if _, err := template.Build(version(t, "12"), "example.org", testKey); err == nil {
		t.Error("version 12 made a room with a chosen ID")
	}
}

func TestCheckHash(t *testing.T) {
	v := version(t, "12")
	e := build(t, v, matrix.EventTemplate{Type: "m.room.message", Content: json.RawMessage(`{"body":"hi"}`)})
	hash := matrix.Base64(make([]byte, 32))
	for name, change := range map[string]func(string) string{
		"content":      func(s string) string { return strings.Replace(s, "hi", "ho", 1) },
		"more content": func(s string) string { return strings.Replace(s, `"body"`, `"a":1,"body"`, 1) },
		"hash":         func(s string) string { return strings.Replace(s, `"sha256":"`, `"sha256":"`+hash+`","x":"`, 1) },
		"no hash":      func(s string) string { return strings.Replace(s, `"sha256"`, `"sha512"`, 1) },
		"no base64":    func(s string) string { return strings.Replace(s, `"sha256":"`, `"sha256":"!`, 1) },
		"short hash":   func(s string) string { return strings.Replace(s, `"sha256":"`, `"sha256":"AAAA","x":"`, 1) },
	} {
		changed, err := matrix.ParseEvent(v, []byte(change(string(e.JSON()))))
		if err != nil {
			t.Fatal(err)
		}
		if changed.CheckHash() {
			t.Errorf("%s: nobody noticed", name)
		}
	}
}

func TestLoadEventRefuses(t *testing.T) {
	v := version(t, "12")
	for _, raw := range []string{"", "{", "[]", `{"type":5}`, `{"type"}`, `{"depth":"1"}`, `{"prev_events":[1]}`, `{"auth_events":{}}`, `{"state_key":null}`, `{"content":[]}`, `{"type":"x"`} {
		if e, err := matrix.LoadEvent(v, "$id", []byte(raw)); err == nil {
			t.Errorf("LoadEvent(%s) = %+v", raw, e)
		}
	}
}
