package matrix_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"trestle/internal/matrix"
)

func TestRelation(t *testing.T) {
	v := version(t, "11")
	key := ""
	for _, c := range []struct {
		typ, content string
		state        *string
		want         *matrix.Relation
	}{
		{"m.room.message", `{"body":"hello"}`, nil, nil},
		{"m.room.message", `{"body":"m.relates_to \"m.relates_to\""}`, nil, nil},
		{"m.room.message", `{"m.relates_to":"$a"}`, nil, nil},
		{"m.room.message", `{"m.relates_to":{"m.in_reply_to":{"event_id":"$a"}}}`, nil, nil},
		{"m.room.message", `{"m.relates_to":{"rel_type":"m.thread"}}`, nil, nil},
		{"m.room.message", `{"m.relates_to":{"rel_type":7,"event_id":"$a"}}`, nil, nil},
		{"m.room.message", `{"m.relates_to":{"rel_type":"m.thread","event_id":"a"}}`, nil, nil},
		{"m.room.message", `{"m.relates_to":{"rel_type":"m\u0000","event_id":"$a"}}`, nil, nil},
		{"m.room.message", `{"m.relates_to":{"rel_type":"` + strings.Repeat("x", 256) + `","event_id":"$a"}}`, nil, nil},
		{"m.room.message", `{"m.relates_to":{"rel_type":"m.thread","event_id":"$a"}}`, nil, &matrix.Relation{Type: "m.thread", Parent: "$a"}},
		{"m.reaction", `{"m.relates_to":{"rel_type":"m.annotation","event_id":"$a","key":"+"}}`, nil, &matrix.Relation{Type: "m.annotation", Parent: "$a", Key: "+"}},
		{"m.reaction", `{"m.relates_to":{"rel_type":"m.annotation","event_id":"$a","key":"\u0000"}}`, nil, &matrix.Relation{Type: "m.annotation", Parent: "$a"}},
		{"m.room.message", `{"m.relates_to":{"rel_type":"m.replace","event_id":"$a"}}`, nil, &matrix.Relation{Type: "m.replace", Parent: "$a"}},
		{"m.room.message", `{"m.new_content":{},"m.relates_to":{"rel_type":"m.replace","event_id":"$a"}}`, nil, &matrix.Relation{Type: "m.replace", Parent: "$a", Edit: true}},
		{"m.room.topic", `{"m.new_content":{},"m.relates_to":{"rel_type":"m.replace","event_id":"$a"}}`, &key, &matrix.Relation{Type: "m.replace", Parent: "$a"}},
		{"m.room.encrypted", `{"m.relates_to":{"rel_type":"m.replace","event_id":"$a"}}`, nil, &matrix.Relation{Type: "m.replace", Parent: "$a", Edit: true}},
	} {
		e := build(t, v, matrix.EventTemplate{Type: c.typ, StateKey: c.state, Content: json.RawMessage(c.content)})
		got := e.Relation()
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %+v, want %+v", c.content, got, c.want)
		}
	}
}

func FuzzRelation(f *testing.F) {
	f.Add(`{"m.relates_to":{"rel_type":"m.thread","event_id":"$a"}}`)
	f.Add(`{"m.relates_to":{"rel_type":"m.annotation","event_id":"$a","key":"\ud800"}}`)
	f.Add(`{"m.relates_to":[]}`)
	f.Fuzz(func(t *testing.T, content string) {
		canonical, err := matrix.CanonicalJSON([]byte(content))
		if err != nil || canonical[0] != '{' {
			return
		}
		e := &matrix.Event{ID: "$x", Type: "m.room.message", Content: canonical}
		r := e.Relation()
		if r == nil {
			return
		}
		if _, err := matrix.ParseEventID(string(r.Parent)); err != nil || r.Type == "" || strings.ContainsRune(r.Type+r.Key, 0) || !utf8.ValidString(r.Type+r.Key) {
			t.Fatalf("%s: %+v", content, r)
		}
	})
}
