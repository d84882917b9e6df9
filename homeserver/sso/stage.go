package sso

import (
	"context"
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

// BeginConfirmation sends a browser to a provider at which a user confirms an
// operation; they have to log in there again, if the provider has that.
func (s *Service) BeginConfirmation(ctx context.Context, providerID, session string) (*Next, error) {
	if err := s.options.Accounts.ValidSession(session); err != nil {
		return nil, err
	}
	p, err := s.provider(providerID)
	if err != nil {
		return nil, err
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
