package sliding

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A config says what to send of a room.
type config struct {
	limit    int // of the timeline
	required []required
	lazy     bool   // members are sent as the timeline needs them
	print    string // equal for configs that send the same
}

// required is one required_state. Where several hold for a room, what any of
// them wants is sent.
type required struct {
	include, exclude []element
	lazy             bool
}

// An element stands for state with a type and a key; nil is any.
type element struct {
	Type *string `json:"type"`
	Key  *string `json:"state_key"`
}

func (e element) matches(key storage.StateKey) bool {
	return (e.Type == nil || *e.Type == key.Type) && (e.Key == nil || *e.Key == key.Key)
}

// wants reports whether state with that key is to be sent. Members who are
// loaded lazily are those whom only a wildcard stands for.
func (r *required) wants(key storage.StateKey) bool {
	for _, e := range r.include {
		if !e.matches(key) || r.lazy && e.Key == nil && key.Type == "m.room.member" {
			continue
		}
		return !slices.ContainsFunc(r.exclude, func(e element) bool { return e.matches(key) })
	}
	return false
}

func (c *config) wants(key storage.StateKey) bool {
	return slices.ContainsFunc(c.required, func(r required) bool { return r.wants(key) })
}

// exact is the keys of all state that is wanted, if no wildcard is.
func (c *config) exact() (keys []storage.StateKey, ok bool) {
	seen := map[storage.StateKey]bool{}
	for _, r := range c.required {
		for _, e := range r.include {
			if e.Type == nil || e.Key == nil {
				return nil, false
			}
			key := storage.StateKey{Type: *e.Type, Key: *e.Key}
			if !seen[key] && c.wants(key) {
				seen[key] = true
				keys = append(keys, key)
			}
		}
	}
	return keys, true
}

func newConfig(limit int, all ...required) *config {
	c := &config{limit: limit, required: all}
	everybody := false
	var prints []string
	for _, r := range all {
		c.lazy = c.lazy || r.lazy
		everybody = everybody || !r.lazy && r.wants(storage.StateKey{Type: "m.room.member", Key: "@\x00"})
		prints = append(prints, r.print())
	}
	c.lazy = c.lazy && !everybody
	slices.Sort(prints)
	c.print = strings.Join(slices.Compact(prints), "\n")
	return c
}

// combined is what several configs want together.
func combined(configs []*config) *config {
	if len(configs) == 1 {
		return configs[0]
	}
	limit := 0
	var all []required
	for _, c := range configs {
		limit = max(limit, c.limit)
		all = append(all, c.required...)
	}
	return newConfig(limit, all...)
}

func (r *required) print() string {
	var all []string
	for sign, elements := range map[string][]element{"+": r.include, "-": r.exclude} {
		for _, e := range elements {
			raw, err := json.Marshal(e)
			if err != nil {
				panic(err) // texts always marshal
			}
			all = append(all, sign+string(raw))
		}
	}
	slices.Sort(all)
	return fmt.Sprint(r.lazy, slices.Compact(all))
}

// parseRequired reads a required_state: an object with include, exclude and
// lazy_members, or, as it was before, a list of pairs in which "*" is any,
// "$ME" the user and "$LAZY" asks for members as the timeline needs them.
func parseRequired(raw json.RawMessage, user matrix.UserID) (required, error) {
	var r required
	wrong := matrix.BadJSON("required_state must be an object, or a list of pairs of a type and a state key.")
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return r, nil
	case raw[0] == '[':
		var pairs [][]string
		if json.Unmarshal(raw, &pairs) != nil {
			return r, wrong
		}
		for _, pair := range pairs {
			if len(pair) != 2 {
				return r, wrong
			}
			r.addPair(pair[0], pair[1], user)
		}
	default:
		var object struct {
			Include []element `json:"include"`
			Exclude []element `json:"exclude"`
			Lazy    bool      `json:"lazy_members"`
		}
		if json.Unmarshal(raw, &object) != nil {
			return r, wrong
		}
		r = required{object.Include, object.Exclude, object.Lazy}
	}
	if len(r.include)+len(r.exclude) > maxRequired {
		return r, matrix.InvalidParam("required_state has at most %d elements.", maxRequired)
	}
	for _, e := range slices.Concat(r.include, r.exclude) {
		if e.Type != nil && len(*e.Type) > maxName || e.Key != nil && len(*e.Key) > maxName {
			return r, matrix.InvalidParam("Types and state keys have at most %d bytes.", maxName)
		}
	}
	return r, nil
}

func (r *required) addPair(typ, key string, user matrix.UserID) {
	if typ == "m.room.member" && key == "$LAZY" {
		r.lazy = true
		return
	}
	var e element
	if typ != "*" {
		e.Type = &typ
	}
	if key == "$ME" {
		key = string(user)
	}
	if key != "*" {
		e.Key = &key
	}
	r.include = append(r.include, e)
}
