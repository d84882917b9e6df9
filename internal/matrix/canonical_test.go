package matrix_test

import (
	"encoding/json"
	"strings"
	"testing"

	"trestle/internal/matrix"
)

func TestCanonicalJSON(t *testing.T) {
	tests := []struct{ name, in, want string }{
		// Appendices § Canonical JSON, Examples.
		{"empty", `{}`, `{}`},
		{"white space", "{\n    \"one\": 1,\n    \"two\": \"Two\"\n}", `{"one":1,"two":"Two"}`},
		{"order", `{"b": "2", "a": "1"}`, `{"a":"1","b":"2"}`},
		{"nested", `{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe", "three_pids": [
			{"medium": "email", "address": "john.doe@example.org"}, {"medium": "msisdn", "address": "123456789"}]}}}`,
			`{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}`},
		{"text outside ASCII", `{"a": "日本語"}`, `{"a":"日本語"}`},
		{"keys outside ASCII", `{"本": 2, "日": 1}`, `{"日":1,"本":2}`},
		{"needless escape", `{"a": "\u65E5"}`, `{"a":"日"}`},
		{"null", `{"a": null}`, `{"a":null}`},

		{"scalars", ` [true , false,null,"", 0] `, `[true,false,null,"",0]`},
		{"a string alone", "\t\"x\"\r\n", `"x"`},
		{"largest integers", `[9007199254740991,-9007199254740991]`, `[9007199254740991,-9007199254740991]`},
		{"short escapes", `"\u0022\u005c\u002f\u0008\u000c\u000a\u000d\u0009\/"`, `"\"\\/\b\f\n\r\t/"`},
		{"control characters", `"\u0000\u0001\u000B\u001F\u007f"`, "\"\\u0000\\u0001\\u000b\\u001f\x7f\""},
		{"surrogate pair", `"\ud83d\uDE00"`, `"😀"`},
		{"replacement character", `"\ufffd` + "\ufffd" + `"`, "\"\ufffd\ufffd\""},
		{"line separators", `"\u2028\u2029"`, "\"\u2028\u2029\""},
		{"no HTML escapes", `"<a href=\"x\">&\u003c"`, `"<a href=\"x\">&<"`},
		{"order by code point, not by UTF-16", `{"\ud83d\ude00":1,"\uffff":2}`, "{\"\uffff\":2,\"😀\":1}"},
		{"order by text, not by escape", `{"]":1,"\\":2,"[":3,"\"":4,"!":5,"#":6}`, `{"!":5,"\"":4,"#":6,"[":3,"\\":2,"]":1}`},
		{"control characters as keys", `{"a":1,"\n":2,"\u0000":3,"\t":4}`, `{"\u0000":3,"\t":4,"\n":2,"a":1}`},
		{"prefix before longer key", `{"ab":1,"a":2,"":3}`, `{"":3,"a":2,"ab":1}`},
		{"objects within reordered objects", `{"z":{"b":[{"d":1,"c":2}],"a":{}},"a":{"y":{},"x":[]}}`, `{"a":{"x":[],"y":{}},"z":{"a":{},"b":[{"c":2,"d":1}]}}`},
		{"same key in different objects", `{"a":{"a":1},"b":{"a":1}}`, `{"a":{"a":1},"b":{"a":1}}`},
		{"deep", strings.Repeat("[", matrix.MaxJSONDepth) + strings.Repeat("]", matrix.MaxJSONDepth),
			strings.Repeat("[", matrix.MaxJSONDepth) + strings.Repeat("]", matrix.MaxJSONDepth)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := matrix.CanonicalJSON([]byte(test.in))
			if err != nil || string(got) != test.want {
				t.Errorf("CanonicalJSON(%s)\n  = %s, %v\nwant %s", test.in, got, err, test.want)
			}
			again, err := matrix.CanonicalJSON(got)
			if err != nil || string(again) != test.want {
				t.Errorf("CanonicalJSON(%s) = %s, %v", got, again, err)
			}
		})
	}
}

func TestCanonicalJSONRefuses(t *testing.T) {
	const notJSON, badJSON = "M_NOT_JSON", "M_BAD_JSON"
	tests := []struct{ in, code string }{
		{``, notJSON}, {` `, notJSON}, {`{`, notJSON}, {`[`, notJSON}, {`"`, notJSON}, {`}`, notJSON},
		{`{"a"}`, notJSON}, {`{"a":}`, notJSON}, {`{"a":1,}`, notJSON}, {`{,}`, notJSON}, {`{a:1}`, notJSON}, {`{1:1}`, notJSON},
		{`[1,]`, notJSON}, {`[,1]`, notJSON}, {`[1 2]`, notJSON}, {`[1}`, notJSON}, {`{"a":1]`, notJSON},
		{`{} {}`, notJSON}, {`{}x`, notJSON}, {"{}\x00", notJSON}, {"\ufeff{}", notJSON}, {"{}\v", notJSON},
		{`tru`, notJSON}, {`nul`, notJSON}, {`True`, notJSON}, {`NaN`, notJSON}, {`Infinity`, notJSON}, {`'a'`, notJSON},
		{`"a`, notJSON}, {`"\`, notJSON}, {`"\x41"`, notJSON}, {`"\u12"`, notJSON}, {`"\u12g4"`, notJSON}, {`"\U0041"`, notJSON},
		{"\"\n\"", notJSON}, {"\"\x00\"", notJSON}, {"\"\x1f\"", notJSON}, {"\"12345678\x1f\"", notJSON},
		{"\"\xff\"", notJSON}, {"\"\xc3\"", notJSON}, {"\"1234567\xc3\"", notJSON}, {"\"\xed\xa0\x80\"", notJSON}, {"\"\xc0\x80\"", notJSON}, {"{\"\xff\":1}", notJSON},
		{`-`, notJSON}, {`+1`, notJSON}, {`01`, notJSON}, {`-01`, notJSON}, {`00`, notJSON}, {`1.`, notJSON}, {`.5`, notJSON}, {`1e`, notJSON}, {`1e+`, notJSON}, {`0x1`, notJSON}, {`1.e3`, notJSON},
		{`-0`, badJSON}, {`1.0`, badJSON}, {`0.5`, badJSON}, {`1e3`, badJSON}, {`1E3`, badJSON}, {`-0.0`, badJSON}, {`0e0`, badJSON}, {`1.5e-7`, badJSON},
		{`9007199254740992`, badJSON}, {`-9007199254740992`, badJSON}, {`10000000000000000`, badJSON}, {`99999999999999999999999999`, badJSON},
		{`"\ud800"`, badJSON}, {`"\udc00"`, badJSON}, {`"\ud800\ud800"`, badJSON}, {`"\ud800x"`, badJSON}, {`"\udc00\ud800"`, badJSON},
		{`{"a":1,"a":2}`, badJSON}, {`{"a":1,"b":2,"\u0061":3}`, badJSON}, {`{"b":1,"a":2,"b":3}`, badJSON}, {`[{"x":{"\n":1,"\u000a":1}}]`, badJSON},
		{strings.Repeat("[", matrix.MaxJSONDepth+1) + strings.Repeat("]", matrix.MaxJSONDepth+1), badJSON},
		{strings.Repeat(`{"a":`, 100_000), badJSON},
	}
	for _, test := range tests {
		got, err := matrix.CanonicalJSON([]byte(test.in))
		if matrix.Code(err) != test.code {
			t.Errorf("CanonicalJSON(%.80q) = %.80s, %v; want %s", test.in, got, err, test.code)
		}
	}
}

func TestAppendCanonicalJSON(t *testing.T) {
	got, err := matrix.AppendCanonicalJSON([]byte("before "), []byte(`{"b":{"d":1,"c":2},"a":3}`))
	if want := `before {"a":3,"b":{"c":2,"d":1}}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	got, err = matrix.AppendCanonicalJSON([]byte("before "), []byte(`{"b":1.5}`))
	if err == nil || string(got) != "before " {
		t.Errorf("an error left %s, %v", got, err)
	}
}

func TestMarshalCanonical(t *testing.T) {
	got, err := matrix.MarshalCanonical(map[string]any{"b": "<é>", "a": []int{1, -2}, "c": json.RawMessage(`{"y":1,"x":2}`)})
	if want := `{"a":[1,-2],"b":"<é>","c":{"x":2,"y":1}}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	if _, err := matrix.MarshalCanonical(0.5); matrix.Code(err) != "M_BAD_JSON" {
		t.Errorf("a float: %v", err)
	}
	if _, err := matrix.MarshalCanonical(func() {}); err == nil {
		t.Error("a function was marshalled")
	}
}

func TestCanonicalJSONIsSafeForConcurrentUse(t *testing.T) {
	done := make(chan bool)
	for range 4 {
		go func() {
			ok := true
			for range 500 {
				got, err := matrix.CanonicalJSON([]byte(`{"c":[{"z":1,"y":2}],"b":"\u0041","a":0}`))
				ok = ok && err == nil && string(got) == `{"a":0,"b":"A","c":[{"y":2,"z":1}]}`
			}
			done <- ok
		}()
	}
	for range 4 {
		if !<-done {
			t.Error("goroutines disturb each other")
		}
	}
}
