package clientapi

import (
	"context"
	"html/template"
	"net/http"

	"trestle/homeserver/accounts"
	"trestle/homeserver/oauth"
	"trestle/internal/matrix"
)

// loginPage asks who it is: by password here, or elsewhere.
func (a *oauthAPI) loginPage(v *visit) *page {
	next := oauth.OwnPage(v.form.Get("next"))
	p := &page{Page: accounts.Page{Title: "Sign in", Continue: "Sign in", Fields: []accounts.Field{
		{Name: "user", Label: "User name or mail address", Completes: "username", Value: v.form.Get("user")},
		{Name: "password", Label: "Password", Secret: true, Completes: "current-password"},
	}}, Action: oauth.LoginPath, Hidden: map[string]string{"next": next}}
	for _, other := range a.oauth.Elsewhere().Providers() {
		p.After = append(p.After, exit{"Sign in with " + other.Name, template.URL(other.Start(withNext(oauth.LoginPath, next)))})
	}
	if a.accounts.SignUpStages() != nil {
		p.After = append(p.After, exit{"Make a new account", template.URL(withNext(oauth.SignUpPath, next))})
	}
	return p
}

// showLogin shows the page, unless the browser comes back from where somebody
// has signed in.
func (a *oauthAPI) showLogin(ctx context.Context, v *visit) error {
	user, err := a.oauth.Elsewhere().Result(v.r)
	switch {
	case err != nil:
		return a.explain(v, a.loginPage(v), err)
	case user == "":
		return a.show(v, a.loginPage(v), http.StatusOK)
	}
	return a.enterAs(ctx, v, user)
}

func (a *oauthAPI) logIn(ctx context.Context, v *visit) error {
	user, err := a.accounts.SignIn(ctx, accounts.NamedLogin(v.form.Get("user"), v.form.Get("password")))
	if err != nil {
		return a.explain(v, a.loginPage(v), err)
	}
	return a.enterAs(ctx, v, user)
}

// enterAs signs the browser in and goes on to where it wanted to go.
func (a *oauthAPI) enterAs(ctx context.Context, v *visit, user matrix.UserID) (err error) {
	if v.Visitor, err = a.oauth.SignIn(ctx, v.Visitor, user); err != nil {
		return err
	}
	a.setCookie(v)
	return v.goTo(oauth.OwnPage(v.form.Get("next")))
}

// signUpPage is all stages of registration at once.
func (a *oauthAPI) signUpPage(v *visit) (*page, error) {
	stages := a.accounts.SignUpStages()
	if stages == nil {
		return nil, matrix.Forbidden("Nobody can make an account on this page.")
	}
	next := oauth.OwnPage(v.form.Get("next"))
	p := &page{Page: accounts.Page{Title: "Make a new account", Continue: "Make it", Fields: []accounts.Field{
		{Name: "user", Label: "User name", Completes: "username", Value: v.form.Get("user")},
		{Name: "password", Label: "Password", Secret: true, Completes: "new-password"},
		{Name: "again", Label: "The password once more", Secret: true, Completes: "new-password"},
	}}, Action: oauth.SignUpPath, Hidden: map[string]string{"next": next}}
	for _, stage := range stages {
		part := stage.Page("")
		p.Fields = append(p.Fields, part.Fields...)
		p.Links = append(p.Links, part.Links...)
		if part.Agree != "" {
			p.Text, p.Agree = part.Text, part.Agree
		}
		if part.Captcha != nil {
			p.Captcha = part.Captcha
		}
	}
	p.After = []exit{{"Sign in to an account that you have", template.URL(withNext(oauth.LoginPath, next))}}
	return p, nil
}

func (a *oauthAPI) showSignUp(_ context.Context, v *visit) error {
	p, err := a.signUpPage(v)
	if err != nil {
		return err
	}
	return a.show(v, p, http.StatusOK)
}

func (a *oauthAPI) signUp(ctx context.Context, v *visit) error {
	p, err := a.signUpPage(v)
	if err != nil {
		return err
	}
	if v.form.Get("password") != v.form.Get("again") {
		return a.explain(v, p, matrix.InvalidParam("The two passwords differ."))
	}
	user, err := a.accounts.SignUp(ctx, v.form.Get("user"), v.form.Get("password"), v.form, v.from)
	if err != nil {
		return a.explain(v, p, err)
	}
	return a.enterAs(ctx, v, user)
}
