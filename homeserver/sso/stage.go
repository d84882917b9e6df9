package sso

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
)

// StageName is the stage of user-interactive authentication by which people
// confirm what they do where they have logged in.
const StageName = "m.login.sso"

// Stage is what the accounts are told of, if there are providers.
func (s *Service) Stage() accounts.Stage { return stage{s} }

type stage struct{ sso *Service }

var (
	_ accounts.UserStage = stage{}
	_ accounts.PageStage = stage{}
)

func (stage) Name() string                          { return StageName }
func (stage) Params(accounts.Operation, string) any { return nil }

// Check is for clients that try without the page.
func (stage) Check(context.Context, accounts.Attempt) (string, error) {
	return "", matrix.NewError(http.StatusUnauthorized, "M_FORBIDDEN", "Log in on the page of this stage first.")
}

// Confirms reports whether the user can log in by a provider.
func (st stage) Confirms(ctx context.Context, op accounts.Operation) (bool, error) {
	list, err := st.sso.options.Accounts.Subjects(ctx, op.User)
	return slices.ContainsFunc(list, func(v accounts.Subject) bool {
		return slices.ContainsFunc(st.sso.providers, func(p *provider) bool { return p.options.Issuer == v.Issuer })
	}), err
}

// Page asks people first whether they want this at all.
func (stage) Page(session string) accounts.Page {
	return accounts.Page{Redirect: ConfirmPath + "?" + url.Values{"session": {session}}.Encode()}
}

func (stage) Submit(context.Context, url.Values, string) (matrix.UserID, error) {
	return "", matrix.MethodNotAllowed()
}

// A Confirmation is a page on which somebody says that an operation is theirs,
// by choosing where they log in for it.
type Confirmation struct {
	Cookie *http.Cookie // that the browser gets with the page
	Ways   []Way
}

// A Way is a provider and the address that leads there.
type Way struct {
	Provider
	URL string
}

// AskConfirmation is what is asked about a session of user-interactive
// authentication. The ways are good in that browser alone: who sends somebody
// their address, past the page, has not asked them anything.
func (s *Service) AskConfirmation(cookies []*http.Cookie, session string) (*Confirmation, error) {
	if err := s.options.Accounts.ValidSession(session); err != nil {
		return nil, err
	}
	secret := s.confirmSecret(cookies)
	if secret == "" {
		secret = rand.Text()
	}
	c := &Confirmation{Cookie: s.cookie(confirmCookie, secret)}
	for _, p := range s.Providers() {
		query := url.Values{"session": {session}, "provider": {p.ID}, "proof": {s.confirmProof(secret, session)}}
		c.Ways = append(c.Ways, Way{p, ConfirmPath + "?" + query.Encode()})
	}
	return c, nil
}

// confirmCookie is in the place of a flow's ID, and is none.
const confirmCookie = "confirm"

func (s *Service) confirmSecret(cookies []*http.Cookie) string {
	for _, c := range cookies {
		if c.Name == s.cookieName(confirmCookie) && len(c.Value) == len(rand.Text()) {
			return c.Value
		}
	}
	return ""
}

func (s *Service) confirmProof(secret, session string) string {
	mac := hmac.New(sha256.New, s.options.Secret)
	mac.Write([]byte("sso confirm\x00" + secret + "\x00" + session))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// BeginConfirmation sends a browser to a provider at which a user confirms an
// operation; they have to log in there again, if the provider has that. Without
// the proof that the browser comes from the page there is nothing to do, and no
// error.
func (s *Service) BeginConfirmation(ctx context.Context, cookies []*http.Cookie, providerID, session, proof string) (*Next, error) {
	if err := s.options.Accounts.ValidSession(session); err != nil {
		return nil, err
	}
	p, err := s.provider(providerID)
	if err != nil {
		return nil, err
	}
	secret := s.confirmSecret(cookies)
	if secret == "" || !hmac.Equal([]byte(proof), []byte(s.confirmProof(secret, session))) {
		return nil, nil
	}
	return s.send(ctx, p, &flow{Session: session}, "login")
}

// confirmed completes the stage, if whoever has logged in is the user whose
// operation it is.
func (s *Service) confirmed(ctx context.Context, p *provider, f *flow, user matrix.UserID) (*Next, error) {
	if user == "" {
		return nil, matrix.Forbidden("Nobody has an account here who is you at %s.", p.options.Name)
	}
	if !s.options.Accounts.SessionOf(f.Session, user) {
		return nil, matrix.Forbidden("This is for another account to confirm, and you are logged in as %s.", user)
	}
	if err := s.options.Accounts.CompleteStage(ctx, f.Session, StageName, user); err != nil {
		return nil, err
	}
	return &Next{Done: true, Cookie: s.cookie(f.ID, "")}, nil
}
