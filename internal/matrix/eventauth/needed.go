package eventauth

import (
	"encoding/json"
	"slices"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// Needed is the part of a room's state that authorizes an event: what its
// auth_events have to be (Server-Server API § Auth events selection), without
// the entries that the state does not have.
func Needed(e *matrix.Event) []StateKey {
	return needed(e.Version, e.Type, e.Sender, e.StateKey, e.Content)
}

// NeededFor is [Needed] for an event that is yet to be built.
func NeededFor(v *roomversion.Version, t matrix.EventTemplate) []StateKey {
	return needed(v, t.Type, t.Sender, t.StateKey, t.Content)
}

func needed(v *roomversion.Version, typ string, sender matrix.UserID, stateKey *string, content []byte) []StateKey {
	if typ == "m.room.create" {
		return nil
	}
	keys := make([]StateKey, 0, 6)
	if !v.RoomIDFromCreate {
		keys = append(keys, StateKey{"m.room.create", ""})
	}
	keys = append(keys, StateKey{"m.room.power_levels", ""}, StateKey{"m.room.member", string(sender)})
	if typ != "m.room.member" || stateKey == nil {
		return keys
	}
	if *stateKey != string(sender) {
		keys = append(keys, StateKey{"m.room.member", *stateKey})
	}
	return neededByMember(keys, v, content)
}

func neededByMember(keys []StateKey, v *roomversion.Version, raw []byte) []StateKey {
	content := members(raw)
	membership, _ := text(content["membership"])
	switch membership {
	case "join", "invite", "knock":
		keys = append(keys, StateKey{"m.room.join_rules", ""})
	}
	if membership == "invite" {
		signed := members(members(content["third_party_invite"])["signed"])
		if token, ok := text(signed["token"]); ok {
			keys = append(keys, StateKey{"m.room.third_party_invite", token})
		}
	}
	if membership == "join" && v.Restricted {
		user, ok := text(content["join_authorised_via_users_server"])
		key := StateKey{"m.room.member", user}
		if ok && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// CheckAuthEvents judges the references of an event: authEvents are the
// events that its auth_events name, and rejected tells which events this
// server has rejected. The error is M_FORBIDDEN.
func CheckAuthEvents(e *matrix.Event, authEvents []*matrix.Event, rejected func(matrix.EventID) bool) error {
	if e.Type == "m.room.create" {
		return nil
	}
	allowed := Needed(e)
	seen := make(map[StateKey]bool, len(authEvents))
	for _, auth := range authEvents {
		if auth.StateKey == nil {
			return matrix.Forbidden("The event is authorized by %s, which is not a state event.", auth.ID)
		}
		key := StateKey{auth.Type, *auth.StateKey}
		switch {
		case seen[key]:
			return matrix.Forbidden("The event is authorized by two events of type %s and state key %q.", key.Type, key.Key)
		case !slices.Contains(allowed, key):
			return matrix.Forbidden("The event is authorized by %s of type %s, which has no say in it.", auth.ID, auth.Type)
		case rejected(auth.ID):
			return matrix.Forbidden("The event is authorized by %s, which was rejected.", auth.ID)
		case auth.RoomID != e.RoomID:
			return matrix.Forbidden("The event is authorized by %s of another room.", auth.ID)
		}
		seen[key] = true
	}
	if !e.Version.RoomIDFromCreate && !seen[StateKey{"m.room.create", ""}] {
		return matrix.Forbidden("The event does not refer to the m.room.create event of its room.")
	}
	return nil
}

// Signers are the servers that must have signed an event: the sender's, the
// one in the event ID where there is one, and that of the user who vouches
// for a restricted join. An invite by way of an identity server is sent by
// the server of whoever redeems it, and needs no signature of the sender's.
// The error is M_FORBIDDEN: no signature could make the event valid.
func Signers(e *matrix.Event) ([]matrix.ServerName, error) {
	var signers []matrix.ServerName
	isMember := e.Type == "m.room.member"
	var content map[string]json.RawMessage
	if isMember {
		content = members(e.Content)
	}
	if _, ok := content["third_party_invite"]; !ok || e.Membership() != "invite" {
		signers = append(signers, e.Sender.Server())
	}
	if e.Version.EventIDFormat == roomversion.EventIDInEvent {
		if server := matrix.ServerName(domain(e.ID)); !slices.Contains(signers, server) {
			signers = append(signers, server)
		}
	}
	if !isMember {
		return signers, nil
	}
	user, err := authoriser(e, content)
	if err != nil {
		return nil, err
	}
	if user != "" && !slices.Contains(signers, user.Server()) {
		signers = append(signers, user.Server())
	}
	return signers, nil
}
