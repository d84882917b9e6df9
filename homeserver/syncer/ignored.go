package syncer

import (
	"context"
	"encoding/json"

	"trestle/homeserver/notifier"
	"trestle/internal/matrix"
)

const (
	ignoredType = "m.ignored_user_list"
	// ignoredBudget bounds what is remembered of whom users ignore, in users.
	ignoredBudget = 500_000
)

// An ignoredList is whom a user ignores, as of a position.
type ignoredList struct {
	position int64
	users    map[matrix.UserID]bool
}

// Ignored is whom a user ignores, at the moment of a snapshot or later.
func (s *Service) Ignored(ctx context.Context, user matrix.UserID, snap *notifier.Snapshot) (map[matrix.UserID]bool, error) {
	if known, ok := s.ignored.Get(user); ok && !snap.Changed(notifier.AccountData, known.position) {
		return known.users, nil
	}
	content, err := s.AccountData.AccountData(ctx, user, "", ignoredType)
	if err != nil && matrix.Code(err) != "M_NOT_FOUND" {
		return nil, err
	}
	list := &ignoredList{position: snap.Position, users: map[matrix.UserID]bool{}}
	var parsed struct {
		Users map[matrix.UserID]json.RawMessage `json:"ignored_users"`
	}
	// Clients write what they like there; what is no list is none.
	if err == nil && json.Unmarshal(content, &parsed) == nil {
		for id := range parsed.Users {
			list.users[id] = true
		}
	}
	s.ignored.Put(user, list)
	return list.users, nil
}
