package pushers

import (
	"context"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// notifications is up to limit notifications of a user after a position,
// oldest first, those that were read by now too.
func (s *Service) notifications(ctx context.Context, user matrix.UserID, after int64, limit int) ([]storage.Notification, error) {
	nid, err := s.number(ctx, user)
	if nid == 0 || err != nil {
		return nil, err
	}
	return s.options.Notifications.After(ctx, nid, after, limit)
}

// unread is how many notifications a user has not read, of all rooms.
func (s *Service) unread(ctx context.Context, user matrix.UserID) (n int64, err error) {
	nid, err := s.number(ctx, user)
	if nid == 0 || err != nil {
		return 0, err
	}
	list, err := s.options.Notifications.Counts(ctx, nid)
	for _, c := range list {
		n += c.Notifications
	}
	return n, err
}

// number is the user's, or 0 for those who have never been in a room.
func (s *Service) number(ctx context.Context, user matrix.UserID) (int64, error) {
	found, err := s.options.Store.Users.Lookup(ctx, []string{string(user)})
	return found[string(user)], err
}
