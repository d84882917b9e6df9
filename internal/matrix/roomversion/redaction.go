package roomversion

import "slices"

// A Redaction is what the redaction algorithm leaves of an event.
type Redaction struct {
	// Members are the top-level keys that stay.
	Members []string
	// Content says, by event type, what stays of content; of other types
	// nothing does.
	Content map[string]ContentRule
}

// A ContentRule is what stays of the content of one event type.
type ContentRule struct {
	// All keeps the content whole.
	All bool
	// Keys stay with their values.
	Keys []string
	// Nested keys stay, if they are objects, reduced to the keys listed.
	Nested map[string][]string
}

var (
	membersV1 = []string{
		"event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures",
		"depth", "prev_events", "prev_state", "auth_events", "origin", "origin_server_ts", "membership",
	}
	membersV11 = []string{
		"event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures",
		"depth", "prev_events", "auth_events", "origin_server_ts",
	}
	powerLevelsV1 = []string{
		"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default",
	}
)

func keys(names ...string) ContentRule { return ContentRule{Keys: names} }

// redactionV1 is that of versions 1 to 5.
var redactionV1 = Redaction{Members: membersV1, Content: map[string]ContentRule{
	"m.room.member":             keys("membership"),
	"m.room.create":             keys("creator"),
	"m.room.join_rules":         keys("join_rule"),
	"m.room.power_levels":       keys(powerLevelsV1...),
	"m.room.aliases":            keys("aliases"),
	"m.room.history_visibility": keys("history_visibility"),
}}

// redactionV6 is that of versions 6 and 7: aliases are nothing special.
var redactionV6 = Redaction{Members: membersV1, Content: map[string]ContentRule{
	"m.room.member":             keys("membership"),
	"m.room.create":             keys("creator"),
	"m.room.join_rules":         keys("join_rule"),
	"m.room.power_levels":       keys(powerLevelsV1...),
	"m.room.history_visibility": keys("history_visibility"),
}}

// redactionV8 keeps whom a restricted room lets in.
var redactionV8 = Redaction{Members: membersV1, Content: map[string]ContentRule{
	"m.room.member":             keys("membership"),
	"m.room.create":             keys("creator"),
	"m.room.join_rules":         keys("join_rule", "allow"),
	"m.room.power_levels":       keys(powerLevelsV1...),
	"m.room.history_visibility": keys("history_visibility"),
}}

// redactionV9, of versions 9 and 10, keeps who vouched for a restricted join.
var redactionV9 = Redaction{Members: membersV1, Content: map[string]ContentRule{
	"m.room.member":             keys("membership", "join_authorised_via_users_server"),
	"m.room.create":             keys("creator"),
	"m.room.join_rules":         keys("join_rule", "allow"),
	"m.room.power_levels":       keys(powerLevelsV1...),
	"m.room.history_visibility": keys("history_visibility"),
}}

// redactionV11 is that of versions 11 and 12.
var redactionV11 = Redaction{Members: membersV11, Content: map[string]ContentRule{
	"m.room.member": {
		Keys:   []string{"membership", "join_authorised_via_users_server"},
		Nested: map[string][]string{"third_party_invite": {"signed"}},
	},
	"m.room.create":             {All: true},
	"m.room.join_rules":         keys("join_rule", "allow"),
	"m.room.power_levels":       keys(append(slices.Clone(powerLevelsV1), "invite")...),
	"m.room.history_visibility": keys("history_visibility"),
	"m.room.redaction":          keys("redacts"),
}}
