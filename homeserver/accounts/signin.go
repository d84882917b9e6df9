package accounts

import (
	"context"
	"crypto/sha256"
	"strings"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// NamedLogin is a login of somebody who has typed in a user name, a user ID or
// a mail address.
func NamedLogin(typed, password string) PasswordLogin {
	typed = strings.TrimSpace(typed)
	if strings.LastIndexByte(typed, '@') > 0 {
		return PasswordLogin{Medium: "email", Address: typed, Password: password}
	}
	return PasswordLogin{User: typed, Password: password}
}

// SignIn is whose name and password are given; nobody is logged in by it. Who
// does not exist and who has another password is told the same, M_FORBIDDEN.
func (s *Service) SignIn(ctx context.Context, l PasswordLogin) (matrix.UserID, error) {
	user, err := s.identify(ctx, l)
	if err != nil {
		return "", err
	}
	if err := s.checkPassword(ctx, user, l.Password); err != nil {
		return "", err
	}
	return user, s.checkUnlocked(ctx, user)
}

// LoginWith logs a user in whose right to do so has been established, and does
// further things in the transaction that makes the device.
func (s *Service) LoginWith(ctx context.Context, user matrix.UserID, d NewDevice, also func(tx *database.Tx) error) (*Login, error) {
	if exists, err := s.Exists(ctx, user); err != nil {
		return nil, err
	} else if !exists {
		return nil, deactivated()
	}
	if err := s.checkUnlocked(ctx, user); err != nil {
		return nil, err
	}
	login, plan, err := s.prepareLogin(ctx, user, &d)
	if err != nil {
		return nil, err
	}
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.writeLogin(ctx, tx, plan); err != nil {
			return err
		}
		return also(tx)
	})
	if err != nil {
		return nil, err
	}
	return login, nil
}

// TokenOwner is whom an access or a refresh token was given to, whether or not
// it has expired; empty for what is no token.
func (s *Service) TokenOwner(ctx context.Context, token string) (matrix.UserID, matrix.DeviceID, error) {
	store, hash := s.options.Store.Tokens, sha256.Sum256([]byte(token))
	refresh, err := store.FindRefresh(ctx, s.options.DB.Read(), hash[:])
	if err != nil {
		return "", "", err
	}
	if refresh != nil {
		return refresh.UserID, refresh.DeviceID, nil
	}
	access, err := store.Find(ctx, hash[:])
	if err != nil || access == nil {
		return "", "", err
	}
	return access.UserID, access.DeviceID, nil
}
