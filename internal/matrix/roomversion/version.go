// Package roomversion is the table of what differs between room versions.
// Every other package asks a flag here; none compares version numbers. It
// imports nothing of ours.
package roomversion

// Default is the version of a new room when nobody asks for another.
const Default = "12"

// A Version is one room version as data (Room Versions, v1 to v12). Versions
// are shared and must not be changed.
type Version struct {
	ID string

	// EventIDFormat says where event IDs come from.
	EventIDFormat EventIDFormat
	// HashedReferences: prev_events and auth_events are pairs of an event ID
	// and its hashes, not plain event IDs.
	HashedReferences bool
	// StrictJSON: an event that breaks Canonical JSON is refused.
	StrictJSON bool
	// StateResolution is the algorithm that merges forks.
	StateResolution StateResolution
	// Redaction is what survives the redaction algorithm.
	Redaction Redaction

	// SpecialCaseAliasesAuth: m.room.aliases has an authorization rule of its own.
	SpecialCaseAliasesAuth bool
	// SpecialCaseRedactionAuth: authorization decides whether a redaction may
	// be sent, by its level or the domain of the two event IDs.
	SpecialCaseRedactionAuth bool
	// EnforceKeyValidity: a signature counts only while its key is valid.
	EnforceKeyValidity bool
	// LimitNotificationLevels: changes of notifications in power levels are
	// checked like those of events.
	LimitNotificationLevels bool
	// FloatPowerLevels: power levels may be floats, which are truncated.
	FloatPowerLevels bool
	// StrictPowerLevels: power levels must be integers, never strings.
	StrictPowerLevels bool
	// Knocking: membership knock and join rule knock exist.
	Knocking bool
	// Restricted: join rule restricted exists.
	Restricted bool
	// KnockRestricted: join rule knock_restricted exists.
	KnockRestricted bool
	// CreatorFromSender: the creator is the sender of the create event, whose
	// content has no creator.
	CreatorFromSender bool
	// RedactsInContent: a redaction names its target in content, not at the
	// top level.
	RedactsInContent bool
	// RoomIDFromCreate: the room ID is the create event's ID with another
	// sigil; the create event has no room_id and is in no auth_events.
	RoomIDFromCreate bool
	// LaxLengths: types and state keys of other servers may have 255 characters, not only as many bytes, as servers
	// have had it before room version 11.
	LaxLengths bool
	// PrivilegedCreators: creators, additional ones included, stand above
	// all power levels and can't be listed there.
	PrivilegedCreators bool

	supported bool
}

// EventIDFormat says where an event's ID comes from.
type EventIDFormat int

const (
	// EventIDInEvent is "$opaque:server", chosen by the sender, a member of
	// the event.
	EventIDInEvent EventIDFormat = iota + 1
	// EventIDBase64 is the reference hash in standard base64.
	EventIDBase64
	// EventIDURLSafe is the reference hash in URL-safe base64.
	EventIDURLSafe
)

// StateResolution is a state resolution algorithm.
type StateResolution int

const (
	// V1 is the algorithm of room version 1.
	V1 StateResolution = iota + 1
	// V2 is the algorithm of room versions 2 to 11.
	V2
	// V2_1 is the algorithm of room version 12.
	V2_1
)

// Supported reports whether this server creates and joins such rooms.
func (v *Version) Supported() bool { return v.supported }

// HasKnockRule reports whether rule lets people knock in this version.
func (v *Version) HasKnockRule(rule string) bool {
	return v.Knocking && rule == "knock" || v.KnockRestricted && rule == "knock_restricted"
}

// HasRestrictedRule reports whether rule lets members of other rooms join in
// this version.
func (v *Version) HasRestrictedRule(rule string) bool {
	return v.Restricted && rule == "restricted" || v.KnockRestricted && rule == "knock_restricted"
}

// Lookup finds a version that the specification knows, whether or not it is
// supported here.
func Lookup(id string) (*Version, bool) {
	v, ok := byID[id]
	return v, ok
}

// All lists every known version, oldest first.
func All() []*Version { return append([]*Version(nil), versions...) }
