package accounts

import (
	"context"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// An SSOSession is a login of a subject at another place.
type SSOSession = storage.SSOSession

// An SSOLogout is the word of another place that a login there is over.
type SSOLogout struct {
	SSOSession
	TokenID   string
	ExpiresAt int64 // Unix ms: until then the same word is not heard twice
	// Everything ends all of the user's sessions, however they have begun; else
	// it is those that have come of logins there.
	Everything bool
	// Also ends what else has come of it, in the same transaction.
	Also func(ctx context.Context, tx *database.Tx) error
}

// EndSSO ends what has come of a login at another place: devices, and the
// browsers of the user, of which it is not known how they have signed in. It
// returns how many users that concerns. The same word twice is M_INVALID_PARAM.
func (s *Service) EndSSO(ctx context.Context, out SSOLogout) (users int, err error) {
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		store := s.options.Store
		fresh, err := store.SSOSessions.Heard(ctx, tx, out.Issuer, out.TokenID, out.ExpiresAt, s.now())
		if err != nil {
			return err
		}
		if !fresh {
			return matrix.InvalidParam("This logout has been said before.")
		}
		devices, err := store.SSOSessions.Devices(ctx, tx, out.SSOSession)
		if err != nil {
			return err
		}
		if out.Subject != "" {
			user, err := store.Subjects.User(ctx, tx, out.Issuer, out.Subject)
			if err != nil {
				return err
			}
			if user != "" && devices[user] == nil {
				devices[user] = nil // browsers, perhaps
			}
		}
		for user, of := range devices {
			if err := s.endSessions(ctx, tx, user, of, out.Everything); err != nil {
				return err
			}
		}
		users = len(devices)
		if out.Also == nil {
			return nil
		}
		return out.Also(ctx, tx)
	})
	return users, err
}

func (s *Service) endSessions(ctx context.Context, tx *database.Tx, user matrix.UserID, devices []matrix.DeviceID, everything bool) error {
	if everything {
		return s.deleteOtherDevices(ctx, tx, user, "")
	}
	if err := s.endBrowsers(ctx, tx, user); err != nil {
		return err
	}
	return s.deleteDevices(ctx, tx, user, devices)
}

// endBrowsers ends login tokens and signs browsers out: they are devices to be.
func (s *Service) endBrowsers(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	if err := s.options.Store.LoginTokens.DeleteOfUser(ctx, tx, user); err != nil {
		return err
	}
	if err := s.options.Store.OAuth.DeleteOfUser(ctx, tx, user); err != nil {
		return err
	}
	return s.options.Store.Console.DeleteOfUser(ctx, tx, user)
}
