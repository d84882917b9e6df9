package rooms

import (
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// summarize applies what is under a key of the state now, which may be nil, to what directories show of its
// room, and reports whether that changed. was is the membership before.
func summarize(s *storage.Summary, key storage.StateKey, now *storage.Event, was string) bool {
	before := *s
	var e *matrix.Event
	if now != nil {
		e = now.Event
	}
	if key.Type == "m.room.member" {
		count(s, was, -1)
		if e != nil {
			count(s, e.Membership(), 1)
		}
		return *s != before
	}
	if key.Key != "" {
		return false
	}
	switch key.Type {
	case "m.room.create":
		s.Type = shown(e, "type")
	case "m.room.name":
		s.Name = shown(e, "name")
	case "m.room.topic":
		s.Topic = shown(e, "topic")
	case "m.room.avatar":
		s.AvatarURL = shown(e, "url")
	case "m.room.canonical_alias":
		s.CanonicalAlias = shown(e, "alias")
	case "m.room.join_rules":
		s.JoinRule = shown(e, "join_rule")
		if s.JoinRule == "" {
			s.JoinRule = "invite"
		}
	case "m.room.history_visibility":
		s.WorldReadable = field(e, "history_visibility") == "world_readable"
	case "m.room.guest_access":
		s.GuestsCanJoin = field(e, "guest_access") == "can_join"
	case "m.room.encryption":
		s.Encryption = shown(e, "algorithm")
	}
	return *s != before
}

// shown is a text of an event as tables can hold it: without NUL.
func shown(e *matrix.Event, name string) string {
	return strings.ReplaceAll(field(e, name), "\x00", "")
}

func count(s *storage.Summary, membership string, by int64) {
	switch membership {
	case "join":
		s.JoinedMembers += by
	case "invite":
		s.InvitedMembers += by
	}
}

// Bumps reports whether events of a type count as activity, by which clients
// order rooms: what people say rather than what happens to the room (MSC4186).
func Bumps(eventType string) bool {
	switch eventType {
	case "m.room.create", "m.room.message", "m.room.encrypted", "m.sticker", "m.call.invite",
		"m.poll.start", "org.matrix.msc3381.poll.start", "m.beacon_info", "org.matrix.msc3672.beacon_info":
		return true
	}
	return false
}
