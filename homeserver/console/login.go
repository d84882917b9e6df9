package console

import (
	"context"
	"net/http"
	"net/url"

	"trestle/homeserver/browsers"
	"trestle/internal/matrix"
)

// loginView is the page that asks who it is.
type loginView struct {
	Typed   string // the user's name
	Next    string
	Foreign bool // a link from elsewhere, which comes without cookies
	Ways    []way
}

// A way is a place where administrators sign in besides here.
type way struct{ Name, Address string }

// ownPage is a page of the console; anything else is its first.
func ownPage(next string) string {
	return browsers.OwnPage(next, Root, servicePath, transactionPath, lettersPath, letterPath, logPath)
}

func (a *consoleAPI) askWho(v *visit, status int, message string) error {
	if v.session != nil || !browsers.Plausible(v.cookie) {
		v.session, v.cookie = nil, browsers.NewSecret()
		loginCookie.Set(v.w, v.secure, v.cookie)
	}
	next := ownPage(v.form.Get("next"))
	return a.show(v, status, "login", &view{Title: "Sign in", Error: message, Data: loginView{
		Typed: clip(v.form.Get("user"), 256), Next: next, Ways: a.ways(v, next),
		Foreign: v.r.Method == http.MethodGet && v.r.Header.Get("Sec-Fetch-Site") == "cross-site",
	}})
}

func (a *consoleAPI) showLogin(ctx context.Context, v *visit) error {
	switch {
	case v.session != nil:
		return v.goTo(ownPage(v.form.Get("next")))
	case v.form.Has(begunParameter):
		return a.comeBack(ctx, v)
	}
	return a.askWho(v, http.StatusOK, "")
}

func (a *consoleAPI) logIn(ctx context.Context, v *visit) error {
	cookie, err := a.check(ctx, v)
	return a.admitted(ctx, v, cookie, err)
}

// admitted lets a browser in under a new cookie, which nobody else can have
// chosen, or asks anew.
func (a *consoleAPI) admitted(ctx context.Context, v *visit, cookie string, err error) error {
	if known := forPeople(err); known != nil {
		for name, values := range known.Header {
			v.w.Header()[name] = values
		}
		status := known.Status
		if status == http.StatusUnauthorized {
			status = http.StatusForbidden // there is no scheme to authenticate with
		}
		return a.askWho(v, status, known.Message)
	}
	if err != nil {
		return err
	}
	if v.session != nil {
		if err := a.Record.SignOut(ctx, v.cookie, false); err != nil {
			return err
		}
	}
	sessionCookie.Set(v.w, v.secure, cookie)
	loginCookie.Clear(v.w, v.secure)
	return v.goTo(ownPage(v.form.Get("next")))
}

// check counts an attempt to sign in, and makes it.
func (a *consoleAPI) check(ctx context.Context, v *visit) (cookie string, err error) {
	if a.Limiter != nil {
		if err := a.Limiter.Allow("login", v.who); err != nil {
			return "", err
		}
	}
	return a.Record.SignIn(ctx, v.form.Get("user"), v.form.Get("password"))
}

func (a *consoleAPI) logOut(ctx context.Context, v *visit) error {
	if err := a.Record.SignOut(ctx, v.cookie, v.form.Get("where") == "everywhere"); err != nil {
		return err
	}
	sessionCookie.Clear(v.w, v.secure)
	return v.goTo(loginPath)
}

// Parameters with which a browser comes back from another place: proof that it
// was sent there by the page to sign in, and that it comes for the second time.
const (
	begunParameter = "begun"
	againParameter = "again"
)

// elsewhere is what begunParameter proves.
const elsewhere = "sign in elsewhere"

// ways are the other places to sign in, for this browser.
func (a *consoleAPI) ways(v *visit, next string) []way {
	back := loginPath + "?" + url.Values{"next": {next}, begunParameter: {a.pages.Proof(elsewhere, v.cookie)}}.Encode()
	var list []way
	for _, p := range a.Elsewhere.Providers() {
		list = append(list, way{p.Name, p.Start(back)})
	}
	return list
}

// comeBack lets in who comes back from another place. It must be the browser
// that looked at the page to sign in: nobody can have another one signed in by
// a link. But a browser that another site sends leaves that page's cookie out,
// so that it is asked, once, to come again from here.
func (a *consoleAPI) comeBack(ctx context.Context, v *visit) error {
	switch begun := a.pages.Proves(v.form.Get(begunParameter), elsewhere, v.cookie); {
	case !begun && v.form.Has(againParameter):
		return a.askWho(v, http.StatusForbidden, "This was begun in another browser, or yours keeps no cookies. Begin again here.")
	case !begun:
		v.form.Set(againParameter, "1")
		here := loginPath + "?" + v.form.Encode()
		v.w.Header().Set("Refresh", "0; url="+here)
		return a.show(v, http.StatusOK, "return", &view{Title: "One moment", Data: here})
	}
	cookie, err := a.checkElsewhere(ctx, v)
	return a.admitted(ctx, v, cookie, err)
}

func (a *consoleAPI) checkElsewhere(ctx context.Context, v *visit) (cookie string, err error) {
	user, err := a.Elsewhere.Result(v.r)
	if err != nil {
		return "", err
	}
	if user == "" {
		return "", matrix.InvalidParam("Nobody has signed in there. Begin again here.")
	}
	return a.Record.Admit(ctx, user)
}
