package homeserver

import (
	"crypto/sha256"
	"crypto/tls"
	"net/http"

	"trestle/homeserver/sso"
	"trestle/homeserver/storage"
	"trestle/internal/claims"
	"trestle/internal/config"
	"trestle/internal/matrix"
)

// newSSO makes the service for logins at other places; without providers there
// are none, and it says so.
func (s *Server) newSSO(key matrix.SigningKey) (*sso.Service, error) {
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	secret := sha256.Sum256(append([]byte("sso\x00"), key.Private.Seed()...))
	o := sso.Options{
		DB: s.db, Flows: storage.NewAccounts(s.db).SSOFlows, Accounts: s.accounts,
		BaseURL: s.cfg.BaseURL(), TrustedClients: s.cfg.SSO.TrustedClients, Secret: secret[:], Log: s.log,
		HTTP: &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment,
			ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, MaxResponseHeaderBytes: 64 << 10,
		}},
	}
	for _, p := range s.cfg.SSO.Providers {
		options, err := providerOptions(p)
		if err != nil {
			return nil, err
		}
		o.Providers = append(o.Providers, options)
	}
	service := sso.New(o)
	if len(o.Providers) > 0 {
		s.accounts.AddStage(service.Stage())
	}
	return service, nil
}

func providerOptions(p config.SSOProvider) (sso.ProviderOptions, error) {
	o := sso.ProviderOptions{
		Provider: sso.Provider{ID: p.ID, Name: p.Name, Icon: p.Icon, Brand: p.Brand},
		Issuer:   p.Issuer, ClientID: p.ClientID, ClientSecret: p.ClientSecret.Reveal(), Scopes: p.Scopes,
		SignUp: p.AllowSignUp, LinkExisting: p.LinkExistingUsers, Update: p.UpdateProfile, EndEverything: p.LogoutEndsAll,
	}
	for _, r := range p.Require {
		o.Require = append(o.Require, sso.Requirement{Claim: r.Claim, Value: r.Value})
	}
	for _, t := range []struct {
		text string
		into *claims.Template
	}{
		{p.UserMapping.LocalPart, &o.LocalPart}, {p.UserMapping.DisplayName, &o.DisplayName}, {p.UserMapping.Email, &o.Email},
	} {
		var err error
		if *t.into, err = claims.Parse(t.text); err != nil {
			return o, err
		}
	}
	return o, nil
}
