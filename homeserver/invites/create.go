package invites

import (
	"context"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// maxAddresses bounds how often an identity server is asked for one room.
const maxAddresses = 50

// Create makes a room and invites into it, besides those whom the request
// names, whoever has one of the addresses. Errors are those of [Service.Invite]
// and of rooms.Create; then there is no room.
func (s *Service) Create(ctx context.Context, req rooms.CreateRequest, to []Address) (matrix.RoomID, error) {
	if len(to) == 0 {
		return s.options.Rooms.Create(ctx, req)
	}
	if len(to) > maxAddresses {
		return "", matrix.InvalidParam("At most %d people are invited by their addresses.", maxAddresses)
	}
	var unknown []Address
	for _, a := range to {
		if err := s.check(&a); err != nil {
			return "", err
		}
		user, err := s.options.Identity.Lookup(ctx, a.IDServer, a.Token, a.Medium, a.Address)
		if err != nil {
			return "", err
		}
		if user != "" {
			req.Invite = append(req.Invite[:len(req.Invite):len(req.Invite)], user)
		} else {
			unknown = append(unknown, a)
		}
	}
	var waiting []storage.ThreePIDInvite
	req.Offers = func(ctx context.Context, room matrix.RoomID) (offers []rooms.InitialState, err error) {
		offers, waiting, err = s.offers(ctx, room, req, unknown)
		return offers, err
	}
	room, err := s.options.Rooms.Create(ctx, req)
	if err != nil {
		return "", err
	}
	return room, s.remember(ctx, waiting)
}

// offers are the last events of a room that is being made.
func (s *Service) offers(ctx context.Context, room matrix.RoomID, req rooms.CreateRequest, to []Address) ([]rooms.InitialState, []storage.ThreePIDInvite, error) {
	invitation, err := s.sender(ctx, room, req.Creator)
	if err != nil {
		return nil, nil, err
	}
	invitation.RoomName = req.Name
	var states []rooms.InitialState
	var waiting []storage.ThreePIDInvite
	for _, a := range to {
		offer, err := s.store(ctx, a, invitation)
		if err != nil {
			return nil, nil, err
		}
		state, err := offerState(offer)
		if err != nil {
			return nil, nil, err
		}
		states, waiting = append(states, state), append(waiting, pending(room, req.Creator, a, offer))
	}
	return states, waiting, nil
}
