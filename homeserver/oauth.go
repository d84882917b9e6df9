package homeserver

import (
	"context"
	"crypto/sha256"
	"net/http"

	"trestle/homeserver/browsers"
	"trestle/homeserver/oauth"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// newOAuth is the OAuth 2.0 API, or nil. Browsers have to find its pages at the
// address that it names, so that there is none before the operator says where
// the server is.
func (s *Server) newOAuth(key matrix.SigningKey) *oauth.Service {
	if !s.cfg.OAuth.Enabled || s.cfg.PublicBaseURL == "" {
		return nil
	}
	secret := sha256.Sum256(append([]byte("oauth pages\x00"), key.Private.Seed()...))
	service := oauth.New(oauth.Options{
		Accounts: s.accounts, DB: s.db, Store: storage.NewAccounts(s.db).OAuth,
		BaseURL: s.cfg.BaseURL(), Secret: secret[:],
		Elsewhere: s.elsewhere(),
	})
	for _, stage := range service.Stages() {
		s.accounts.AddStage(stage)
	}
	return service
}

// elsewhere is where people can sign in who look at a page of this server.
func (s *Server) elsewhere() browsers.Elsewhere {
	return browsers.Elsewhere{
		Providers: func() []browsers.Provider {
			var list []browsers.Provider
			for _, offer := range s.sso.Offers() {
				list = append(list, browsers.Provider{ID: offer.ID, Name: offer.Name, Start: offer.Start})
			}
			return list
		},
		Result: func(r *http.Request) (matrix.UserID, error) { return s.sso.Result(r) },
	}
}

// tidyOAuth deletes what the OAuth 2.0 API does not need any more.
func (s *Server) tidyOAuth(ctx context.Context) error {
	if s.oauth == nil {
		return nil
	}
	return s.oauth.Tidy(ctx)
}
