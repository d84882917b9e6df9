package accounts

import (
	"context"
	"sync/atomic"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A RegistrationToken lets its holders register, a number of times and until a
// time, besides those of the configuration.
type RegistrationToken = storage.RegistrationToken

// maxRegistrationTokens bounds what one answer lists.
const maxRegistrationTokens = 10_000

// storedTokens remembers whether there are any: most servers have none.
type storedTokens struct{ known, some atomic.Bool }

// takesTokens reports whether a token can let anybody register.
func (s *Service) takesTokens() bool {
	if len(s.options.RegistrationTokens) > 0 {
		return true
	}
	if !s.storedTokens.known.Load() {
		list, err := s.options.Store.RegTokens.List(context.Background(), 1)
		if err != nil {
			s.options.Log.Warn("registration tokens not read", "err", err)
			return false
		}
		s.storedTokens.some.Store(len(list) > 0)
		s.storedTokens.known.Store(true)
	}
	return s.storedTokens.some.Load()
}

// ValidRegistrationToken reports whether a registration token lets its holder
// register; M_FORBIDDEN if no token can.
func (s *Service) ValidRegistrationToken(ctx context.Context, token string) (bool, error) {
	if !s.options.OpenRegistration && !s.takesTokens() {
		return false, registrationClosed()
	}
	if contains(s.options.RegistrationTokens, token) {
		return true, nil
	}
	if !validRegistrationToken(token) {
		return false, nil
	}
	t, err := s.options.Store.RegTokens.Find(ctx, s.options.DB.Read(), token)
	return t != nil && s.Usable(*t), err
}

// Usable reports whether a token lets somebody register now.
func (s *Service) Usable(t RegistrationToken) bool {
	return (t.UsesAllowed == nil || t.Pending+t.Completed < *t.UsesAllowed) && (t.ExpiresAt == nil || *t.ExpiresAt > s.now())
}

// checkTokenStage holds a token against those there are. A use of it is taken by
// the account and not by the stage: who does not go on has used nothing.
func (s *Service) checkTokenStage(ctx context.Context, token string) error {
	valid, err := s.ValidRegistrationToken(ctx, token)
	if err == nil && !valid {
		err = retry("M_UNAUTHORIZED", "That registration token is not valid.")
	}
	return err
}

// useToken takes a use of a token for an account; M_FORBIDDEN if others have had
// the last one since it was checked.
func (s *Service) useToken(ctx context.Context, tx *database.Tx, token string) error {
	if token == "" || contains(s.options.RegistrationTokens, token) {
		return nil
	}
	taken, err := s.options.Store.RegTokens.Use(ctx, tx, token, s.now())
	if err == nil && !taken {
		err = matrix.Forbidden("That registration token is not valid any more.")
	}
	return err
}

// RegistrationTokens is the stored tokens, by their texts.
func (s *Service) RegistrationTokens(ctx context.Context) ([]RegistrationToken, error) {
	return s.options.Store.RegTokens.List(ctx, maxRegistrationTokens)
}

// RegistrationToken is a stored token, or M_NOT_FOUND.
func (s *Service) RegistrationToken(ctx context.Context, token string) (*RegistrationToken, error) {
	t, err := s.options.Store.RegTokens.Find(ctx, s.options.DB.Read(), token)
	if err == nil && t == nil {
		err = noSuchToken()
	}
	return t, err
}

// CreateRegistrationToken stores a token; M_INVALID_PARAM if there is one of
// that text already, or it is not one.
func (s *Service) CreateRegistrationToken(ctx context.Context, t RegistrationToken) (*RegistrationToken, error) {
	if !validRegistrationToken(t.Token) {
		return nil, matrix.InvalidParam("A token has 1 to 64 of A-Z a-z 0-9 . _ ~ -")
	}
	if err := s.checkToken(t); err != nil {
		return nil, err
	}
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.storedTokens.known.Store(false) })
		made, err := s.options.Store.RegTokens.Insert(ctx, tx, t)
		if err == nil && !made {
			err = matrix.InvalidParam("There is such a token already.")
		}
		return err
	})
	t.Pending, t.Completed = 0, 0
	return &t, err
}

// ChangeRegistrationToken has fn change how often and how long a token lets register.
func (s *Service) ChangeRegistrationToken(ctx context.Context, token string, fn func(*RegistrationToken)) (changed *RegistrationToken, err error) {
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if changed, err = s.options.Store.RegTokens.Find(ctx, tx, token); err != nil {
			return err
		}
		if changed == nil {
			return noSuchToken()
		}
		fn(changed)
		if err := s.checkToken(*changed); err != nil {
			return err
		}
		return s.options.Store.RegTokens.Update(ctx, tx, *changed)
	})
	return changed, err
}

// DeleteRegistrationToken ends a token.
func (s *Service) DeleteRegistrationToken(ctx context.Context, token string) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.storedTokens.known.Store(false) })
		found, err := s.options.Store.RegTokens.Delete(ctx, tx, token)
		if err == nil && !found {
			err = noSuchToken()
		}
		return err
	})
}

func (s *Service) checkToken(t RegistrationToken) error {
	if t.UsesAllowed != nil && *t.UsesAllowed < 0 {
		return matrix.InvalidParam("uses_allowed is a number from 0, or null.")
	}
	if t.ExpiresAt != nil && *t.ExpiresAt <= s.now() {
		return matrix.InvalidParam("expiry_time is in the past.")
	}
	return nil
}

// validRegistrationToken holds a token to Client-Server API §
// Token-authenticated registration.
func validRegistrationToken(token string) bool {
	for i := range len(token) {
		c := token[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '~' && c != '-' {
			return false
		}
	}
	return token != "" && len(token) <= 64
}

func noSuchToken() error { return matrix.NotFound("There is no such registration token.") }
