package rooms

import (
	"context"
	"encoding/json"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// MayInvite is M_FORBIDDEN unless the user is in the room and may invite.
func (s *Service) MayInvite(ctx context.Context, id matrix.RoomID, user matrix.UserID) error {
	info, err := s.known(ctx, id)
	if err != nil {
		return err
	}
	joined, err := s.Joined(ctx, id, user)
	if err != nil {
		return err
	}
	if !joined {
		return notMember(id)
	}
	power, err := s.PowerLevels(ctx, info)
	if err == nil && power.User(user) < power.Invite() {
		err = matrix.Forbidden("You may not invite people into this room.")
	}
	return err
}

// ThirdPartyInvite is the invite of a token that waits in a room; nil if there
// is none, or not any more.
func (s *Service) ThirdPartyInvite(ctx context.Context, id matrix.RoomID, token string) (*storage.Event, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	e, err := now.Event(ctx, "m.room.third_party_invite", token)
	if err != nil || e == nil || field(e.Event, "public_key") == "" {
		return nil, err // without a key it has been taken back
	}
	return e, nil
}

// Redeem turns an invite by address into one of the user whose the address is;
// proof is the third_party_invite of the member event, which the room's rules
// verify. Who is in the room or invited stays as they are.
func (s *Service) Redeem(ctx context.Context, id matrix.RoomID, inviter, user matrix.UserID, proof json.RawMessage) error {
	info, err := s.known(ctx, id)
	if err != nil {
		return err
	}
	req := MemberRequest{Room: id, Sender: inviter, Target: user, Content: map[string]json.RawMessage{"third_party_invite": proof}}
	members, err := s.memberContent(ctx, req, "invite")
	if err != nil {
		return err
	}
	content, err := json.Marshal(members)
	if err != nil {
		return err
	}
	target := string(user)
	_, err = s.update(ctx, info.NID, func(d *draft) error {
		was, err := d.membership(user)
		if err != nil || was == "join" || was == "invite" {
			return err
		}
		_, err = d.add(proposal{Sender: inviter, Type: "m.room.member", StateKey: &target, Content: content})
		return err
	})
	return err
}
