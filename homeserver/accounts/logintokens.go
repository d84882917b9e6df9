package accounts

import (
	"context"
	"crypto/sha256"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// LoginTokenLifetime is how long a token of [Service.NewLoginToken] is good
// (Client-Server API § POST /login/get_token recommends it).
const LoginTokenLifetime = 2 * time.Minute

// RedirectTokenLifetime is how long a token of [Service.NewRedirectToken] is
// good. The specification would have it five seconds, but an application on a
// phone may have to start first.
const RedirectTokenLifetime = 30 * time.Second

const loginPrefix = "trestle_lt_"

// NewLoginToken makes a token with which somebody can log in as the user, once.
// That the caller may do so is for the caller to know.
func (s *Service) NewLoginToken(ctx context.Context, user matrix.UserID) (string, error) {
	return s.newLoginToken(ctx, user, SSOSession{}, LoginTokenLifetime)
}

// NewRedirectToken is [Service.NewLoginToken] for browsers that carry it to
// where it is used at once (Client-Server API § SSO client login).
// What comes of it ends with the login at the other place, see [Service.EndSSO].
func (s *Service) NewRedirectToken(ctx context.Context, user matrix.UserID, of SSOSession) (string, error) {
	return s.newLoginToken(ctx, user, of, RedirectTokenLifetime)
}

func (s *Service) newLoginToken(ctx context.Context, user matrix.UserID, of SSOSession, lifetime time.Duration) (string, error) {
	token, hash := newToken(loginPrefix)
	now := s.now()
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.LoginTokens.Insert(ctx, tx, hash[:], user, of, now+lifetime.Milliseconds(), now)
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// LoginByToken logs the user in who a login token is of, and uses it up.
// Tokens that are unknown, used or too old are told the same, M_FORBIDDEN.
func (s *Service) LoginByToken(ctx context.Context, token string, device NewDevice) (*Login, error) {
	if token == "" {
		return nil, matrix.MissingParam("The token is missing.")
	}
	store, hash := s.options.Store.LoginTokens, sha256.Sum256([]byte(token))
	user, of, err := store.Find(ctx, hash[:], s.now())
	if err != nil {
		return nil, err
	}
	if user == "" {
		return nil, wrongLoginToken()
	}
	account, err := s.account(ctx, user)
	if err != nil {
		return nil, err
	}
	if account == nil || account.Deactivated {
		return nil, deactivated()
	}
	if err := s.checkUnlocked(ctx, user); err != nil {
		return nil, err // the token stays good for when the account is unlocked
	}
	login, plan, err := s.prepareLogin(ctx, user, &device)
	if err != nil {
		return nil, err
	}
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		unused, err := store.Use(ctx, tx, hash[:])
		if err != nil {
			return err
		}
		if !unused {
			return wrongLoginToken()
		}
		if err := s.writeLogin(ctx, tx, plan); err != nil || of.Issuer == "" {
			return err
		}
		return s.options.Store.SSOSessions.Save(ctx, tx, user, plan.device.ID, of)
	})
	if err != nil {
		return nil, err
	}
	return login, nil
}

func wrongLoginToken() error {
	return matrix.Forbidden("The login token is not valid, or not any more.")
}
