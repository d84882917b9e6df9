package matrix

import (
	"slices"

	"trestle/internal/matrix/roomversion"
)

// Redact is the event with nothing left but what its room version's
// redaction algorithm keeps (Room Versions § Redactions). ID and signatures
// stay valid.
func (e *Event) Redact() (*Event, error) {
	return LoadEvent(e.Version, e.ID, appendRedacted(make([]byte, 0, len(e.raw)), e, true))
}

// appendRedacted appends the redacted event, for hashing and signing without
// its signatures. The order of the members stays, so it stays canonical.
func appendRedacted(dst []byte, e *Event, signatures bool) []byte {
	dst = append(dst, '{')
	start := len(dst)
	s := scanObject(e.raw)
	for {
		key, value, ok := s.member()
		if !ok {
			break
		}
		if !keepMember(e.Version, key) || !signatures && string(key) == "signatures" {
			continue
		}
		dst = appendKey(dst, start, key)
		if string(key) == "content" {
			dst = appendRedactedContent(dst, e.Version, e.Type, value)
		} else {
			dst = append(dst, value...)
		}
	}
	return append(dst, '}')
}

func keepMember(v *roomversion.Version, key []byte) bool {
	if string(key) == "event_id" && v.EventIDFormat != roomversion.EventIDInEvent {
		return false
	}
	return contains(v.Redaction.Members, key)
}

// appendRedactedContent appends what stays of the content of an event.
func appendRedactedContent(dst []byte, v *roomversion.Version, typ string, content []byte) []byte {
	rule, ok := v.Redaction.Content[typ]
	if !ok || !isObject(content) {
		return append(dst, "{}"...)
	}
	if rule.All {
		return append(dst, content...)
	}
	dst = append(dst, '{')
	start := len(dst)
	s := scanObject(content)
	for {
		key, value, ok := s.member()
		if !ok {
			break
		}
		if contains(rule.Keys, key) {
			dst = append(appendKey(dst, start, key), value...)
		} else if nested, ok := rule.Nested[string(key)]; ok && isObject(value) {
			dst = appendOnly(appendKey(dst, start, key), value, nested)
		}
	}
	return append(dst, '}')
}

// appendOnly appends an object reduced to some keys.
func appendOnly(dst, object []byte, keys []string) []byte {
	dst = append(dst, '{')
	start := len(dst)
	s := scanObject(object)
	for {
		key, value, ok := s.member()
		if !ok {
			return append(dst, '}')
		}
		if contains(keys, key) {
			dst = append(appendKey(dst, start, key), value...)
		}
	}
}

// appendWithout appends an object without some keys.
func appendWithout(dst, object []byte, keys ...string) []byte {
	dst = append(slices.Grow(dst, len(object)), '{')
	start := len(dst)
	s := scanObject(object)
	for {
		key, value, ok := s.member()
		if !ok {
			return append(dst, '}')
		}
		if !contains(keys, key) {
			dst = append(appendKey(dst, start, key), value...)
		}
	}
}

// appendKey appends a key, escaped already, and its colon to an object whose
// members begin at start.
func appendKey[T string | []byte](dst []byte, start int, key T) []byte {
	if len(dst) > start {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

func contains(keys []string, key []byte) bool {
	for _, k := range keys {
		if k == string(key) {
			return true
		}
	}
	return false
}
