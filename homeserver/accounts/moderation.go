package accounts

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Moderated is what administrators have done to an account (Client-Server API
// § Account locking, § Account suspension).
type Moderated struct {
	Locked    bool // answers nothing but logouts
	Suspended bool // can be read with, but hardly written
}

// Moderation is the state of a local account, for an administrator who asks:
// M_INVALID_PARAM for users of other servers, M_NOT_FOUND for those that are
// not there, M_FORBIDDEN for other administrators.
func (s *Service) Moderation(ctx context.Context, who Caller, user matrix.UserID) (Moderated, error) {
	if !s.Local(user) {
		return Moderated{}, matrix.InvalidParam("%s is not a user of this server.", user)
	}
	account, err := s.account(ctx, user)
	switch {
	case err != nil:
		return Moderated{}, err
	case account == nil || account.Deactivated:
		return Moderated{}, noSuchUser()
	case account.Admin && user != who.UserID:
		return Moderated{}, matrix.Forbidden("%s is an administrator, too.", user)
	}
	return Moderated{Locked: account.Locked, Suspended: account.Suspended}, nil
}

// Lock locks an account, or unlocks it. Its tokens stay what they are.
func (s *Service) Lock(ctx context.Context, who Caller, user matrix.UserID, locked bool) error {
	return s.moderate(ctx, who, user, func(tx *database.Tx) (bool, error) {
		return s.options.Store.SetLocked(ctx, tx, user, locked)
	})
}

// Suspend suspends an account, or lets it go again.
func (s *Service) Suspend(ctx context.Context, who Caller, user matrix.UserID, suspended bool) error {
	return s.moderate(ctx, who, user, func(tx *database.Tx) (bool, error) {
		return s.options.Store.SetSuspended(ctx, tx, user, suspended)
	})
}

func (s *Service) moderate(ctx context.Context, who Caller, user matrix.UserID, set func(tx *database.Tx) (bool, error)) error {
	if user == who.UserID {
		return matrix.Forbidden("You cannot do this to your own account.")
	}
	if _, err := s.Moderation(ctx, who, user); err != nil {
		return err
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.forget(user) })
		found, err := set(tx)
		if err == nil && !found {
			err = noSuchUser()
		}
		return err
	})
}

// Whois is the devices of a local user with where they were last used, for
// the user or an administrator.
func (s *Service) Whois(ctx context.Context, who Caller, user matrix.UserID) ([]Device, error) {
	if who.UserID != user && !who.Admin {
		return nil, matrix.Forbidden("You can look up yourself only.")
	}
	account, err := s.account(ctx, user)
	if err != nil {
		return nil, err
	}
	if account == nil {
		return nil, noSuchUser()
	}
	return s.Devices(ctx, user)
}

// checkUnlocked is M_USER_LOCKED for accounts that may have no new tokens.
func (s *Service) checkUnlocked(ctx context.Context, user matrix.UserID) error {
	account, err := s.account(ctx, user)
	if err == nil && account != nil && account.Locked {
		err = matrix.UserLocked()
	}
	return err
}
