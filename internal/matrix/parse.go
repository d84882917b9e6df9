package matrix

import (
	"strings"
	"unicode/utf8"

	"trestle/internal/matrix/roomversion"
)

const (
	// MaxEventSize is the most bytes of an event as canonical JSON in the
	// federation format, signatures included (Client-Server API § Size limits).
	MaxEventSize = 65536

	// MaxPrevEvents is how many events one event may come right after.
	MaxPrevEvents = 20
	maxAuthEvents = 10
)

// ParseEvent makes an event of JSON that another server sent: it brings it
// into canonical form, checks the format of the room version and the size
// limits, and computes the event's ID. It checks neither the content hash
// nor signatures. Members that aren't part of the signed event, unsigned and,
// from version 3 on, event_id, are left out.
func ParseEvent(v *roomversion.Version, raw []byte) (*Event, error) {
	e, err := ParseHistoricEvent(v, raw)
	if err != nil {
		return nil, err
	}
	if len(e.PrevEvents) > MaxPrevEvents || len(e.AuthEvents) > maxAuthEvents {
		return nil, BadJSON("The event refers to more than %d previous or %d authorizing events.", MaxPrevEvents, maxAuthEvents)
	}
	return e, nil
}

// ParseHistoricEvent is [ParseEvent] for events of former days, which refer to
// any number of others: the answer to /backfill must not be held to today's
// limits (Server-Server API § Backfilling and retrieving missing events).
func ParseHistoricEvent(v *roomversion.Version, raw []byte) (*Event, error) {
	canonical, err := appendCanonical(make([]byte, 0, len(raw)), raw, v.StrictJSON)
	if err != nil {
		return nil, err
	}
	if !isObject(canonical) {
		return nil, BadJSON("The event is not a JSON object.")
	}
	e := &Event{Version: v, raw: withoutTransient(v, canonical)}
	if len(e.raw) > MaxEventSize {
		return nil, TooLarge("The event has %d bytes, more than the %d allowed.", len(e.raw), MaxEventSize)
	}
	seen, err := e.read()
	if err != nil {
		return nil, err
	}
	if v.EventIDFormat != roomversion.EventIDInEvent {
		e.ID = hashedEventID(v, e.ReferenceHash())
	}
	e.derive()
	if err := e.checkFormat(seen); err != nil {
		return nil, err
	}
	return e, nil
}

// withoutTransient leaves out what isn't part of the signed event.
func withoutTransient(v *roomversion.Version, canonical []byte) []byte {
	if v.EventIDFormat == roomversion.EventIDInEvent {
		return appendWithout(nil, canonical, "unsigned")
	}
	return appendWithout(nil, canonical, "event_id", "unsigned")
}

// checkFormat checks what the format of the room version demands: members,
// lengths, ranges and the grammar of IDs.
func (e *Event) checkFormat(seen memberSet) error {
	required := hasAuthEvents | hasContent | hasDepth | hasHashes | hasOriginServerTS | hasPrevEvents |
		hasSender | hasSignatures | hasType
	if e.Version.EventIDFormat == roomversion.EventIDInEvent {
		required |= hasEventID
	}
	if seen&required != required {
		return BadJSON("The event lacks a member that every event must have.")
	}
	lengths := checkLengths
	if e.Version.LaxLengths {
		lengths = checkCharacters
	}
	if err := lengths(e.Type, e.StateKey); err != nil {
		return err
	}
	if len(e.Sender) > MaxIDLength || len(e.RoomID) > MaxIDLength || len(e.ID) > MaxIDLength {
		return TooLarge("The event has an identifier of more than %d bytes.", MaxIDLength)
	}
	if _, err := ParseUserID(string(e.Sender)); err != nil {
		return BadJSON("The event's sender is not a user ID: %v.", err)
	}
	if _, err := ParseEventID(string(e.ID)); err != nil {
		return BadJSON("The event's event_id is not an event ID: %v.", err)
	}
	if e.Depth < 0 {
		return BadJSON("The event has a negative depth.")
	}
	for _, references := range [][]EventID{e.PrevEvents, e.AuthEvents} {
		for _, id := range references {
			if _, err := ParseEventID(string(id)); err != nil {
				return BadJSON("The event refers to what is no event: %v.", err)
			}
		}
	}
	return e.checkRoomID(seen)
}

func (e *Event) checkRoomID(seen memberSet) error {
	if e.Version.RoomIDFromCreate && e.Is("m.room.create", "") {
		if seen&hasRoomID != 0 {
			return BadJSON("The create event has a room_id, but in its room version it must not.")
		}
		return nil
	}
	id, err := ParseRoomID(string(e.RoomID))
	if err != nil {
		return BadJSON("The event's room_id is not a room ID: %v.", err)
	}
	if !e.Version.RoomIDFromCreate && id.Server() == "" {
		return BadJSON("The event's room_id %.80q has no server name, but in its room version it must.", id)
	}
	return nil
}

// checkLengths checks the type and the state key. NUL is refused although
// the specification is silent: databases can't hold it in text, and no
// server's events have it.
func checkLengths(typ string, stateKey *string) error {
	if err := checkLength("event type", typ); err != nil || stateKey == nil {
		return err
	}
	return checkLength("state key", *stateKey)
}

// checkCharacters is [checkLengths] where lengths are counted in characters.
func checkCharacters(typ string, stateKey *string) error {
	texts := []string{typ}
	if stateKey != nil {
		texts = append(texts, *stateKey)
	}
	for _, s := range texts {
		if utf8.RuneCountInString(s) > MaxIDLength {
			return TooLarge("The event's type or state key has more than %d characters.", MaxIDLength)
		}
		if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
			return BadJSON("The event's type or state key has characters that are not allowed.")
		}
	}
	return nil
}

func checkLength(name, s string) error {
	if len(s) > MaxIDLength {
		return TooLarge("The %s has more than %d bytes.", name, MaxIDLength)
	}
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return BadJSON("The %s has characters that are not allowed.", name)
	}
	return nil
}
