package rooms

import (
	"context"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// allowedCreate judges a create event, which needs no state.
func allowedCreate(e *matrix.Event) error { return eventauth.Allowed(e, eventauth.StateMap{}) }

// Listed reports whether the public directory lists a room; M_NOT_FOUND for a
// room that is not known.
func (s *Service) Listed(ctx context.Context, id matrix.RoomID) (bool, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return false, err
	}
	return s.store.Published.Listed(ctx, info.NID)
}

// SetListed lists a room in the public directory or takes it out: whoever may
// set the canonical alias may, and administrators. M_FORBIDDEN otherwise.
func (s *Service) SetListed(ctx context.Context, user matrix.UserID, admin bool, id matrix.RoomID, listed bool) error {
	info, err := s.Info(ctx, id)
	if err != nil {
		return err
	}
	if !admin {
		joined, err := s.Joined(ctx, id, user)
		if err != nil {
			return err
		}
		power, err := s.PowerLevels(ctx, info)
		if err != nil {
			return err
		}
		if !joined || power.User(user) < power.Event("m.room.canonical_alias", true) {
			return matrix.Forbidden("You may not change whether this room is listed.")
		}
	}
	return s.setListed(ctx, info, "", listed)
}

// SetNetworkListed lists a room in the directory of an application service's network.
func (s *Service) SetNetworkListed(ctx context.Context, appservice, network string, id matrix.RoomID, listed bool) error {
	if strings.IndexByte(network, 0) >= 0 {
		return matrix.InvalidParam("A network's name has no NUL.")
	}
	info, err := s.Info(ctx, id)
	if err != nil {
		return err
	}
	return s.setListed(ctx, info, appservice+"|"+network, listed)
}

func (s *Service) setListed(ctx context.Context, info *storage.RoomInfo, network string, listed bool) error {
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		return s.store.Published.Set(ctx, tx, info.NID, network, listed)
	})
}

// Summary is what directories show of a room.
func (s *Service) Summary(ctx context.Context, nid int64) (storage.Summary, error) {
	now, err := s.Head(ctx, nid)
	if err != nil {
		return storage.Summary{}, err
	}
	return now.Summary, nil
}
