package homeserver

import (
	"context"
	"crypto/sha256"
	"net/http"

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
		Elsewhere: oauth.Elsewhere{
			Providers: s.signInProviders,
			Result:    func(r *http.Request) (matrix.UserID, error) { return s.sso.Result(r) },
		},
	})
	for _, stage := range service.Stages() {
		s.accounts.AddStage(stage)
	}
	return service
}

// signInProviders are the providers at which people can sign in on the pages of
// the OAuth 2.0 API.
func (s *Server) signInProviders() []oauth.Provider {
	var list []oauth.Provider
	for _, offer := range s.sso.Offers() {
		list = append(list, oauth.Provider{ID: offer.ID, Name: offer.Name, Start: offer.Start})
	}
	return list
}

// tidyOAuth deletes what the OAuth 2.0 API does not need any more.
func (s *Server) tidyOAuth(ctx context.Context) error {
	if s.oauth == nil {
		return nil
	}
	return s.oauth.Tidy(ctx)
}
