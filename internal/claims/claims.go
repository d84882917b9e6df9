// Package claims reads what an identity provider says about somebody, and
// makes texts of it by templates.
package claims

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode"
)

// Claims are the members of an ID token or of an answer about a user.
type Claims map[string]any

// ErrMalformed is what is no object of claims.
var ErrMalformed = errors.New("the claims are no JSON object")

// Read reads an object. Numbers stay as they were written.
func Read(raw []byte) (Claims, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var c Claims
	if decoder.Decode(&c) != nil || c == nil {
		return nil, ErrMalformed
	}
	return c, nil
}

// find is a claim of a name; where there is none of that very name, its dots
// lead into objects.
func (c Claims) find(name string) any {
	if value, ok := c[name]; ok {
		return value
	}
	var value any = map[string]any(c)
	for step := range strings.SplitSeq(name, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[step]
	}
	return value
}

// maxText bounds what is made of a claim, in bytes.
const maxText = 1000

// Text is a claim that is a text or a number, without what nobody sees; empty
// for any other.
func (c Claims) Text(name string) string {
	text, _ := asText(c.find(name))
	return clean(text)
}

func asText(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case json.Number:
		return value.String(), true
	case bool:
		if value {
			return "true", true
		}
		return "false", true
	}
	return "", false
}

func clean(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	text = strings.ToValidUTF8(text, "")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r != '\u200d' {
			return -1
		}
		return r
	}, text)
	return strings.TrimSpace(text)
}

// True reports whether a claim is true; some providers put it as text.
func (c Claims) True(name string) bool {
	text, _ := asText(c.find(name))
	return text == "true"
}

// Has reports whether there is a claim of a name.
func (c Claims) Has(name string) bool { return c.find(name) != nil }

// Holds reports whether a claim is a value, or a list with the value in it.
func (c Claims) Holds(name, value string) bool {
	switch found := c.find(name).(type) {
	case []any:
		for _, item := range found {
			if text, ok := asText(item); ok && text == value {
				return true
			}
		}
		return false
	default:
		text, ok := asText(found)
		return ok && text == value
	}
}
