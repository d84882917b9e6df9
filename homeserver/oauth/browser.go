package oauth

import (
	"context"
	"time"

	"trestle/homeserver/browsers"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	// BrowserLifetime is how long somebody stays signed in at this server's
	// pages.
	BrowserLifetime = 24 * time.Hour
	// recently is how long ago somebody has to have signed in who wants to do
	// what cannot be undone.
	recently = 10 * time.Minute
	// resetLifetime is how long a client has to replace cross-signing keys.
	resetLifetime = 10 * time.Minute
)

// A Visitor is a browser that looks at this server's pages.
type Visitor struct {
	Cookie    string
	User      matrix.UserID // who has signed in, or empty
	Recent    bool          // just now
	Suspended bool          // the user may change nothing that others see
}

// NewVisitor is a browser that comes for the first time.
func NewVisitor() *Visitor { return &Visitor{Cookie: browsers.NewSecret()} }

// Visitor is the browser that a cookie was given to.
func (s *Service) Visitor(ctx context.Context, cookie string) (*Visitor, error) {
	if !browsers.Plausible(cookie) {
		return NewVisitor(), nil
	}
	v := &Visitor{Cookie: cookie}
	found, err := s.options.Store.Browser(ctx, hashOf(cookie), s.now())
	if err == nil && found != nil {
		v.User, v.Suspended = found.UserID, found.Suspended
		v.Recent = s.now()-found.Since < recently.Milliseconds()
	}
	return v, err
}

// SignIn makes a visitor of a user, under a new cookie: nobody else can have
// chosen it.
func (s *Service) SignIn(ctx context.Context, before *Visitor, user matrix.UserID) (*Visitor, error) {
	v := NewVisitor()
	v.User, v.Recent = user, true
	return v, s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.options.Store.DeleteBrowser(ctx, tx, hashOf(before.Cookie)); err != nil {
			return err
		}
		return s.options.Store.SaveBrowser(ctx, tx, hashOf(v.Cookie), storage.OAuthBrowser{
			UserID: user, Since: s.now(), ExpiresAt: s.now() + BrowserLifetime.Milliseconds(),
		})
	})
}

// SignOut ends what SignIn began.
func (s *Service) SignOut(ctx context.Context, v *Visitor) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.DeleteBrowser(ctx, tx, hashOf(v.Cookie))
	})
}

// AllowReset lets a user's cross-signing keys be replaced by a client, once and
// for some minutes (MSC4312).
func (s *Service) AllowReset(ctx context.Context, user matrix.UserID) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.AllowReset(ctx, tx, user, s.now()+resetLifetime.Milliseconds())
	})
}

// takeReset uses up what AllowReset gave; false if there was nothing.
func (s *Service) takeReset(ctx context.Context, user matrix.UserID) (allowed bool, err error) {
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		allowed, err = s.options.Store.TakeReset(ctx, tx, user, s.now())
		return err
	})
	return allowed, err
}
