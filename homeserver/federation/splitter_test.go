package federation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// split takes an object apart: "one" as a value, "many" element by element.
func split(from io.Reader) (one string, many []string, seen map[string]bool, err error) {
	s := newSplitter(from)
	seen, err = s.object(map[string]taker{
		"one": {most: 100, take: func(raw []byte) error {
			one = string(raw)
			if raw == nil {
				one = "more"
			}
			return nil
		}},
		"many": {most: 100, each: true, take: func(raw []byte) error {
			text := string(raw)
			if raw == nil {
				text = "more"
			}
			many = append(many, text)
			return nil
		}},
	})
	if err == nil {
		err = s.end()
	}
	return one, many, seen, err
}

func TestSplitter(t *testing.T) {
	long := `"` + strings.Repeat("x", 99) + `"`
	for raw, want := range map[string]string{
		`{}`:           ` []`,
		" {\n\t} \r\n": ` []`,
		`{"one":{"a":["}",{"\"":"\\"}]},"x":[],"many":[ 1 , "a,b" ,[[]],{},null,true,-1.5e3]}`: `{"a":["}",{"\"":"\\"}]} [1 "a,b" [[]] {} null true -1.5e3]`,
		`{"many":null}`: ` []`,
		`{"many":[]}`:   ` []`,
		`{"\u006fne":1,"` + strings.Repeat("y", 1000) + `":{"one":2},"z":` + long + `}`:                        `1 []`,
		`{"one":` + long + `,"many":[` + long + `,[` + strings.Repeat("1,", 100000) + `1],1]}`:                 `more [more more 1]`,
		`{"other":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `,"one":"\\","many":["\""]}`: `"\\" ["\""]`,
	} {
		for name, from := range map[string]io.Reader{"at once": strings.NewReader(raw), "byte by byte": iotest.OneByteReader(strings.NewReader(raw)), "with its end": iotest.DataErrReader(strings.NewReader(raw))} {
			one, many, _, err := split(from)
			if got := fmt.Sprint(one, " ", many); err != nil || got != want {
				t.Errorf("%.60s %s: %s %v, not %s", raw, name, got, err, want)
			}
		}
	}
	for _, raw := range []string{
		``, ` `, `[]`, `null`, `{`, `{"one"`, `{"one":`, `{"one":1`, `{"one":1,`, `{"one":1,}`, `{,}`, `{"one" 1}`, `{one:1}`, `{"one":1 "two":2}`, `{"one":}`,
		`{"one":1}{}`, `{"one":1}x`, `{"one":1,"one":1}`, `{"one":1,"\u006fne":1}`, `{"many":[],"many":[]}`, `{"many":{}}`, `{"many":1}`, `{"many":nul}`, `{"many":nothing}`,
		`{"many":[1 2]}`, `{"many":[1,]}`, `{"many":[,1]}`, `{"many":[1`, `{"many":["a]}`, `{"many":[1}]`, `{"\u":1}`, `{"one":]}`,
	} {
		if one, many, _, err := split(strings.NewReader(raw)); err == nil {
			t.Errorf("%s: %s %s", raw, one, many)
		}
	}
	broken := errors.New("broken")
	if _, _, _, err := split(io.MultiReader(strings.NewReader(`{"one":`), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("what cannot be read: %v", err)
	}
	if _, _, _, err := split(io.MultiReader(strings.NewReader(`{"one":1}`), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("what cannot be read to its end: %v", err)
	}
	for n := range 5 {
		body := &limited{from: strings.NewReader(`{ }  `), left: int64(n)}
		if _, _, _, err := split(body); !errors.Is(err, errEndless) || body.err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, _, _, err := split(&limited{from: strings.NewReader(`{ }  `), left: 5}); err != nil {
		t.Errorf("no more than there may be: %v", err)
	}
}

// FuzzSplitter takes JSON apart as the standard library does, however it comes.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte(`{"one":{"a":["}",{"\"":"\\"}]},"x":[],"many":[ 1 , "a,b" ,[[]],{},null,true,-1.5e3]}`))
	f.Add([]byte(`{"many":null,"on\u0065":"\\"}`))
	f.Add([]byte(`{"one":1,"one":2}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		one, many, seen, err := split(bytes.NewReader(raw))
		one2, many2, seen2, err2 := split(iotest.OneByteReader(bytes.NewReader(raw)))
		if one != one2 || !slices.Equal(many, many2) || !maps.Equal(seen, seen2) || (err == nil) != (err2 == nil) {
			t.Errorf("at once %q %q %v, byte by byte %q %q %v", one, many, err, one2, many2, err2)
		}
		var members map[string]json.RawMessage
		if !json.Valid(raw) || json.Unmarshal(raw, &members) != nil || members == nil {
			return
		}
		var elements []json.RawMessage
		if manyErr := json.Unmarshal(members["many"], &elements); members["many"] != nil && manyErr != nil {
			if err == nil {
				t.Errorf("many is no array, and is taken for one")
			}
			return
		}
		if err != nil {
			// Twice what the standard library takes once.
			if !strings.Contains(err.Error(), "twice") {
				t.Errorf("it is JSON: %v", err)
			}
			return
		}
		clip := func(raw json.RawMessage) string {
			if len(raw) > 100 {
				return "more"
			}
			return string(raw)
		}
		if clip(members["one"]) != one || len(elements) != len(many) {
			t.Errorf("%s and %s, not %s", one, many, members)
		}
		for i, element := range elements {
			if clip(element) != many[i] {
				t.Errorf("%s, not %s", many[i], element)
			}
		}
	})
}
