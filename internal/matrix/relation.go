package matrix

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// A Relation is how an event relates to another one of its room
// (Client-Server API § Forming relationships between events).
type Relation struct {
	Type   string
	Parent EventID
	// Edit says that the event has the form of an edit; whether it may edit its
	// parent shows only beside it.
	Edit bool
	// Key is that of an annotation.
	Key string
}

var relatesTo = []byte(`"m.relates_to"`)

// Relation is how the event relates to another one, or nil if it does not, or
// not in the form that it should have.
func (e *Event) Relation() *Relation {
	if !bytes.Contains(e.Content, relatesTo) {
		return nil
	}
	object := find(e.Content, "m.relates_to")
	if !isObject(object) {
		return nil
	}
	relType, _ := text(find(object, "rel_type"))
	parent, _ := text(find(object, "event_id"))
	if relType == "" || len(relType) > MaxIDLength || !storable(relType) {
		return nil
	}
	id, err := ParseEventID(parent)
	if err != nil || id == e.ID {
		return nil
	}
	r := &Relation{Type: relType, Parent: id}
	switch relType {
	case "m.replace":
		r.Edit = !e.IsState() && (e.Type == "m.room.encrypted" || isObject(find(e.Content, "m.new_content")))
	case "m.annotation":
		if r.Key, _ = text(find(object, "key")); !storable(r.Key) {
			r.Key = ""
		}
	}
	return r
}

// storable reports whether every database takes the text as it is.
func storable(s string) bool { return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) }
