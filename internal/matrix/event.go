package matrix

import (
	"encoding/json"
	"fmt"

	"trestle/internal/matrix/roomversion"
)

// An Event is an event of a room as signed, and the fields of it that a
// server reads. Events are shared and must not be changed.
type Event struct {
	Version        *roomversion.Version
	ID             EventID
	RoomID         RoomID
	Sender         UserID
	Type           string
	StateKey       *string // nil unless it is a state event
	Content        json.RawMessage
	OriginServerTS int64 // milliseconds
	Depth          int64
	PrevEvents     []EventID
	AuthEvents     []EventID
	Redacts        EventID // of m.room.redaction, wherever the version keeps it; empty if it is no event ID

	raw        []byte
	membership string
}

// JSON is the event in the federation format of its room version, canonical,
// without unsigned; from version 3 on there is no event_id in it.
func (e *Event) JSON() []byte { return e.raw }

// IsState reports whether the event has a state key.
func (e *Event) IsState() bool { return e.StateKey != nil }

// StateKeyIs reports whether it is a state event with that state key.
func (e *Event) StateKeyIs(stateKey string) bool {
	return e.StateKey != nil && *e.StateKey == stateKey
}

// Is reports whether it is a state event of that type and state key.
func (e *Event) Is(typ, stateKey string) bool {
	return e.Type == typ && e.StateKeyIs(stateKey)
}

// Membership is content.membership of m.room.member, or empty.
func (e *Event) Membership() string { return e.membership }

// LoadEvent makes an event of JSON that [Event.JSON] once gave, and keeps raw.
// It checks no more than that it can be read.
func LoadEvent(v *roomversion.Version, id EventID, raw []byte) (*Event, error) {
	e := &Event{Version: v, ID: id, raw: raw}
	if _, err := e.read(); err != nil {
		return nil, fmt.Errorf("load event %s: %w", id, err)
	}
	e.derive()
	return e, nil
}

// derive fills the fields that depend on others and on the ID.
func (e *Event) derive() {
	switch e.Type {
	case "m.room.member":
		e.membership, _ = text(find(e.Content, "membership"))
	case "m.room.create":
		if e.Version.RoomIDFromCreate && e.RoomID == "" && e.StateKeyIs("") && e.ID != "" {
			e.RoomID = RoomID("!" + e.ID[1:])
		}
	case "m.room.redaction":
		if e.Version.RedactsInContent {
			target, _ := text(find(e.Content, "redacts"))
			e.Redacts = EventID(target)
		}
		if _, err := ParseEventID(string(e.Redacts)); err == nil {
			return
		}
	}
	e.Redacts = ""
}

// A memberSet is which top-level members an event has.
type memberSet uint16

const (
	hasAuthEvents memberSet = 1 << iota
	hasContent
	hasDepth
	hasEventID
	hasHashes
	hasOriginServerTS
	hasPrevEvents
	hasRedacts
	hasRoomID
	hasSender
	hasSignatures
	hasStateKey
	hasType
	hasOther
)

// read fills the fields from raw. The error says which member has a wrong type.
func (e *Event) read() (seen memberSet, err error) {
	s := scanObject(e.raw)
	for {
		key, value, ok := s.member()
		if !ok {
			break
		}
		member, ok := e.readMember(key, value)
		if !ok {
			return 0, BadJSON("The event's %.40s has the wrong type.", key)
		}
		seen |= member
	}
	if s.err != nil {
		return 0, NotJSON("The event is not a JSON object.")
	}
	if e.Content == nil {
		e.Content = json.RawMessage("{}")
	}
	return seen, nil
}

func (e *Event) readMember(key, value []byte) (member memberSet, ok bool) {
	switch string(key) {
	case "auth_events":
		e.AuthEvents, ok = references(value, e.Version.HashedReferences)
		return hasAuthEvents, ok
	case "content":
		e.Content = value
		return hasContent, isObject(value)
	case "depth":
		e.Depth, ok = integer(value)
		return hasDepth, ok
	case "event_id":
		if e.Version.EventIDFormat != roomversion.EventIDInEvent {
			return hasOther, true
		}
		id, ok := text(value)
		e.ID = EventID(id)
		return hasEventID, ok
	case "hashes":
		return hasHashes, isObject(value)
	case "origin_server_ts":
		e.OriginServerTS, ok = integer(value)
		return hasOriginServerTS, ok
	case "prev_events":
		e.PrevEvents, ok = references(value, e.Version.HashedReferences)
		return hasPrevEvents, ok
	case "redacts":
		target, ok := text(value)
		e.Redacts = EventID(target)
		return hasRedacts, ok || e.Version.RedactsInContent
	case "room_id":
		id, ok := text(value)
		e.RoomID = RoomID(id)
		return hasRoomID, ok
	case "sender":
		id, ok := text(value)
		e.Sender = UserID(id)
		return hasSender, ok
	case "signatures":
		return hasSignatures, isObject(value)
	case "state_key":
		stateKey, ok := text(value)
		e.StateKey = &stateKey
		return hasStateKey, ok
	case "type":
		e.Type, ok = eventType(value)
		return hasType, ok
	}
	return hasOther, true
}

// references reads prev_events or auth_events: event IDs or, hashed, pairs of
// an event ID and hashes.
func references(array []byte, hashed bool) (ids []EventID, ok bool) {
	ids = make([]EventID, 0, 4)
	s := scanArray(array)
	for {
		value, more := s.element()
		if !more {
			return ids, s.err == nil
		}
		if hashed {
			pair := scanArray(value)
			value, _ = pair.element()
		}
		id, ok := text(value)
		if !ok {
			return nil, false
		}
		ids = append(ids, EventID(id))
	}
}

// eventType spares the allocation for types that come often.
func eventType(value []byte) (typ string, ok bool) {
	if typ, ok = commonTypes[string(value)]; ok {
		return typ, true
	}
	return text(value)
}

// commonTypes are event types by their JSON.
var commonTypes = func() map[string]string {
	byJSON := map[string]string{}
	for _, typ := range []string{
		"m.reaction", "m.room.avatar", "m.room.canonical_alias", "m.room.create", "m.room.encrypted",
		"m.room.encryption", "m.room.guest_access", "m.room.history_visibility", "m.room.join_rules",
		"m.room.member", "m.room.message", "m.room.name", "m.room.power_levels", "m.room.redaction",
		"m.room.topic", "m.space.child",
	} {
		byJSON[`"`+typ+`"`] = typ
	}
	return byJSON
}()
