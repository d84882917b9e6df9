package eventauth

import "encoding/json"

// members are the members of a JSON object, or nil if it is none. Names are
// compared byte by byte: the fields of a struct would also be filled from
// names in another case, and authorization must not be fooled by those.
func members(object []byte) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(object, &m) != nil {
		return nil
	}
	return m
}

// elements are the elements of a JSON array; ok is false if it is none.
func elements(array []byte) (items []json.RawMessage, ok bool) {
	ok = json.Unmarshal(array, &items) == nil && items != nil
	return items, ok
}

// text is a JSON string; ok is false if it is none.
func text(raw []byte) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}
