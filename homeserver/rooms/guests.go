package rooms

import (
	"context"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// dismissGuests takes this server's guests out of a room that does not admit
// any (Client-Server API § Guest access).
func (s *Service) dismissGuests(ctx context.Context, info *storage.RoomInfo) error {
	ctx = context.WithoutCancel(ctx) // what has begun is finished, whoever waits for it
	now, err := s.Head(ctx, info.NID)
	if err != nil || now.Summary.GuestsCanJoin || s.IsGuest == nil {
		return err
	}
	members, err := s.store.Members.OfRoom(ctx, info.NID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Membership != "join" || !s.Local(m.User) {
			continue
		}
		guest, err := s.IsGuest(ctx, m.User)
		if err != nil {
			return err
		}
		if !guest {
			continue
		}
		_, err = s.setMembership(ctx, MemberRequest{Room: info.ID, Sender: m.User, Target: m.User, Reason: "Guests are not admitted any more."}, "leave", nil)
		if err != nil && matrix.Code(err) == "" {
			return err
		}
	}
	return nil
}
