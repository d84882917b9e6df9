package sso

import (
	"context"
	"net/http"
	"net/url"

	"trestle/homeserver/accounts"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// welcome goes on with somebody who is new here: with an account, or with a
// page on which they choose its name.
func (s *Service) welcome(ctx context.Context, p *provider, f *flow, who *person) (*Next, error) {
	if !p.options.SignUp {
		return nil, matrix.Forbidden("Nobody has an account here who is you at %s.", p.options.Name)
	}
	f.Person = who
	_, terms := s.terms()
	if !terms && who.LocalPart != "" {
		next, err := s.signUp(ctx, p, f, newAccount{name: who.LocalPart})
		if matrix.Code(err) == "" {
			return next, err
		}
	}
	token, err := s.save(ctx, f, stepName)
	if err != nil {
		return nil, err
	}
	return &Next{Redirect: nextURL(token)}, nil
}

// A newAccount is what somebody new has chosen, or others for them.
type newAccount struct {
	name   string
	agreed bool   // to the terms
	token  string // of the step that ends with it; empty: none does
}

// signUp makes an account; M_USER_IN_USE, M_INVALID_USERNAME and the like for
// names that cannot be had. All of it happens, or nothing.
func (s *Service) signUp(ctx context.Context, p *provider, f *flow, chosen newAccount) (*Next, error) {
	who := f.Person
	r := accounts.Registration{Username: chosen.name, DisplayName: who.DisplayName}
	if chosen.agreed {
		r.Proofs = accounts.Proofs{accounts.StageTerms: "page"}
	}
	r.Also = func(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
		if chosen.token != "" {
			if err := s.useIn(ctx, tx, f, chosen.token); err != nil {
				return err
			}
		}
		linked, err := s.options.Accounts.LinkSubject(ctx, tx, p.options.Issuer, who.Subject, user)
		if err != nil {
			return err
		}
		if !linked {
			return matrix.Forbidden("You have got an account here in the meantime. Go back to your application and begin again.")
		}
		if who.Email == "" {
			return nil
		}
		return s.options.Accounts.GiveEmail(ctx, tx, user, who.Email)
	}
	login, err := s.options.Accounts.Register(ctx, r)
	if err != nil {
		return nil, err
	}
	return s.known(ctx, f, login.UserID)
}

// terms are what people agree to who register, if there are any.
func (s *Service) terms() (accounts.Page, bool) {
	stage, err := s.options.Accounts.PageStage(accounts.StageTerms)
	if err != nil {
		return accounts.Page{}, false
	}
	return stage.Page(""), true
}

// A Question is a page for the browser in the middle of a flow.
type Question struct {
	accounts.Page
	Leads string // the client's address, to which the answer may lead; or empty
}

// Question is what somebody has to answer for their login to go on.
func (s *Service) Question(ctx context.Context, cookies []*http.Cookie, token string) (*Question, error) {
	f, err := s.open(ctx, cookies, token, stepName, stepClient)
	if err != nil {
		return nil, err
	}
	if f.Step == stepName {
		return s.askName(f)
	}
	return askClient(f)
}

func (s *Service) askName(f *flow) (*Question, error) {
	p, err := s.provider(f.Provider)
	if err != nil {
		return nil, err
	}
	q := &Question{Leads: f.Client}
	q.Title = "Choose your user name"
	q.Text = "You are logged in at " + p.options.Name + ", and new here. Others will see this name; it cannot be changed later."
	q.Fields = []accounts.Field{{Name: "username", Label: "User name", Completes: "username", Value: suggestion(f.Person.LocalPart)}}
	q.Continue = "Create account"
	if terms, ok := s.terms(); ok {
		q.Links, q.Agree = terms.Links, terms.Agree
	}
	return q, nil
}

func askClient(f *flow) (*Question, error) {
	client, err := parseTarget(f.Client)
	if err != nil {
		return nil, err
	}
	q := &Question{Leads: f.Client}
	q.Title = "Log in to " + clientName(client) + "?"
	q.Text = "It will have access to everything of your account " + string(f.User) + ". Go on only if this is the application that you wanted to log in to."
	q.Continue = "Log in"
	return q, nil
}

// Answer takes the form of a question's page. Errors of the name leave the
// question as it is.
func (s *Service) Answer(ctx context.Context, cookies []*http.Cookie, token string, form url.Values) (*Next, error) {
	f, err := s.open(ctx, cookies, token, stepName, stepClient)
	if err != nil {
		return nil, err
	}
	if f.Step == stepName {
		return s.named(ctx, f, token, form)
	}
	client, err := parseTarget(f.Client)
	if err != nil {
		return nil, err
	}
	if err := s.options.Accounts.MayLogIn(ctx, f.User); err != nil {
		return nil, err
	}
	if err := s.use(ctx, f, token); err != nil {
		return nil, err
	}
	return s.hand(ctx, f, client)
}

// named makes the account of somebody who has chosen its name.
func (s *Service) named(ctx context.Context, f *flow, token string, form url.Values) (*Next, error) {
	p, err := s.provider(f.Provider)
	if err != nil {
		return nil, err
	}
	if !p.options.SignUp {
		return nil, noSuchFlow()
	}
	_, terms := s.terms()
	if terms && form.Get("agree") != "yes" {
		return nil, matrix.Forbidden("You have to agree to go on.")
	}
	name := form.Get("username")
	if name == "" {
		return nil, matrix.InvalidUsername("A user name cannot be empty.")
	}
	return s.signUp(ctx, p, f, newAccount{name, terms, token})
}
