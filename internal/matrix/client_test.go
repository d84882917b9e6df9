package matrix_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"trestle/internal/matrix"
)

func TestAppendClient(t *testing.T) {
	age := int64(1257)
	name := matrix.EventTemplate{RoomID: "!r:b", Type: "m.room.name", StateKey: new(""), Content: json.RawMessage(`{"name":"\"x\""}`), OriginServerTS: 5}
	redaction := matrix.EventTemplate{RoomID: "!r:b", Type: "m.room.redaction", Redacts: "$t", Content: json.RawMessage(`{"reason":"r"}`), OriginServerTS: 5}
	tests := []struct {
		name, version string
		template      matrix.EventTemplate
		options       matrix.ClientOptions
		want          string // without its event ID
	}{
		{"state", "10", name, matrix.ClientOptions{},
			`{"content":{"name":"\"x\""},"event_id":"ID","origin_server_ts":5,"room_id":"!r:b","sender":"@alice:example.org","state_key":"","type":"m.room.name","unsigned":{}}`},
		{"everything", "12", name, matrix.ClientOptions{
			Age: &age, TransactionID: `t"1`, Membership: "join", PrevContent: json.RawMessage(`{"name":"y"}`), PrevSender: "@b:b", ReplacesState: "$old",
			RedactedBecause: json.RawMessage(`{"type":"m.room.redaction"}`), NoRoomID: true,
			Unsigned: map[string]json.RawMessage{"m.relations": json.RawMessage(`{}`), `a"b`: json.RawMessage(`1`)},
		}, `{"content":{"name":"\"x\""},"event_id":"ID","origin_server_ts":5,"sender":"@alice:example.org","state_key":"","type":"m.room.name",` +
			`"unsigned":{"age":1257,"membership":"join","prev_content":{"name":"y"},"prev_sender":"@b:b","redacted_because":{"type":"m.room.redaction"},` +
			`"replaces_state":"$old","transaction_id":"t\"1","a\"b":1,"m.relations":{}}}`},
		{"redaction before version 11", "10", redaction, matrix.ClientOptions{},
			`{"content":{"reason":"r","redacts":"$t"},"event_id":"ID","origin_server_ts":5,"redacts":"$t","room_id":"!r:b","sender":"@alice:example.org","type":"m.room.redaction","unsigned":{}}`},
		{"redaction from version 11 on", "11", redaction, matrix.ClientOptions{},
			`{"content":{"reason":"r","redacts":"$t"},"event_id":"ID","origin_server_ts":5,"redacts":"$t","room_id":"!r:b","sender":"@alice:example.org","type":"m.room.redaction","unsigned":{}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := build(t, version(t, test.version), test.template)
			got := string(e.AppendClient([]byte("before"), test.options))
			if want := "before" + replaceID(test.want, e.ID); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// Nothing of what servers exchange is lost.
func TestAppendClientInTheFormatOfServers(t *testing.T) {
	age := int64(7)
	for _, v := range []string{"1", "2", "3", "10", "12"} {
		e := build(t, version(t, v), matrix.EventTemplate{RoomID: "!r:b", Type: "m.room.message", PrevEvents: []matrix.EventID{"$p"}, Depth: 9, Content: json.RawMessage(`{"body":"b"}`)})
		var got, want map[string]any
		if err := json.Unmarshal(e.AppendClient(nil, matrix.ClientOptions{Age: &age, Federation: true}), &got); err != nil {
			t.Fatalf("version %s: %v", v, err)
		}
		if err := json.Unmarshal(e.JSON(), &want); err != nil {
			t.Fatal(err)
		}
		want["event_id"], want["unsigned"] = string(e.ID), map[string]any{"age": 7.0}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("version %s: got %v, want %v", v, got, want)
		}
	}
}

func replaceID(text string, id matrix.EventID) string {
	return strings.Replace(text, `"event_id":"ID"`, `"event_id":"`+string(id)+`"`, 1)
}
func TestAppendClientOfEmptyRedaction(t *testing.T) {
	v := version(t, "10")
	e := build(t, v, matrix.EventTemplate{Type: "m.room.redaction", Redacts: "$t"})
	var got struct {
		Content struct{ Redacts string }
		Redacts string
	}
	if err := json.Unmarshal(e.AppendClient(nil, matrix.ClientOptions{}), &got); err != nil || got.Redacts != "$t" || got.Content.Redacts != "$t" {
		t.Errorf("got %+v, %v", got, err)
	}
	redacted, err := e.Redact()
	if err != nil {
		t.Fatal(err)
	}
	got.Redacts, got.Content.Redacts = "", ""
	if err := json.Unmarshal(redacted.AppendClient(nil, matrix.ClientOptions{}), &got); err != nil || got.Redacts != "" || got.Content.Redacts != "" {
		t.Errorf("redacted: got %+v, %v", got, err)
	}
}

func TestStrippedState(t *testing.T) {
	e := build(t, version(t, "12"), matrix.EventTemplate{Type: "m.room.name", StateKey: new("é"), Content: json.RawMessage(`{"name":"x"}`)})
	if got, want := string(e.StrippedState()), `{"content":{"name":"x"},"sender":"@alice:example.org","state_key":"é","type":"m.room.name"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
