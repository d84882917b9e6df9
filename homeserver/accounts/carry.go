package accounts

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

const directType = "m.direct"

// Carry gives a room that took the place of another one what the user has said
// about that: tags, push rules, that it is a direct chat. What the user has
// said about the new one already stays.
func (s *Service) Carry(ctx context.Context, user matrix.UserID, old, new matrix.RoomID) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.carryTags(ctx, tx, user, old, new); err != nil {
			return err
		}
		if err := s.carryDirect(ctx, tx, user, old, new); err != nil {
			return err
		}
		return s.carryPushRules(ctx, tx, user, old, new)
	})
}

func (s *Service) carryTags(ctx context.Context, tx *database.Tx, user matrix.UserID, old, new matrix.RoomID) error {
	given, err := s.readTags(ctx, tx, user, old)
	if err != nil || len(given.Tags) == 0 {
		return err
	}
	there, err := s.options.Store.Data.Find(ctx, tx, user, new, tagType)
	if err != nil || there != nil {
		return err
	}
	content, err := json.Marshal(given)
	if err != nil {
		return err
	}
	return s.WriteAccountData(ctx, tx, user, Datum{RoomID: new, Type: tagType, Content: content})
}

func (s *Service) carryDirect(ctx context.Context, tx *database.Tx, user matrix.UserID, old, new matrix.RoomID) error {
	content, err := s.options.Store.Data.Find(ctx, tx, user, "", directType)
	if err != nil || content == nil {
		return err
	}
	var chats map[string]json.RawMessage
	if json.Unmarshal(content, &chats) != nil {
		return nil // not of the form that everybody uses
	}
	changed := false
	for with, raw := range chats {
		var list []matrix.RoomID
		if json.Unmarshal(raw, &list) != nil || !slices.Contains(list, old) || slices.Contains(list, new) {
			continue
		}
		if chats[with], err = json.Marshal(append(list, new)); err != nil {
			return err
		}
		changed = true
	}
	if !changed {
		return nil
	}
	if content, err = json.Marshal(chats); err != nil {
		return err
	}
	return s.WriteAccountData(ctx, tx, user, Datum{Type: directType, Content: content})
}

func (s *Service) carryPushRules(ctx context.Context, tx *database.Tx, user matrix.UserID, old, new matrix.RoomID) error {
	own, _, err := s.readOwnRules(ctx, tx, user)
	if err != nil || !own.carry(old, new) {
		return err
	}
	return s.writeOwnRules(ctx, tx, user, own)
}

// carry repeats the rules about a room for another one, and reports whether
// there were any. A rule is about a room if the room is its ID, as for kind
// room and for how clients mute one, or stands in one of its conditions.
func (o *ownRules) carry(old, new matrix.RoomID) (changed bool) {
	for _, kind := range PushKinds {
		for _, rule := range slices.Clone(o.Rules[kind]) {
			conditions, about := roomConditions(rule.Conditions, old, new)
			id := strings.ReplaceAll(rule.ID, string(old), string(new))
			if id == rule.ID && !about {
				continue
			}
			if id == rule.ID {
				id += "-" + string(new)
			}
			if len(id) > matrix.MaxIDLength || indexRule(o.Rules[kind], id) >= 0 || o.count() >= maxPushRules {
				continue
			}
			rule.ID, rule.Conditions = id, conditions
			o.Rules[kind] = append(o.Rules[kind], rule)
			changed = true
		}
	}
	return changed
}

// roomConditions is conditions for another room.
func roomConditions(conditions json.RawMessage, old, new matrix.RoomID) (replaced json.RawMessage, about bool) {
	var list []map[string]any
	if json.Unmarshal(conditions, &list) != nil {
		return conditions, false
	}
	for _, c := range list {
		if c["kind"] == "event_match" && c["key"] == "room_id" && c["pattern"] == string(old) {
			c["pattern"], about = string(new), true
		}
	}
	if !about {
		return conditions, false
	}
	replaced, err := json.Marshal(list)
	return replaced, err == nil
}
