package accounts

import (
	"encoding/json"
	"slices"

	"trestle/internal/matrix"
)

// A PushKind is one of the kinds of push rules.
type PushKind string

// postcontent is a proposal yet (MSC4306): users have no rules of this kind.
const postcontent PushKind = "postcontent"

// PushKinds are all kinds, most important first (Client-Server API § Push
// Rules).
var PushKinds = []PushKind{"override", "content", postcontent, "room", "sender", "underride"}

// hasConditions reports whether rules of the kind have conditions of their
// own; the others imply theirs.
func (k PushKind) hasConditions() bool {
	return k == "override" || k == "underride" || k == postcontent
}

// A PushRule is one rule. Conditions and Actions are JSON arrays; conditions
// of kinds that this server does not know are kept, and never match.
type PushRule struct {
	ID         string          `json:"rule_id"`
	Default    bool            `json:"default"`
	Enabled    bool            `json:"enabled"`
	Conditions json.RawMessage `json:"conditions,omitempty"` // override and underride only
	Pattern    *string         `json:"pattern,omitempty"`    // content only
	Actions    json.RawMessage `json:"actions"`
}

// A Ruleset is all push rules of a user, each kind with the most important
// rule first.
type Ruleset map[PushKind][]PushRule

// MarshalJSON has every kind, empty ones too.
func (r Ruleset) MarshalJSON() ([]byte, error) {
	all := make(map[PushKind][]PushRule, len(PushKinds))
	for _, kind := range PushKinds {
		all[kind] = append([]PushRule{}, r[kind]...)
	}
	return json.Marshal(all)
}

// Rule is the rule of a kind and ID, or nil.
func (r Ruleset) Rule(kind PushKind, id string) *PushRule {
	rules := r[kind]
	if i := indexRule(rules, id); i >= 0 {
		return &rules[i]
	}
	return nil
}

func indexRule(rules []PushRule, id string) int {
	return slices.IndexFunc(rules, func(rule PushRule) bool { return rule.ID == id })
}

const masterRule = ".m.rule.master"

// userIDMark stands for the user's ID in the predefined rules.
const userIDMark = "[the user's Matrix ID]"

// predefined returns the server-default rules for a user (Client-Server API
// § Predefined Rules), in order of importance. legacy adds those that look for
// the user's name in the text.
func predefined(user matrix.UserID, legacy bool) Ruleset {
	rules := Ruleset{}
	for _, p := range predefinedRules {
		if !legacy && LegacyMention(p.id) {
			continue
		}
		conditions, err := json.Marshal(p.conditionsFor(user))
		if err != nil {
			panic(err) // strings and booleans always marshal
		}
		rules[p.kind] = append(rules[p.kind], PushRule{
			ID:         p.id,
			Default:    true,
			Enabled:    p.id != masterRule && p.kind != postcontent,
			Conditions: conditions,
			Actions:    json.RawMessage(p.actions),
		})
	}
	for i := range rules["content"] {
		name := user.Localpart()
		rules["content"][i].Conditions, rules["content"][i].Pattern = nil, &name
	}
	return rules
}

// LegacyMention reports whether a predefined rule finds mentions by the text of
// a message. Those are for messages that do not say whom they mention: they do
// not apply to others. The specification had them until 1.17; but whoever writes
// in other networks mentions people by their names.
func LegacyMention(id string) bool {
	return id == displayNameRule || id == roomTextRule || id == userNameRule
}

const (
	displayNameRule = ".m.rule.contains_display_name"
	roomTextRule    = ".m.rule.roomnotif"
	userNameRule    = ".m.rule.contains_user_name"
)

type predefinedRule struct {
	kind       PushKind
	id         string
	actions    string
	conditions []condition
}

type condition struct {
	Kind    string  `json:"kind"`
	Key     string  `json:"key,omitempty"`
	Pattern *string `json:"pattern,omitempty"`
	Is      string  `json:"is,omitempty"`
	Value   any     `json:"value,omitempty"`

	Subscribed *bool `json:"subscribed,omitempty"`
}

func (p predefinedRule) conditionsFor(user matrix.UserID) []condition {
	own := append([]condition{}, p.conditions...)
	for i, c := range own {
		if c.Value == userIDMark {
			own[i].Value = string(user)
		}
		if c.Pattern != nil && *c.Pattern == userIDMark {
			own[i].Pattern = (*string)(&user)
		}
	}
	return own
}

func eventMatch(key, pattern string) condition {
	return condition{Kind: "event_match", Key: key, Pattern: &pattern}
}

func propertyIs(key string, value any) condition {
	return condition{Kind: "event_property_is", Key: key, Value: value}
}

// threadRule is in front of the rules for threads that users follow (MSC4306).
// They are not enabled by themselves: by them, nobody hears of threads whose
// clients do not know how to follow any.
const threadRule = ".io.element.msc4306.rule."

func followed(subscribed bool) condition {
	return condition{Kind: "io.element.msc4306.thread_subscription", Subscribed: &subscribed}
}

const (
	silent       = `[]`
	notify       = `["notify"]`
	notifySound  = `["notify",{"set_tweak":"sound","value":"default"}]`
	notifyRing   = `["notify",{"set_tweak":"sound","value":"ring"}]`
	highlight    = `["notify",{"set_tweak":"highlight"}]`
	soundAndMark = `["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"}]`
)

// pollRule is in front of the rules for polls, which are a proposal yet
// (MSC3930).
const pollRule = ".org.matrix.msc3930.rule."

var predefinedRules = []predefinedRule{
	{"override", masterRule, silent, nil},
	{"override", ".m.rule.suppress_notices", silent, []condition{eventMatch("content.msgtype", "m.notice")}},
	{"override", ".m.rule.invite_for_me", notifySound, []condition{
		eventMatch("type", "m.room.member"), eventMatch("content.membership", "invite"), eventMatch("state_key", userIDMark),
	}},
	{"override", ".m.rule.member_event", silent, []condition{eventMatch("type", "m.room.member")}},
	{"override", ".m.rule.is_user_mention", soundAndMark, []condition{
		{Kind: "event_property_contains", Key: `content.m\.mentions.user_ids`, Value: userIDMark},
	}},
	{"override", displayNameRule, soundAndMark, []condition{{Kind: "contains_display_name"}}},
	{"override", ".m.rule.is_room_mention", highlight, []condition{
		propertyIs(`content.m\.mentions.room`, true), {Kind: "sender_notification_permission", Key: "room"},
	}},
	{"override", roomTextRule, highlight, []condition{
		eventMatch("content.body", "@room"), {Kind: "sender_notification_permission", Key: "room"},
	}},
	{"override", ".m.rule.tombstone", highlight, []condition{
		eventMatch("type", "m.room.tombstone"), eventMatch("state_key", ""),
	}},
	{"override", ".m.rule.reaction", silent, []condition{eventMatch("type", "m.reaction")}},
	{"override", ".m.rule.room.server_acl", silent, []condition{
		eventMatch("type", "m.room.server_acl"), eventMatch("state_key", ""),
	}},
	{"override", ".m.rule.suppress_edits", silent, []condition{propertyIs(`content.m\.relates_to.rel_type`, "m.replace")}},
	{"override", pollRule + "poll_response", silent, []condition{eventMatch("type", "org.matrix.msc3381.poll.response")}},

	{"content", userNameRule, soundAndMark, nil}, // the pattern is the user's
	{postcontent, threadRule + "unsubscribed_thread", silent, []condition{followed(false)}},
	{postcontent, threadRule + "subscribed_thread", notifySound, []condition{followed(true)}},

	{"underride", ".m.rule.call", notifyRing, []condition{eventMatch("type", "m.call.invite")}},
	{"underride", ".m.rule.encrypted_room_one_to_one", notifySound, []condition{
		{Kind: "room_member_count", Is: "2"}, eventMatch("type", "m.room.encrypted"),
	}},
	{"underride", ".m.rule.room_one_to_one", notifySound, []condition{
		{Kind: "room_member_count", Is: "2"}, eventMatch("type", "m.room.message"),
	}},
	{"underride", ".m.rule.message", notify, []condition{eventMatch("type", "m.room.message")}},
	{"underride", ".m.rule.encrypted", notify, []condition{eventMatch("type", "m.room.encrypted")}},

	{"underride", pollRule + "poll_start_one_to_one", notifySound, []condition{
		{Kind: "room_member_count", Is: "2"}, eventMatch("type", "org.matrix.msc3381.poll.start"),
	}},
	{"underride", pollRule + "poll_start", notify, []condition{eventMatch("type", "org.matrix.msc3381.poll.start")}},
	{"underride", pollRule + "poll_end_one_to_one", notifySound, []condition{
		{Kind: "room_member_count", Is: "2"}, eventMatch("type", "org.matrix.msc3381.poll.end"),
	}},
	{"underride", pollRule + "poll_end", notify, []condition{eventMatch("type", "org.matrix.msc3381.poll.end")}},
}
