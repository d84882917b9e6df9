package sso

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"trestle/homeserver/accounts"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// LogoutPath is where a provider says that a login is over; its ID follows.
const LogoutPath = "/_trestle/client/sso/logout/"

const (
	maxLogoutToken = 16 << 10
	// A word that is older than this, or from so far ahead, is not heard.
	maxLogoutAge  = time.Hour
	maxClockAhead = 5 * time.Minute
	// maxIdentifier bounds what a token calls itself and its session, in bytes.
	maxIdentifier = 255
)

// Logout hears the word of a provider that a login there is over, and ends
// what has come of it here (OpenID Connect Back-Channel Logout 1.0 § 2.5, § 2.6).
// Words that cannot be believed are M_INVALID_PARAM.
func (s *Service) Logout(ctx context.Context, providerID, token string) error {
	p, err := s.provider(providerID)
	if err != nil {
		return err
	}
	if token == "" || len(token) > maxLogoutToken {
		return matrix.InvalidParam("There is no logout token.")
	}
	m, err := p.discover(ctx)
	if err != nil {
		return err
	}
	said, err := p.readLogout(ctx, m, token)
	if err != nil {
		p.log.WarnContext(ctx, "logout by an identity provider not believed", "provider", p.options.ID, "err", err)
		return matrix.InvalidParam("The logout token cannot be believed.")
	}
	over := accounts.SSOSession{Issuer: p.options.Issuer, Subject: said.Subject, Session: said.SessionID}
	users, err := s.options.Accounts.EndSSO(ctx, accounts.SSOLogout{
		SSOSession: over, Also: func(ctx context.Context, tx *database.Tx) error { return s.endFlows(ctx, tx, over) },
		TokenID: said.TokenID, ExpiresAt: said.IssuedAt.Add(maxLogoutAge + maxClockAhead).UnixMilli(),
		Everything: p.options.EndEverything,
	})
	if err == nil {
		p.log.InfoContext(ctx, "an identity provider has logged somebody out", "provider", p.options.ID, "users", users)
	}
	return err
}

// readLogout checks what the library leaves open beside signature, issuer,
// audience, expiry, and that there is no nonce.
func (p *provider) readLogout(ctx context.Context, m *metadata, token string) (*oidc.LogoutToken, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.http), providerTime)
	defer cancel()
	said, err := m.verifier.VerifyLogout(ctx, token)
	if err != nil {
		return nil, err
	}
	var body struct {
		Events map[string]map[string]json.RawMessage `json:"events"`
	}
	if err := said.Claims(&body); err != nil {
		return nil, err
	}
	age := p.now().Sub(said.IssuedAt)
	switch {
	case body.Events["http://schemas.openid.net/event/backchannel-logout"] == nil:
		return nil, fmt.Errorf("%w: the event is no object", errNotBelieved)
	case age > maxLogoutAge || age < -maxClockAhead:
		return nil, fmt.Errorf("%w: it was issued %v ago", errNotBelieved, age)
	case max(len(said.TokenID), len(said.Subject), len(said.SessionID)) > maxIdentifier:
		return nil, fmt.Errorf("%w: its identifiers are too long", errNotBelieved)
	}
	return said, nil
}

// endFlows ends the flows that wait here with a login that is over: for a name,
// for a word about the client, for a page of this server.
func (s *Service) endFlows(ctx context.Context, tx *database.Tx, over accounts.SSOSession) error {
	const batch = 200
	for after := ""; ; {
		list, err := s.options.Flows.List(ctx, tx, after, batch)
		if err != nil {
			return err
		}
		for _, stored := range list {
			after = stored.ID
			var f flow
			if json.Unmarshal(stored.Data, &f) != nil || !endsWith(f.Login, over) {
				continue
			}
			if err := s.options.Flows.Drop(ctx, tx, stored.ID); err != nil {
				return err
			}
		}
		if len(list) < batch {
			return nil
		}
	}
}

// endsWith reports whether a login is one of those that are over: of the
// subject, of the session, or, if both are said, of the subject with that
// session or with none.
func endsWith(login, over accounts.SSOSession) bool {
	switch {
	case login.Issuer == "" || login.Issuer != over.Issuer:
		return false
	case over.Subject == "":
		return login.Session == over.Session
	}
	return login.Subject == over.Subject && (over.Session == "" || login.Session == "" || login.Session == over.Session)
}
