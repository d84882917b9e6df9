package console

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPretty(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:                              "{}",
		`[ ]`:                             "[]",
		`{"a":[1,{"b":"x, {y}"}],"c":{}}`: "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x, {y}\"\n    }\n  ],\n  \"c\": {}\n}",
		`"say \"hi\", \\"`:                `"say \"hi\", \\"`,
		"\"left\u202eright\u200b\"":       `"left\u202eright\u200b"`,
		"\"\U000e0001\"":                  `"\udb40\udc01"`,
		"{\"\u2028\":\"\x7f\u0085\xff\"}": "{\n  \"\\u2028\": \"\\u007f\\u0085\uFFFD\"\n}",
	} {
		if got, whole := pretty([]byte(body), 1000); got != want || !whole {
			t.Errorf("%s is\n%s\nwant\n%s", body, got, want)
		}
	}
	deep := strings.Repeat("[1,", 100_000)
	if got, whole := pretty([]byte(deep), 4096); whole || len(got) > 5000 {
		t.Errorf("what is nested deeply is %d bytes, whole %v", len(got), whole)
	}
}

func FuzzPretty(f *testing.F) {
	f.Add([]byte(`{"a":[1,2,{}],"b":"\"\\ \u202e"}`))
	f.Add([]byte(`[[[[]]],"`))
	f.Add([]byte("]}\xff\","))
	f.Fuzz(func(t *testing.T, body []byte) {
		const limit = 2000
		text, whole := pretty(body, limit)
		if !utf8.ValidString(text) || len(text) > limit+200 {
			t.Errorf("%d bytes of %q", len(text), text)
		}
		if !whole || !json.Valid(body) || !utf8.Valid(body) {
			return
		}
		if before, after := value(t, body), value(t, []byte(text)); !reflect.DeepEqual(before, after) {
			t.Errorf("%q has become %q", body, text)
		}
	})
}

func value(t *testing.T, text []byte) (v any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}
