package rooms

import (
	"context"
	"encoding/json"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A Preview is what somebody may know about a room before being in it.
type Preview struct {
	storage.Summary
	Membership   string          // of who asks; empty if there is none
	AllowedRooms []matrix.RoomID // whose members a restricted room admits
	// Children are the m.space.child events of a space, in its order.
	Children []*storage.Event
}

// Preview is what a user, or a stranger if user is empty, may know about the
// room that an ID or an alias names. M_NOT_FOUND if that is nothing.
func (s *Service) Preview(ctx context.Context, idOrAlias string, user matrix.UserID, asker string) (*Preview, error) {
	info, err := s.findHere(ctx, idOrAlias, asker)
	if err != nil {
		return nil, err
	}
	preview, err := s.preview(ctx, info, user)
	if err == nil && preview == nil {
		err = matrix.NotFound("Room %s is not known here.", info.ID)
	}
	return preview, err
}

// preview is nil if the user may know nothing.
func (s *Service) preview(ctx context.Context, info *storage.RoomInfo, user matrix.UserID) (*Preview, error) {
	membership := ""
	if user != "" {
		var err error
		if membership, err = s.Membership(ctx, info.ID, user); err != nil {
			return nil, err
		}
	}
	return s.previewAs(ctx, info, membership, func(room matrix.RoomID) (bool, error) {
		if user == "" {
			return false, nil
		}
		return s.Joined(ctx, room, user)
	})
}

// previewAs is preview for somebody with a membership, of whom in tells where they are.
func (s *Service) previewAs(ctx context.Context, info *storage.RoomInfo, membership string, in func(matrix.RoomID) (bool, error)) (*Preview, error) {
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	p := &Preview{Summary: now.Summary, Membership: membership}
	rules, err := now.Event(ctx, "m.room.join_rules", "")
	if err != nil {
		return nil, err
	}
	restricted := rules != nil && info.Version.HasRestrictedRule(p.JoinRule)
	if restricted {
		p.AllowedRooms = allowedRooms(rules.Content)
	}
	if p.accessible() {
		return p, nil
	}
	if !restricted || p.Membership == "ban" {
		return nil, nil
	}
	for _, room := range p.AllowedRooms {
		if met, err := in(room); met || err != nil {
			return p, err
		}
	}
	return nil, nil
}

// accessible is the conditions of Client-Server API § GET
// /rooms/{roomId}/hierarchy that need nothing but the room.
func (p *Preview) accessible() bool {
	if p.WorldReadable {
		return true
	}
	switch p.Membership {
	case "join", "invite":
		return true
	case "ban":
		return false
	}
	switch p.JoinRule {
	case "public", "knock", "knock_restricted":
		return true
	}
	return false
}

func allowedRooms(joinRules json.RawMessage) []matrix.RoomID {
	var content struct {
		Allow []struct {
			Type   string        `json:"type"`
			RoomID matrix.RoomID `json:"room_id"`
		} `json:"allow"`
	}
	var list []matrix.RoomID
	if json.Unmarshal(joinRules, &content) != nil {
		return nil
	}
	for _, condition := range content.Allow {
		if condition.Type == "m.room_membership" && condition.RoomID != "" && !slices.Contains(list, condition.RoomID) {
			list = append(list, condition.RoomID)
		}
	}
	return list
}
