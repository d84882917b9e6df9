package push

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"trestle/internal/matrix"
)

// A condition reports whether it holds for an event and a reader.
type condition func(*Event, *Reader) bool

func never(*Event, *Reader) bool { return false }

// unsaid holds for events that do not say whom they mention.
func unsaid(e *Event, _ *Reader) bool { return !e.mentions }

// hasBody holds for events with a text that words can be looked for in.
func hasBody(e *Event, r *Reader) bool { return e.body(r) != nil }

// compileCondition reads one condition: what of it is the same for everybody, nil
// if nothing is, and what looks at the reader, nil likewise. self is the user ID
// that stands for the reader's, if one does. Conditions of kinds that are unknown,
// or that lack what they need, never match.
func compileCondition(self matrix.UserID, raw json.RawMessage) (anybody, reader condition) {
	var fields struct {
		Kind    string          `json:"kind"`
		Key     string          `json:"key"`
		Pattern *string         `json:"pattern"`
		Is      string          `json:"is"`
		Value   json.RawMessage `json:"value"`

		Subscribed *bool `json:"subscribed"`
	}
	if json.Unmarshal(raw, &fields) != nil {
		return never, nil
	}
	switch fields.Kind {
	case "event_match":
		switch {
		case fields.Pattern == nil:
		case self != "" && *fields.Pattern == string(self) && fields.Key != "content.body":
			return nil, isReader(fields.Key)
		default:
			return eventMatch(fields.Key, *fields.Pattern), nil
		}
	case "event_property_is":
		return propertyIs(fields.Key, fields.Value), nil
	case "event_property_contains":
		path := splitPath(fields.Key)
		want, ok := compileValue(fields.Value)
		switch {
		case !ok:
		case self != "" && want == any(string(self)):
			return hasList(path), containsReader(path)
		default:
			return contains(path, want), nil
		}
	case "room_member_count":
		return memberCount(fields.Is), nil
	case "contains_display_name":
		return hasBody, containsName
	case "thread_subscription", "io.element.msc4306.thread_subscription":
		if want := fields.Subscribed; want != nil {
			return func(e *Event, _ *Reader) bool { return e.Subscribed != nil },
				func(e *Event, r *Reader) bool { return e.Subscribed(r.User) == *want }
		}
	case "sender_notification_permission":
		return func(e *Event, _ *Reader) bool { return e.mayNotify(fields.Key) }, nil
	}
	return never, nil
}

func eventMatch(key, pattern string) condition {
	path, g := splitPath(key), compileGlob(pattern)
	match := g.whole
	if key == "content.body" {
		match = g.words
	}
	return func(e *Event, r *Reader) bool {
		t := e.text(key, path, r)
		return t != nil && match(t, &r.budget)
	}
}

// compileValue reads the value that a property must have.
func compileValue(raw json.RawMessage) (value any, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if len(raw) == 0 || decoder.Decode(&value) != nil {
		return nil, false
	}
	return scalar(value)
}

func propertyIs(key string, raw json.RawMessage) condition {
	want, ok := compileValue(raw)
	if !ok {
		return never
	}
	path := splitPath(key)
	return func(e *Event, r *Reader) bool {
		value, found := e.property(path, r)
		if !found {
			return false
		}
		is, ok := scalar(value)
		return ok && is == want
	}
}

// listAt is a property that is a list, or nil.
func (e *Event) listAt(path []string, r *Reader) []any {
	value, _ := e.property(path, r)
	list, _ := value.([]any)
	return list
}

func hasList(path []string) condition {
	return func(e *Event, r *Reader) bool { return len(e.listAt(path, r)) > 0 }
}

func contains(path []string, want any) condition {
	return func(e *Event, r *Reader) bool { return in(e.listAt(path, r), want, r) }
}

// containsReader looks for the reader's ID in a list.
func containsReader(path []string) condition {
	return func(e *Event, r *Reader) bool { return in(e.listAt(path, r), string(r.User), r) }
}

func in(list []any, want any, r *Reader) bool {
	for _, value := range list {
		if !r.budget.spend(scalarSteps) {
			return false
		}
		if is, ok := scalar(value); ok && is == want {
			return true
		}
	}
	return false
}

// memberCount is a decimal number with an optional comparison in front.
func memberCount(is string) condition {
	digits := strings.TrimLeft(is, "<>=")
	n, err := strconv.ParseUint(digits, 10, 62)
	if err != nil {
		return never
	}
	want := int64(n)
	switch is[:len(is)-len(digits)] {
	case "", "==":
		return func(e *Event, _ *Reader) bool { return e.Members == want }
	case "<":
		return func(e *Event, _ *Reader) bool { return e.Members < want }
	case ">":
		return func(e *Event, _ *Reader) bool { return e.Members > want }
	case "<=":
		return func(e *Event, _ *Reader) bool { return e.Members <= want }
	case ">=":
		return func(e *Event, _ *Reader) bool { return e.Members >= want }
	}
	return never
}

// isReader holds where a property is the reader's ID, as a pattern.
func isReader(key string) condition {
	path := splitPath(key)
	return func(e *Event, r *Reader) bool {
		t := e.text(key, path, r)
		return t != nil && r.self.id.whole(t, &r.budget)
	}
}

// containsLocalpart looks for the reader's localpart, as a pattern.
func containsLocalpart(e *Event, r *Reader) bool { return r.self.local.words(e.body(r), &r.budget) }

// containsName looks for the reader's name itself: what is in it is no pattern.
func containsName(e *Event, r *Reader) bool {
	return r.Name != nil && r.Name.glob.words(e.body(r), &r.budget)
}
