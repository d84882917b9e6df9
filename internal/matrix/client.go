package matrix

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"trestle/internal/matrix/roomversion"
)

// ClientOptions are what a client sees of an event beside the event itself.
type ClientOptions struct {
	Age             *int64 // milliseconds since the event was sent
	TransactionID   string // only for the device that sent it
	DelayID         string // only for the sender: of the delayed event that this was (MSC4140)
	Membership      string // of the reader, at the event
	PrevContent     json.RawMessage
	PrevSender      UserID
	ReplacesState   EventID
	RedactedBecause json.RawMessage // the redaction in client format

	// Unsigned holds further members of unsigned, such as m.relations.
	Unsigned map[string]json.RawMessage

	// NoRoomID leaves out the room ID, as /sync does.
	NoRoomID bool
	// Federation keeps everything that servers exchange (event_format of filters).
	// event_id and unsigned stand beside it in all room versions.
	Federation bool
}

// AppendClient appends the event as the Client-Server API has it
// (§ Room event format), or as servers have it.
func (e *Event) AppendClient(dst []byte, o ClientOptions) []byte {
	if o.Federation {
		return e.appendFederation(dst, o)
	}
	dst = e.appendClientContent(append(dst, `{"content":`...))
	dst = appendString(append(dst, `,"event_id":`...), e.ID)
	dst = strconv.AppendInt(append(dst, `,"origin_server_ts":`...), e.OriginServerTS, 10)
	if e.Redacts != "" {
		dst = appendString(append(dst, `,"redacts":`...), e.Redacts)
	}
	if !o.NoRoomID {
		dst = appendString(append(dst, `,"room_id":`...), e.RoomID)
	}
	dst = appendString(append(dst, `,"sender":`...), e.Sender)
	if e.StateKey != nil {
		dst = appendString(append(dst, `,"state_key":`...), *e.StateKey)
	}
	dst = appendString(append(dst, `,"type":`...), e.Type)
	dst = append(dst, `,"unsigned":`...)
	return append(o.appendUnsigned(dst), '}')
}

func (e *Event) appendFederation(dst []byte, o ClientOptions) []byte {
	dst = append(dst, e.raw[:len(e.raw)-1]...)
	if e.Version.EventIDFormat != roomversion.EventIDInEvent {
		dst = appendString(append(dst, `,"event_id":`...), e.ID)
	}
	dst = append(dst, `,"unsigned":`...)
	return append(o.appendUnsigned(dst), '}')
}

// appendClientContent puts what a redaction redacts into content as well,
// where versions before 11 don't have it: newer clients look there.
func (e *Event) appendClientContent(dst []byte) []byte {
	if e.Redacts == "" || e.Version.RedactsInContent {
		return append(dst, e.Content...)
	}
	target := append([]byte(`"redacts":`), appendString(nil, e.Redacts)...)
	return append(dst, withMember(appendWithout(nil, e.Content, "redacts"), target)...)
}

func (o *ClientOptions) appendUnsigned(dst []byte) []byte {
	dst = append(dst, '{')
	start := len(dst)
	if o.Age != nil {
		dst = strconv.AppendInt(appendKey(dst, start, "age"), *o.Age, 10)
	}
	dst = appendText(dst, start, "delay_id", o.DelayID)
	dst = appendText(dst, start, "membership", o.Membership)
	dst = appendText(dst, start, "org.matrix.msc4140.delay_id", o.DelayID)
	dst = appendJSON(dst, start, "prev_content", o.PrevContent)
	dst = appendText(dst, start, "prev_sender", o.PrevSender)
	dst = appendJSON(dst, start, "redacted_because", o.RedactedBecause)
	dst = appendText(dst, start, "replaces_state", o.ReplacesState)
	dst = appendText(dst, start, "transaction_id", o.TransactionID)
	if len(o.Unsigned) > 0 {
		for _, key := range slices.Sorted(maps.Keys(o.Unsigned)) {
			dst = appendJSON(dst, start, quoted(key), o.Unsigned[key])
		}
	}
	return append(dst, '}')
}

// appendText appends a member with a string, unless it is empty.
func appendText[T ~string](dst []byte, start int, key string, s T) []byte {
	if s == "" {
		return dst
	}
	return appendString(appendKey(dst, start, key), s)
}

// appendJSON appends a member with a JSON value, unless there is none.
func appendJSON(dst []byte, start int, key string, value json.RawMessage) []byte {
	if value == nil {
		return dst
	}
	return append(appendKey(dst, start, key), value...)
}

// StrippedState is the event as those see it who are not in the room
// (Client-Server API § Stripped state).
func (e *Event) StrippedState() json.RawMessage {
	dst := append(make([]byte, 0, len(e.Content)+128), `{"content":`...)
	dst = append(dst, e.Content...)
	dst = appendString(append(dst, `,"sender":`...), e.Sender)
	if e.StateKey != nil {
		dst = appendString(append(dst, `,"state_key":`...), *e.StateKey)
	}
	return append(appendString(append(dst, `,"type":`...), e.Type), '}')
}
