package matrix_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"trestle/internal/matrix"
)

// FuzzCanonicalJSON holds the one pass against a slow and plain reference.
func FuzzCanonicalJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `{"b":1,"a":{"d":[1,2,{"z":null,"y":true}],"c":"\u00e9\ud83d\ude00"}}`, `{"a":1,"a":2}`, `"\ud800"`,
		`{"\"":1,"\\":2,"]":3,"\u0000":4}`, `-0`, `1.0`, `1e3`, `9007199254740992`, "\"\xff\"", `[[[[]]]]`, ` {"x" : [ ] } `,
		`{"😀":1,"\uffff":2,"éééééééééééé":3,"1234567\"":"12345678\n"}`, kilobyte,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := matrix.CanonicalJSON(in)
		want, wantErr := slowCanonical(in)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("CanonicalJSON(%q)\n  = %s, %v\nwant %s, %v", in, got, err, want, wantErr)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("CanonicalJSON(%q)\n  = %s\nwant %s", in, got, want)
		}
		if again, err := matrix.CanonicalJSON(got); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("CanonicalJSON(%s) = %s, %v", got, again, err)
		}
	})
}

// slowCanonical decodes to a tree with encoding/json and writes it sorted.
func slowCanonical(in []byte) ([]byte, error) {
	if !utf8.Valid(in) || !json.Valid(in) {
		return nil, fmt.Errorf("not JSON")
	}
	if hasLoneSurrogate(in) {
		return nil, fmt.Errorf("lone surrogate")
	}
	d := json.NewDecoder(bytes.NewReader(in))
	d.UseNumber()
	return slowValue(d, 0)
}

var escapes = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)

func hasLoneSurrogate(in []byte) bool {
	high := -1 // where the text behind a high surrogate begins
	for _, at := range escapes.FindAllSubmatchIndex(in, -1) {
		unit := int64(0)
		if in[at[2]] == 'u' {
			unit, _ = strconv.ParseInt(string(in[at[2]+1:at[3]]), 16, 32)
		}
		isLow := 0xdc00 <= unit && unit < 0xe000
		if high >= 0 && (at[0] != high || !isLow) || high < 0 && isLow {
			return true
		}
		high = -1
		if 0xd800 <= unit && unit < 0xdc00 {
			high = at[1]
		}
	}
	return high >= 0
}

var integers = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

func slowValue(d *json.Decoder, depth int) ([]byte, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		if depth == matrix.MaxJSONDepth {
			return nil, fmt.Errorf("too deep")
		}
		if token == '[' {
			return slowArray(d, depth+1)
		}
		return slowObject(d, depth+1)
	case json.Number:
		n, err := strconv.ParseInt(token.String(), 10, 64)
		if err != nil || !integers.MatchString(token.String()) || n > 1<<53-1 || n < -(1<<53-1) {
			return nil, fmt.Errorf("number %s", token)
		}
		return []byte(token), nil
	case string:
		return []byte(slowString(token)), nil
	}
	return json.Marshal(token)
}

func slowArray(d *json.Decoder, depth int) ([]byte, error) {
	var elements [][]byte
	for d.More() {
		element, err := slowValue(d, depth)
		if err != nil {
			return nil, err
		}
		elements = append(elements, element)
	}
	_, err := d.Token()
	return slices.Concat([]byte("["), bytes.Join(elements, []byte(",")), []byte("]")), err
}

func slowObject(d *json.Decoder, depth int) ([]byte, error) {
	members := map[string][]byte{}
	var keys []string
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		if members[key.(string)] != nil {
			return nil, fmt.Errorf("key %s twice", key)
		}
		keys = append(keys, key.(string))
		if members[key.(string)], err = slowValue(d, depth); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return slices.Compare([]rune(a), []rune(b)) })
	var texts []string
	for _, key := range keys {
		texts = append(texts, slowString(key)+":"+string(members[key]))
	}
	_, err := d.Token()
	return []byte("{" + strings.Join(texts, ",") + "}"), err
}

func slowString(s string) string {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	text := `"`
	for _, r := range s {
		if escape, ok := short[r]; ok {
			text += escape
		} else if r < 0x20 {
			text += fmt.Sprintf(`\u%04x`, r)
		} else {
			text += string(r)
		}
	}
	return text + `"`
}
