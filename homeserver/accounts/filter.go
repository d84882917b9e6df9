package accounts

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"trestle/internal/matrix"
)

// FederationFormat is the event_format of clients that want all that servers
// exchange of events.
const FederationFormat = "federation"

// A Filter says what /sync should contain (Client-Server API § Filtering). The
// zero Filter lets everything through.
type Filter struct {
	EventFields []string    `json:"event_fields"`
	EventFormat string      `json:"event_format"` // client, federation or empty
	Presence    EventFilter `json:"presence"`
	AccountData EventFilter `json:"account_data"`
	Room        RoomFilter  `json:"room"`
}

// A RoomFilter is the part of a [Filter] about rooms.
type RoomFilter struct {
	Rooms        []matrix.RoomID `json:"rooms"` // nil: all
	NotRooms     []matrix.RoomID `json:"not_rooms"`
	IncludeLeave bool            `json:"include_leave"`
	State        RoomEventFilter `json:"state"`
	Timeline     RoomEventFilter `json:"timeline"`
	Ephemeral    RoomEventFilter `json:"ephemeral"`
	AccountData  RoomEventFilter `json:"account_data"`
}

// An EventFilter chooses events by sender and type.
type EventFilter struct {
	Limit      *int64          `json:"limit"`
	Senders    []matrix.UserID `json:"senders"` // nil: all
	NotSenders []matrix.UserID `json:"not_senders"`
	Types      []string        `json:"types"` // nil: all; * stands for any characters
	NotTypes   []string        `json:"not_types"`
}

// A RoomEventFilter chooses events in rooms; /messages and others take it too.
type RoomEventFilter struct {
	EventFilter
	Rooms                     []matrix.RoomID `json:"rooms"` // nil: all
	NotRooms                  []matrix.RoomID `json:"not_rooms"`
	ContainsURL               *bool           `json:"contains_url"`
	LazyLoadMembers           bool            `json:"lazy_load_members"`
	IncludeRedundantMembers   bool            `json:"include_redundant_members"`
	UnreadThreadNotifications bool            `json:"unread_thread_notifications"`
	EventFields               []string        `json:"event_fields"` // beside /sync, whose filter has them at the top

	// How events relate to others, and others to them (MSC3874 and MSC3440).
	RelTypes          []string        `json:"rel_types"` // nil: all, and events without a relation
	NotRelTypes       []string        `json:"not_rel_types"`
	RelatedByRelTypes []string        `json:"related_by_rel_types"`
	RelatedBySenders  []matrix.UserID `json:"related_by_senders"`
	proposedRelations
}

// proposedRelations are the names of the same from before they were stable.
type proposedRelations struct {
	RelTypes          []string        `json:"org.matrix.msc3874.rel_types"`
	NotRelTypes       []string        `json:"org.matrix.msc3874.not_rel_types"`
	RelatedByRelTypes []string        `json:"io.element.relation_types"`
	RelatedBySenders  []matrix.UserID `json:"io.element.relation_senders"`
}

// settle moves what has a proposed name to where it belongs.
func (f *RoomEventFilter) settle() {
	p := &f.proposedRelations
	if f.RelTypes == nil {
		f.RelTypes = p.RelTypes
	}
	if f.NotRelTypes == nil {
		f.NotRelTypes = p.NotRelTypes
	}
	if f.RelatedByRelTypes == nil {
		f.RelatedByRelTypes = p.RelatedByRelTypes
	}
	if f.RelatedBySenders == nil {
		f.RelatedBySenders = p.RelatedBySenders
	}
	f.proposedRelations = proposedRelations{}
}

// ParseFilter reads and checks a filter of /sync. Members that it does not
// know are ignored; wrong types are M_BAD_JSON, wrong values M_INVALID_PARAM.
func ParseFilter(raw []byte) (*Filter, error) {
	f := new(Filter)
	if err := unmarshalFilter(raw, f); err != nil {
		return nil, err
	}
	if f.EventFormat != "" && f.EventFormat != "client" && f.EventFormat != FederationFormat {
		return nil, matrix.InvalidParam("event_format is client or federation, not %.40q.", f.EventFormat)
	}
	r := &f.Room
	for _, part := range []*RoomEventFilter{&r.State, &r.Timeline, &r.Ephemeral, &r.AccountData} {
		if err := part.check(); err != nil {
			return nil, err
		}
	}
	_, err := ParseFields(f.EventFields)
	return f, errors.Join(err, f.Presence.check(), f.AccountData.check(), checkRooms(r.Rooms, r.NotRooms))
}

// ParseRoomEventFilter reads and checks the filter parameter of /messages,
// /context and their kin.
func ParseRoomEventFilter(raw []byte) (*RoomEventFilter, error) {
	f := new(RoomEventFilter)
	if err := unmarshalFilter(raw, f); err != nil {
		return nil, err
	}
	return f, f.check()
}

func unmarshalFilter(raw []byte, into any) error {
	err := json.Unmarshal(raw, into)
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		return matrix.BadJSON("The filter's %s cannot be %s.", strings.Trim(wrongType.Field, "."), wrongType.Value)
	case err != nil:
		return matrix.NotJSON("The filter is not valid JSON.")
	case len(raw) > 0 && raw[0] != '{' && !strings.HasPrefix(strings.TrimSpace(string(raw)), "{"):
		return matrix.BadJSON("A filter must be a JSON object.")
	}
	return nil
}

func (f *EventFilter) check() error {
	if f.Limit != nil && *f.Limit < 0 {
		return matrix.InvalidParam("A filter's limit cannot be negative.")
	}
	for _, user := range slices.Concat(f.Senders, f.NotSenders) {
		if _, err := matrix.ParseUserID(string(user)); err != nil {
			return matrix.InvalidParam("The filter's senders are wrong: %v.", err)
		}
	}
	return nil
}

func (f *RoomEventFilter) check() error {
	f.settle()
	if err := f.EventFilter.check(); err != nil {
		return err
	}
	if len(f.RelatedBySenders) > maxFields || len(f.RelatedByRelTypes) > maxFields {
		return matrix.InvalidParam("related_by_senders and related_by_rel_types have at most %d entries each.", maxFields)
	}
	if _, err := ParseFields(f.EventFields); err != nil {
		return err
	}
	return checkRooms(f.Rooms, f.NotRooms)
}

func checkRooms(lists ...[]matrix.RoomID) error {
	for _, room := range slices.Concat(lists...) {
		if _, err := matrix.ParseRoomID(string(room)); err != nil {
			return matrix.InvalidParam("The filter's rooms are wrong: %v.", err)
		}
	}
	return nil
}

// Allows reports whether an event of this type and sender passes.
func (f *EventFilter) Allows(eventType string, sender matrix.UserID) bool {
	if f.Senders != nil && !slices.Contains(f.Senders, sender) || slices.Contains(f.NotSenders, sender) {
		return false
	}
	if slices.ContainsFunc(f.NotTypes, func(pattern string) bool { return matchType(pattern, eventType) }) {
		return false
	}
	return f.Types == nil || slices.ContainsFunc(f.Types, func(pattern string) bool { return matchType(pattern, eventType) })
}

// AllowsRoom reports whether events of a room can pass.
func (f *RoomEventFilter) AllowsRoom(room matrix.RoomID) bool {
	return allowsRoom(f.Rooms, f.NotRooms, room)
}

// AllowsRoom reports whether a room can be in the answer at all.
func (f *RoomFilter) AllowsRoom(room matrix.RoomID) bool {
	return allowsRoom(f.Rooms, f.NotRooms, room)
}

func allowsRoom(rooms, notRooms []matrix.RoomID, room matrix.RoomID) bool {
	return (rooms == nil || slices.Contains(rooms, room)) && !slices.Contains(notRooms, room)
}

// AllowsURL reports whether an event passes that has, or has not, a url in its
// content.
func (f *RoomEventFilter) AllowsURL(hasURL bool) bool {
	return f.ContainsURL == nil || *f.ContainsURL == hasURL
}

// AllowsRelation reports whether an event passes that relates to another one by
// that type, or to none if it is empty.
func (f *RoomEventFilter) AllowsRelation(relType string) bool {
	return (f.RelTypes == nil || slices.Contains(f.RelTypes, relType)) && !slices.Contains(f.NotRelTypes, relType)
}

// Relational reports whether the filter is about events that relate to those
// which pass.
func (f *RoomEventFilter) Relational() bool {
	return f != nil && (f.RelatedByRelTypes != nil || f.RelatedBySenders != nil)
}

// matchType matches a type against a pattern in which * stands for any
// characters, in time that grows with the product of their lengths at worst.
func matchType(pattern, s string) bool {
	literal, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == s
	}
	if !strings.HasPrefix(s, literal) {
		return false
	}
	s = s[len(literal):]
	for {
		literal, rest, wild = strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(s, literal)
		}
		i := strings.Index(s, literal)
		if i < 0 {
			return false
		}
		s = s[i+len(literal):]
	}
}
