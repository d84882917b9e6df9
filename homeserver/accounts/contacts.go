package accounts

import (
	"context"
	"encoding/json"
	"slices"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Presence lists, which the specification had until r0: users see the presence
// of those whom they have invited to their lists and who have agreed, without
// sharing a room. They are kept as account data, so that clients learn of
// changes by /sync; what a user allows is in the user's own data alone.
const (
	contactsType  = "org.trestle.presence_list"
	observersType = "org.trestle.presence_observers"
	maxContacts   = 500
)

// contactsContent is whose presence a user wants to see.
type contactsContent struct {
	Users []matrix.UserID `json:"users"`
}

// observersContent is who wants to see the user's presence, and who may.
type observersContent struct {
	Asking  []matrix.UserID `json:"asking"`
	Allowed []matrix.UserID `json:"allowed"`
}

// readData reads account data that clients, too, may write: what is malformed
// counts as none.
func readData[T any](ctx context.Context, s *Service, q database.Querier, user matrix.UserID, dataType string) (T, error) {
	var value, none T
	raw, err := s.options.Store.Data.Find(ctx, q, user, "", dataType)
	if err != nil || raw == nil {
		return none, err
	}
	if json.Unmarshal(raw, &value) != nil {
		return none, nil
	}
	return value, nil
}

func (s *Service) writeData(ctx context.Context, tx *database.Tx, user matrix.UserID, dataType string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return s.WriteAccountData(ctx, tx, user, Datum{Type: dataType, Content: raw})
}

// Contacts is whom a user has put on the presence list.
func (s *Service) Contacts(ctx context.Context, user matrix.UserID) ([]matrix.UserID, error) {
	content, err := readData[contactsContent](ctx, s, s.options.DB.Read(), user, contactsType)
	return content.Users[:min(len(content.Users), maxContacts)], err
}

// MayObserve reports whether a user has agreed to be on somebody's presence list.
func (s *Service) MayObserve(ctx context.Context, observer, user matrix.UserID) (bool, error) {
	content, err := readData[observersContent](ctx, s, s.options.DB.Read(), user, observersType)
	return slices.Contains(content.Allowed, observer), err
}

// InviteContacts puts users on a presence list and asks them for their
// agreement, which those give who have the user on their own list. M_NOT_FOUND
// if there is no such user here.
func (s *Service) InviteContacts(ctx context.Context, user matrix.UserID, invited []matrix.UserID) error {
	for _, other := range invited {
		if exists, err := s.Exists(ctx, other); err != nil {
			return err
		} else if !exists {
			return noSuchUser()
		}
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		own, err := readData[contactsContent](ctx, s, tx, user, contactsType)
		if err != nil {
			return err
		}
		for _, other := range invited {
			if !slices.Contains(own.Users, other) {
				own.Users = append(own.Users, other)
			}
			if err := s.ask(ctx, tx, user, other); err != nil {
				return err
			}
		}
		if len(own.Users) > maxContacts {
			return matrix.TooLarge("A presence list has at most %d users.", maxContacts)
		}
		return s.writeData(ctx, tx, user, contactsType, own)
	})
}

func (s *Service) ask(ctx context.Context, tx *database.Tx, user, other matrix.UserID) error {
	theirs, err := readData[contactsContent](ctx, s, tx, other, contactsType)
	if err != nil {
		return err
	}
	return s.changeObservers(ctx, tx, other, func(o *observersContent) {
		switch {
		case slices.Contains(o.Allowed, user) || len(o.Asking)+len(o.Allowed) >= maxContacts:
		case slices.Contains(theirs.Users, user):
			o.Allowed, o.Asking = append(o.Allowed, user), without(o.Asking, user)
		case !slices.Contains(o.Asking, user):
			o.Asking = append(o.Asking, user)
		}
	})
}

// DropContacts takes users off a presence list, and what they were asked back.
func (s *Service) DropContacts(ctx context.Context, user matrix.UserID, dropped []matrix.UserID) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		own, err := readData[contactsContent](ctx, s, tx, user, contactsType)
		if err != nil {
			return err
		}
		for _, other := range dropped {
			if !slices.Contains(own.Users, other) {
				continue
			}
			own.Users = without(own.Users, other)
			err := s.changeObservers(ctx, tx, other, func(o *observersContent) {
				o.Asking, o.Allowed = without(o.Asking, user), without(o.Allowed, user)
			})
			if err != nil {
				return err
			}
		}
		return s.writeData(ctx, tx, user, contactsType, own)
	})
}

// AcceptObservers lets users who have asked see the user's presence.
func (s *Service) AcceptObservers(ctx context.Context, user matrix.UserID, accepted []matrix.UserID) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.changeObservers(ctx, tx, user, func(o *observersContent) {
			for _, other := range accepted {
				if slices.Contains(o.Asking, other) {
					o.Asking, o.Allowed = without(o.Asking, other), append(o.Allowed, other)
				}
			}
		})
	})
}

// DenyObservers refuses users who have asked, or takes back what was allowed.
func (s *Service) DenyObservers(ctx context.Context, user matrix.UserID, denied []matrix.UserID) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.changeObservers(ctx, tx, user, func(o *observersContent) {
			for _, other := range denied {
				o.Asking, o.Allowed = without(o.Asking, other), without(o.Allowed, other)
			}
		})
	})
}

// changeObservers writes what a change leaves different.
func (s *Service) changeObservers(ctx context.Context, tx *database.Tx, user matrix.UserID, change func(*observersContent)) error {
	content, err := readData[observersContent](ctx, s, tx, user, observersType)
	if err != nil {
		return err
	}
	before := observersContent{slices.Clone(content.Asking), slices.Clone(content.Allowed)}
	change(&content)
	if slices.Equal(before.Asking, content.Asking) && slices.Equal(before.Allowed, content.Allowed) {
		return nil
	}
	return s.writeData(ctx, tx, user, observersType, content)
}

func without(users []matrix.UserID, user matrix.UserID) []matrix.UserID {
	return slices.DeleteFunc(slices.Clone(users), func(u matrix.UserID) bool { return u == user })
}
