package console

import (
	"context"
	"net/http"
	"net/url"

	"trestle/homeserver/console/record"
)

// loginView is the page that asks who it is.
type loginView struct {
	Typed   string // the user's name
	Next    string
	Foreign bool // a link from elsewhere, which comes without cookies
}

// ownPage is a page of the console; anything else is its first.
func ownPage(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || len(next) > maxForm/2 {
		return Root
	}
	switch u.Path {
	case servicePath, transactionPath, lettersPath, letterPath:
		return u.Path + "?" + u.RawQuery
	}
	return Root
}

func (a *consoleAPI) askWho(v *visit, status int, message string) error {
	if v.session != nil || len(v.cookie) < 40 {
		v.session, v.cookie = nil, record.NewCookie()
		a.setCookie(v, loginCookie, v.cookie, 0)
	}
	return a.show(v, status, "login", &view{Title: "Sign in", Error: message, Data: loginView{
		Typed: clip(v.form.Get("user"), 256), Next: ownPage(v.form.Get("next")),
		Foreign: v.r.Method == http.MethodGet && v.r.Header.Get("Sec-Fetch-Site") == "cross-site",
	}})
}

func (a *consoleAPI) showLogin(_ context.Context, v *visit) error {
	if v.session != nil {
		return v.goTo(ownPage(v.form.Get("next")))
	}
	return a.askWho(v, http.StatusOK, "")
}

func (a *consoleAPI) logIn(ctx context.Context, v *visit) error {
	cookie, err := a.check(ctx, v)
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
	a.setCookie(v, sessionCookie, cookie, int(record.Lifetime.Seconds()))
	a.setCookie(v, loginCookie, "", -1)
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
	a.setCookie(v, sessionCookie, "", -1)
	return v.goTo(loginPath)
}
