package accounts

import (
	"encoding/json"
	"strings"

	"trestle/internal/matrix"
)

const (
	maxFields     = 200
	maxFieldDepth = 20
)

// Fields are the fields of events that a filter asks for. nil is all of them.
type Fields struct {
	members map[string]*Fields // nil: everything below
}

// alwaysKept is what an event is no event without: a server may send more than
// was asked for, and clients' libraries expect these.
var alwaysKept = []string{"event_id", "type", "sender", "origin_server_ts", "state_key", "room_id"}

// ParseFields reads event_fields: paths with dots between the names, in which a
// backslash takes a dot or a backslash literally. M_INVALID_PARAM for too many.
func ParseFields(paths []string) (*Fields, error) {
	if paths == nil {
		return nil, nil
	}
	if len(paths) > maxFields {
		return nil, matrix.InvalidParam("event_fields has at most %d fields.", maxFields)
	}
	f := &Fields{members: map[string]*Fields{"content": {members: map[string]*Fields{}}}}
	for _, path := range append(paths, alwaysKept...) {
		names := splitPath(path)
		if len(names) > maxFieldDepth {
			return nil, matrix.InvalidParam("A field in event_fields is at most %d names deep.", maxFieldDepth)
		}
		f.add(names)
	}
	return f, nil
}

func splitPath(path string) []string {
	var names []string
	var name strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			name.WriteByte(path[i])
		case c == '.':
			names = append(names, name.String())
			name.Reset()
		default:
			name.WriteByte(c)
		}
	}
	return append(names, name.String())
}

func (f *Fields) add(names []string) {
	for i, name := range names {
		if f.members == nil {
			return // all of it is wanted already
		}
		next := f.members[name]
		if next == nil {
			next = &Fields{members: map[string]*Fields{}}
			f.members[name] = next
		}
		if i == len(names)-1 {
			next.members = nil
		}
		f = next
	}
}

// Pick is an event with the fields that are wanted.
func (f *Fields) Pick(event json.RawMessage) (json.RawMessage, error) {
	if f == nil || f.members == nil {
		return event, nil
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(event, &object) != nil {
		return nil, nil // nothing that has fields
	}
	kept := map[string]json.RawMessage{}
	for name, below := range f.members {
		value, ok := object[name]
		if !ok {
			continue
		}
		picked, err := below.Pick(value)
		if err != nil {
			return nil, err
		}
		if picked != nil {
			kept[name] = picked
		}
	}
	return json.Marshal(kept)
}
