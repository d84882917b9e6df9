package accounts_test

import (
	"encoding/json"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
)

func TestFields(t *testing.T) {
	const event = `{"content":{"a":{"b":1,"c":[2]},"a.b":3,"x\\y":4,"body":"text"},"event_id":"$e","origin_server_ts":1,"sender":"@a:b","type":"t","unsigned":{"age":5,"other":6}}`
	const always = `"event_id":"$e","origin_server_ts":1,"sender":"@a:b","type":"t"`
	for _, c := range []struct {
		fields []string
		want   string
	}{
		{nil, event},
		{[]string{}, `{"content":{},` + always + `}`},
		{[]string{"content.body"}, `{"content":{"body":"text"},` + always + `}`},
		{[]string{"content.a.b", "content.a.b.c", "unsigned.age"}, `{"content":{"a":{"b":1}},` + always + `,"unsigned":{"age":5}}`},
		{[]string{`content.a\.b`, `content.x\\y`, `content.\n`}, `{"content":{"a.b":3,"x\\y":4},` + always + `}`},
		{[]string{"content.a.b", "content.a"}, `{"content":{"a":{"b":1,"c":[2]}},` + always + `}`},
		{[]string{"content", "content.body"}, `{"content":{"a":{"b":1,"c":[2]},"a.b":3,"x\\y":4,"body":"text"},` + always + `}`},
		{[]string{"content.body.more", "content.a.c.0", "nothing", ""}, `{"content":{"a":{}},` + always + `}`},
	} {
		fields, err := accounts.ParseFields(c.fields)
		if err != nil {
			t.Fatal(err)
		}
		got, err := fields.Pick(json.RawMessage(event))
		if err != nil || string(got) != c.want {
			t.Errorf("%q:\n%s\nwant\n%s, %v", c.fields, got, c.want, err)
		}
	}
	for _, wrong := range [][]string{make([]string, 1000), {strings.Repeat("a.", 100)}} {
		if _, err := accounts.ParseFields(wrong); matrix.Code(err) != "M_INVALID_PARAM" {
			t.Errorf("%d fields: %v", len(wrong), err)
		}
	}
}

func FuzzFields(f *testing.F) {
	f.Add(`content.a\.b`, `{"content":{"a.b":1}}`)
	f.Add(`\`, `[]`)
	f.Fuzz(func(t *testing.T, path, event string) {
		if !json.Valid([]byte(event)) {
			return
		}
		fields, err := accounts.ParseFields([]string{path})
		if err != nil {
			return
		}
		got, err := fields.Pick(json.RawMessage(event))
		if err != nil || got != nil && !json.Valid(got) {
			t.Fatalf("%q of %s: %s, %v", path, event, got, err)
		}
	})
}
