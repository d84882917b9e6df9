package accounts

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// SetPassword gives a user a new password and, if wanted, ends all devices but
// one. That the caller may do so is for the caller to know.
func (s *Service) SetPassword(ctx context.Context, user matrix.UserID, password string, logOut bool, but matrix.DeviceID) error {
	return s.setPassword(ctx, user, password, logOut, but, func(*database.Tx) error { return nil })
}

// setPassword does further things in the transaction that changes the password.
func (s *Service) setPassword(ctx context.Context, user matrix.UserID, password string, logOut bool, but matrix.DeviceID, also func(tx *database.Tx) error) error {
	if err := s.passwords.check(password); err != nil {
		return err
	}
	hash, err := s.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.forget(user) })
		found, err := s.options.Store.SetPasswordHash(ctx, tx, user, hash)
		if err != nil {
			return err
		}
		if !found {
			return noSuchUser()
		}
		if err := also(tx); err != nil {
			return err
		}
		if !logOut {
			return nil
		}
		return s.deleteOtherDevices(ctx, tx, user, but)
	})
}

// Deactivate ends an account for good: nobody can log in to it or take its
// name. With erase, the user's profile and account data go too. Observers take
// the user out of their rooms; should they fail, it can be called once more.
func (s *Service) Deactivate(ctx context.Context, user matrix.UserID, erase bool) error {
	account, err := s.account(ctx, user)
	if err != nil {
		return err
	}
	if account == nil {
		return noSuchUser()
	}
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.Forget(user) })
		if _, err := s.options.Store.Deactivate(ctx, tx, user); err != nil {
			return err
		}
		if err := s.deleteOtherDevices(ctx, tx, user, ""); err != nil {
			return err
		}
		if err := s.dropIdentities(ctx, tx, user); err != nil || !erase {
			return err
		}
		return s.eraseData(ctx, tx, user)
	})
	if err != nil {
		return err
	}
	for _, o := range s.observers.Deactivations {
		if err := o.Deactivated(ctx, user, erase); err != nil {
			return err
		}
	}
	return nil
}

// dropIdentities ends what others know the user by.
func (s *Service) dropIdentities(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	if err := s.options.Store.ThreePID.DeleteAll(ctx, tx, user); err != nil {
		return err
	}
	return s.options.Store.OpenID.DeleteAll(ctx, tx, user)
}

func (s *Service) eraseData(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	store := s.options.Store
	if err := store.SetErased(ctx, tx, user); err != nil {
		return err
	}
	tx.OnCommit(func() { s.erased.Store(user, true) })
	if err := store.Subjects.DeleteAll(ctx, tx, user); err != nil {
		return err
	}
	if err := store.Profiles.DeleteAll(ctx, tx, user); err != nil {
		return err
	}
	if err := store.Data.DeleteAll(ctx, tx, user); err != nil {
		return err
	}
	return store.Rules.Delete(ctx, tx, user)
}

// LoadErased reads who wanted to be forgotten. Call it once before others ask
// for [Service.Erased].
func (s *Service) LoadErased(ctx context.Context) error {
	users, err := s.options.Store.Erased(ctx)
	for _, user := range users {
		s.erased.Store(user, true)
	}
	return err
}

// Erased reports whether a user wanted to be forgotten.
func (s *Service) Erased(user matrix.UserID) bool {
	_, erased := s.erased.Load(user)
	return erased
}

// CheckPassword is M_WEAK_PASSWORD for passwords that nobody may choose.
func (s *Service) CheckPassword(password string) error { return s.passwords.check(password) }
