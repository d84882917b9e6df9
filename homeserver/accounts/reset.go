package accounts

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// resetOperation is the operation of [Service.ResetOperation].
const resetOperation = "reset password"

// ResetOperation is what somebody has to do who has forgotten their password;
// M_FORBIDDEN where nothing helps.
func (s *Service) ResetOperation() (Operation, error) {
	if !s.EmailEnabled() {
		return Operation{}, matrix.MissingToken()
	}
	return Operation{Name: resetOperation, Flows: [][]string{{StageEmail}}}, nil
}

// ResetPassword gives a new password to the user whose address was proved. The
// proof is used up.
func (s *Service) ResetPassword(ctx context.Context, proofs Proofs, password string, logOut bool) error {
	store := s.options.Store.ThreePID
	session, err := store.Session(ctx, s.options.DB.Read(), proofs[StageEmail])
	if err != nil {
		return err
	}
	if session == nil {
		return matrix.Forbidden("The address has not been verified.")
	}
	user, err := store.User(ctx, s.options.DB.Read(), session.Medium, session.Address)
	if err != nil {
		return err
	}
	if user == "" {
		return matrix.Forbidden("Nobody here has this address.")
	}
	used := func(tx *database.Tx) error {
		there, err := store.DeleteSession(ctx, tx, session.SID)
		if err == nil && !there {
			err = matrix.Forbidden("The address has been used already.")
		}
		return err
	}
	return s.setPassword(ctx, user, password, logOut, "", used)
}
