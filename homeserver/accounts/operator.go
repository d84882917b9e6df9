package accounts

import (
	"context"
	"encoding/json"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// What is here is for the server's operator: that the caller is one is for the
// caller to know.

// What storage calls these is what operators get.
type (
	// An Account is a local user.
	Account = storage.Account
	// A ListedAccount is one of a list.
	ListedAccount = storage.ListedAccount
	// An AccountQuery asks for some of the accounts.
	AccountQuery = storage.AccountQuery
)

// Accounts is a page of accounts, and how many there are.
func (s *Service) Accounts(ctx context.Context, q AccountQuery) ([]ListedAccount, int64, error) {
	return s.options.Store.List(ctx, q)
}

// Account is the account of a local user, deactivated ones too; M_NOT_FOUND
// without one.
func (s *Service) Account(ctx context.Context, user matrix.UserID) (*Account, error) {
	if !s.Local(user) {
		return nil, matrix.InvalidParam("%s is not a user of this server.", user)
	}
	account, err := s.options.Store.Find(ctx, user)
	if err == nil && account == nil {
		err = noSuchUser()
	}
	return account, err
}

// SetProfile sets a display name or an avatar; an empty text removes it.
func (s *Service) SetProfile(ctx context.Context, user matrix.UserID, field, text string) error {
	value, err := json.Marshal(text)
	if err != nil {
		return err
	}
	return s.SetProfileField(ctx, Caller{UserID: user}, user, field, value)
}

// Reactivate gives a deactivated account back, with a password or, if that is
// empty, without. The user is in no rooms.
func (s *Service) Reactivate(ctx context.Context, user matrix.UserID, password string) error {
	hash := ""
	if password != "" {
		if err := s.passwords.check(password); err != nil {
			return err
		}
		var err error
		if hash, err = s.passwords.hash(ctx, password); err != nil {
			return err
		}
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.Forget(user) })
		_, err := s.options.Store.Reactivate(ctx, tx, user, hash)
		return err
	})
}

// LoginAs logs in as a user, without a password.
func (s *Service) LoginAs(ctx context.Context, user matrix.UserID, device NewDevice) (*Login, error) {
	account, err := s.Account(ctx, user)
	if err != nil {
		return nil, err
	}
	if account.Deactivated {
		return nil, deactivated()
	}
	return s.startLogin(ctx, user, device)
}

// EnsureSystemUser makes an account for the server itself, if it is not there:
// nobody can log in to it.
func (s *Service) EnsureSystemUser(ctx context.Context, user matrix.UserID, displayName, avatarURL string) error {
	account, err := s.account(ctx, user)
	if err != nil || account != nil {
		return err
	}
	_, err = s.create(ctx, storage.Account{UserID: user, CreatedAt: s.now()}, "", Registration{DisplayName: displayName})
	if err != nil && matrix.Code(err) != "M_USER_IN_USE" || avatarURL == "" {
		return err
	}
	return s.SetProfile(ctx, user, AvatarURL, avatarURL)
}
