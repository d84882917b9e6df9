package push

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"trestle/internal/matrix"
)

// An Event is an event and what its room says about it. It is made once and
// held against the rules of all members, by one goroutine at a time.
type Event struct {
	Sender matrix.UserID
	RoomID matrix.RoomID
	// Members is how many users are joined to the room.
	Members int64
	// MayNotify reports whether the sender has the power to notify in a way,
	// like "room".
	MayNotify func(key string) bool
	// Subscribed reports whether a user follows the thread that the event is
	// in; nil for events that are in none.
	Subscribed func(matrix.UserID) bool

	properties map[string]any
	texts      map[string]*text // of properties that patterns were held against
	allowed    map[string]bool  // what MayNotify said
	mentions   bool             // it says whom it mentions
	words      *text            // the body, once somebody has asked for it
	decided    map[*rule]bool   // whether rules that several lists have match
	plans      map[*list]*plan
	latest     *list // whose plan was asked for last
}

// NewEvent reads an event in the client format.
func NewEvent(raw json.RawMessage) (*Event, error) {
	e := &Event{texts: map[string]*text{}, allowed: map[string]bool{}, decided: map[*rule]bool{}, plans: map[*list]*plan{}}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&e.properties); err != nil {
		return nil, fmt.Errorf("read an event for push rules: %w", err)
	}
	sender, _ := e.properties["sender"].(string)
	room, _ := e.properties["room_id"].(string)
	content, _ := e.properties["content"].(map[string]any)
	_, e.mentions = content["m.mentions"]
	e.Sender, e.RoomID = matrix.UserID(sender), matrix.RoomID(room)
	return e, nil
}

// scalarSteps is what it costs to look at one value in a list.
const scalarSteps = 10

// property is the value at a path, and false if there is none.
func (e *Event) property(path []string, r *Reader) (value any, found bool) {
	value = e.properties
	for _, name := range path {
		if !r.budget.spend(1) {
			return nil, false
		}
		object, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, ok = object[name]; !ok {
			return nil, false
		}
	}
	return value, true
}

// text is a property that is a string, or nil.
func (e *Event) text(key string, path []string, r *Reader) *text {
	if t, ok := e.texts[key]; ok {
		return t
	}
	value, _ := e.property(path, r)
	s, ok := value.(string)
	if !ok {
		return nil
	}
	t := newText(s)
	e.texts[key] = t
	return t
}

// body is the text of a message, or nil.
func (e *Event) body(r *Reader) *text {
	if e.words == nil {
		e.words = e.text("content.body", []string{"content", "body"}, r)
	}
	return e.words
}

func (e *Event) mayNotify(key string) bool {
	if e.MayNotify == nil {
		return false
	}
	allowed, ok := e.allowed[key]
	if !ok {
		allowed = e.MayNotify(key)
		e.allowed[key] = allowed
	}
	return allowed
}

// splitPath cuts a dot-separated path into the names of properties (Appendices
// § Dot-separated property paths).
func splitPath(key string) []string {
	var path []string
	var name strings.Builder
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c == '\\' && i+1 < len(key) && (key[i+1] == '.' || key[i+1] == '\\'):
			i++
			name.WriteByte(key[i])
		case c == '.':
			path = append(path, name.String())
			name.Reset()
		default:
			name.WriteByte(c)
		}
	}
	return append(path, name.String())
}

// scalar makes a JSON value comparable: a string, boolean, nil or an integer
// that canonical JSON can have. Others are none.
func scalar(value any) (result any, ok bool) {
	switch v := value.(type) {
	case nil, string, bool:
		return v, true
	case json.Number:
		const limit = 1<<53 - 1
		n, err := strconv.ParseInt(v.String(), 10, 64)
		return n, err == nil && -limit <= n && n <= limit
	}
	return nil, false
}
