package clientapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/browsers"
	"trestle/homeserver/oauth"
	"trestle/internal/matrix"
)

// Pages at which people sign in, allow applications and look after their
// accounts. Forms carry a token that belongs to the browser's cookie, and are
// taken from this server's own pages only.
func (a *oauthAPI) pageRoutes() []api.Route {
	limit, body, explain := api.Limit("login"), api.BodyLimit(maxForm), api.Errors(oauthPageErrors)
	return []api.Route{
		api.Raw("GET", oauth.AuthorizePath, api.None, a.page(a.showConsent), explain),
		api.Raw("POST", oauth.AuthorizePath, api.None, a.page(a.consent), limit, body, explain),
		api.Raw("GET", oauth.LoginPath, api.None, a.page(a.showLogin), explain),
		api.Raw("POST", oauth.LoginPath, api.None, a.page(a.logIn), limit, body, explain),
		api.Raw("GET", oauth.SignUpPath, api.None, a.page(a.showSignUp), explain),
		api.Raw("POST", oauth.SignUpPath, api.None, a.page(a.signUp), api.Limit("register"), body, explain),
		api.Raw("GET", oauth.LinkPath, api.None, a.page(a.showLink), explain),
		api.Raw("POST", oauth.LinkPath, api.None, a.page(a.link), limit, body, explain),
		api.Raw("GET", oauth.AccountPath, api.None, a.page(a.showAccount), explain),
		api.Raw("POST", oauth.AccountPath, api.None, a.page(a.changeAccount), limit, body, explain),
	}
}

// oauthPageErrors shows people a page where they are not let in at all, and tells
// programs in the way of OAuth.
func oauthPageErrors(w http.ResponseWriter, r *http.Request, err error) error {
	if err = errorPage(w, r, err); err == nil {
		return nil
	}
	return oauthErrors(w, r, err)
}

// A visit is a request of a browser for a page.
type visit struct {
	*oauth.Visitor
	w    http.ResponseWriter
	r    *http.Request
	from string     // the address of the browser
	form url.Values // what the page before has sent, or the query
}

// page serves a page: it finds out who looks at it, and shows errors to people.
func (a *oauthAPI) page(show func(context.Context, *visit) error) func(http.ResponseWriter, *http.Request, api.Caller, api.Params) error {
	return func(w http.ResponseWriter, r *http.Request, who api.Caller, _ api.Params) error {
		v := &visit{w: w, r: r, from: who.RemoteAddr}
		err := a.enter(v)
		if err == nil {
			err = show(r.Context(), v)
		}
		return a.explain(v, &page{Page: accounts.Page{Title: "This did not work"}}, err)
	}
}

// enter reads cookie and form.
func (a *oauthAPI) enter(v *visit) (err error) {
	cookie := pageCookie.Read(v.r, a.secure)
	if v.Visitor, err = a.oauth.Visitor(v.r.Context(), cookie); err != nil {
		return err
	}
	if v.Cookie != cookie {
		a.setCookie(v)
	}
	v.form, err = a.oauth.Pages().Read(v.r, v.Cookie)
	return err
}

func (a *oauthAPI) setCookie(v *visit) { pageCookie.Set(v.w, a.secure, v.Cookie) }

// show shows a page; a form on it gets what it has to send back.
func (a *oauthAPI) show(v *visit, p *page, status int) error {
	if p.Action != "" {
		if p.Hidden == nil {
			p.Hidden = map[string]string{}
		}
		p.Hidden[browsers.FormField] = a.oauth.Pages().Token(v.Cookie)
	}
	p.Referrer = true
	return p.write(v.w, status)
}

// explain shows an error on a page, if it is one for people; others are
// returned.
func (a *oauthAPI) explain(v *visit, p *page, err error) error {
	var known *matrix.Error
	var mistake *oauth.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mistake):
		status, _ := mistake.Answer()
		p.Error = mistake.Description
		if status == http.StatusUnauthorized {
			status = http.StatusBadRequest // there is nothing to authenticate with
		}
		return a.show(v, p, status)
	case errors.As(err, &known):
		p.Error = known.Message
		for name, values := range known.Header {
			v.w.Header()[name] = values
		}
		return a.show(v, p, known.Status)
	}
	return err
}

// withNext is a path with the page to go to afterwards.
func withNext(path, next string, more ...string) string {
	query := url.Values{"next": {next}}
	for i := 0; i < len(more); i += 2 {
		if more[i+1] != "" {
			query.Set(more[i], more[i+1])
		}
	}
	return path + "?" + query.Encode()
}

// goTo sends the browser to one of these pages.
func (v *visit) goTo(path string) error {
	browsers.GoTo(v.w, v.r, path)
	return nil
}
