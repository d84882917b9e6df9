package push

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// A condition reports whether it holds for an event and a reader.
type condition func(*Event, *Reader) bool

func never(*Event, *Reader) bool { return false }

// unsaid holds for events that do not say whom they mention.
func unsaid(e *Event, _ *Reader) bool { return !e.mentions }

// compileCondition reads one condition of a rule. Those of kinds that are
// unknown, or that lack what they need, never match.
func compileCondition(raw json.RawMessage) (c condition, needsName bool) {
	var fields struct {
		Kind    string          `json:"kind"`
		Key     string          `json:"key"`
		Pattern *string         `json:"pattern"`
		Is      string          `json:"is"`
		Value   json.RawMessage `json:"value"`

		Subscribed *bool `json:"subscribed"`
	}
	if json.Unmarshal(raw, &fields) != nil {
		return never, false
	}
	switch fields.Kind {
	case "event_match":
		if fields.Pattern != nil {
			return eventMatch(fields.Key, *fields.Pattern), false
		}
	case "event_property_is":
		return propertyIs(fields.Key, fields.Value), false
	case "event_property_contains":
		return propertyContains(fields.Key, fields.Value), false
	case "room_member_count":
		return memberCount(fields.Is), false
	case "contains_display_name":
		return containsName, true
	case "thread_subscription", "io.element.msc4306.thread_subscription":
		if want := fields.Subscribed; want != nil {
			return func(e *Event, r *Reader) bool { return e.Subscribed != nil && e.Subscribed(r.User) == *want }, true
		}
	case "sender_notification_permission":
		return func(e *Event, _ *Reader) bool { return e.mayNotify(fields.Key) }, false
	}
	return never, false
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

func propertyContains(key string, raw json.RawMessage) condition {
	want, ok := compileValue(raw)
	if !ok {
		return never
	}
	path := splitPath(key)
	return func(e *Event, r *Reader) bool {
		value, _ := e.property(path, r)
		list, _ := value.([]any)
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

// containsName looks for the reader's name itself: what is in it is no pattern.
func containsName(e *Event, r *Reader) bool {
	if r.Name == nil {
		return false
	}
	body := e.text("content.body", []string{"content", "body"}, r)
	return body != nil && r.Name.glob.words(body, &r.budget)
}
