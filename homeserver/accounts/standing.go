package accounts

import (
	"context"
	"net/http"

	"trestle/internal/matrix"
)

// MayAct is an error if nothing may be done in the name of a local user, when
// it is not the user who asks now: M_USER_LOCKED, M_USER_SUSPENDED, or
// M_FORBIDDEN for users that are no more.
func (s *Service) MayAct(ctx context.Context, user matrix.UserID) error {
	account, err := s.account(ctx, user)
	switch {
	case err != nil:
		return err
	case account == nil || account.Deactivated:
		return matrix.Forbidden("%s has no account any more.", user)
	case account.Locked:
		return matrix.NewError(http.StatusForbidden, "M_USER_LOCKED", "The account of %s has been locked.", user)
	case account.Suspended:
		return matrix.UserSuspended()
	}
	return nil
}

// IsGuest reports whether a user is a guest of this server.
func (s *Service) IsGuest(ctx context.Context, user matrix.UserID) (bool, error) {
	if !s.Local(user) {
		return false, nil
	}
	account, err := s.account(ctx, user)
	return account != nil && account.Guest, err
}
