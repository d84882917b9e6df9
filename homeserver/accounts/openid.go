package accounts

import (
	"context"
	"crypto/sha256"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// OpenIDLifetime is how long a token of [Service.OpenIDToken] is good for.
const OpenIDLifetime = time.Hour

// OpenIDToken makes a token by which others can ask this server who its holder
// is, and which is good for nothing else (Client-Server API § OpenID).
func (s *Service) OpenIDToken(ctx context.Context, user matrix.UserID) (string, error) {
	token, hash := newToken("trestle_id_")
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.OpenID.Insert(ctx, tx, hash[:], user, s.now()+OpenIDLifetime.Milliseconds())
	})
	return token, err
}

// OpenIDUser is whose OpenID token this is; M_UNKNOWN_TOKEN for those that are
// not known or too old (Server-Server API § OpenID).
func (s *Service) OpenIDUser(ctx context.Context, token string) (matrix.UserID, error) {
	hash := sha256.Sum256([]byte(token))
	user, err := s.options.Store.OpenID.User(ctx, hash[:], s.now())
	if err == nil && user == "" {
		err = matrix.UnknownToken(false)
	}
	return user, err
}

// Tidy forgets what has expired: OpenID tokens and sessions of authentication.
func (s *Service) Tidy(ctx context.Context) error {
	store, now := s.options.Store, s.now()
	if err := s.LoadErased(ctx); err != nil { // others may have erased users beside this server
		return err
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if err := store.OpenID.DeleteExpired(ctx, tx, now); err != nil {
			return err
		}
		if err := store.Grants.DeleteExpired(ctx, tx, now); err != nil {
			return err
		}
		if err := store.ThreePID.DeleteSessionsBefore(ctx, tx, now-verificationLifetime.Milliseconds()); err != nil {
			return err
		}
		_, err := store.Sessions.Delete(ctx, tx, "", now-sessionLifetime.Milliseconds())
		return err
	})
}
