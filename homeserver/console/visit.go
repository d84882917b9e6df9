package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"trestle/homeserver/api"
	"trestle/homeserver/browsers"
	"trestle/homeserver/console/record"
	"trestle/internal/matrix"
)

// A visit is a request of a browser for a page.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	who     api.Caller
	secure  bool            // it has come by https
	session *record.Session // nil before somebody has signed in
	cookie  string          // of the session or, without one, of the login page
	form    url.Values      // what the page before has sent, or the query
}

// A handler answers a visit.
type handler func(context.Context, *visit) error

type route = func(http.ResponseWriter, *http.Request, api.Caller, api.Params) error

// page serves a page: it finds out who looks at it, and shows errors to people.
func (a *consoleAPI) page(show handler) route {
	return func(w http.ResponseWriter, r *http.Request, who api.Caller, _ api.Params) error {
		v := &visit{w: w, r: r, who: who}
		guard(w.Header())
		err := a.enter(v)
		if err == nil {
			err = show(r.Context(), v)
		}
		return a.explain(v, err)
	}
}

// private serves a page to those who have signed in; others are sent to do so.
func (a *consoleAPI) private(show handler) route {
	return a.page(func(ctx context.Context, v *visit) error {
		switch {
		case v.session != nil:
			return show(ctx, v)
		case v.r.Method != http.MethodGet:
			return matrix.Forbidden("You are not signed in any more. Sign in, go back, and retry.")
		case v.r.URL.Path == livePath:
			v.w.Header().Set("Content-Type", "text/event-stream")
			_, err := v.w.Write([]byte(over))
			return err
		}
		next := v.r.URL.Path
		if v.r.URL.RawQuery != "" {
			next += "?" + v.r.URL.RawQuery
		}
		return v.goTo(loginPath + "?" + url.Values{"next": {next}}.Encode())
	})
}

// policy lets the pages load their own style and script, and nothing else.
const policy = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; img-src data:; " +
	"style-src 'self'; script-src 'self'; connect-src 'self'"

// guard says what browsers may do with an answer. Other origins may not read
// it, unlike those of the APIs beside it.
func guard(header http.Header) {
	for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"} {
		header.Del(name)
	}
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
}

// secure reports whether the browser has come by https: here, or to a proxy.
func (a *consoleAPI) secure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") ||
		a.base.Scheme == "https" && strings.EqualFold(a.base.Host, r.Host)
}

// The cookies: of somebody who has signed in, and of the page to do so. They are
// two, because a link from elsewhere comes without the first.
var (
	sessionCookie = browsers.Cookie{Name: "trestle_console", Seconds: int(record.Lifetime.Seconds()), SameSite: http.SameSiteStrictMode}
	loginCookie   = browsers.Cookie{Name: "trestle_console_login", SameSite: http.SameSiteStrictMode}
)

// enter reads cookies and form.
func (a *consoleAPI) enter(v *visit) (err error) {
	v.secure = a.secure(v.r)
	v.cookie = sessionCookie.Read(v.r, v.secure)
	if v.session, err = a.Record.Session(v.r.Context(), v.cookie); err != nil {
		return err
	}
	if v.session == nil {
		v.cookie = loginCookie.Read(v.r, v.secure)
	}
	v.form, err = a.pages.Read(v.r, v.cookie)
	return err
}

// explain shows an error on a page, if it is one for people; others are
// returned.
func (a *consoleAPI) explain(v *visit, err error) error {
	var known *matrix.Error
	if !errors.As(err, &known) {
		return err
	}
	for name, values := range known.Header {
		v.w.Header()[name] = values
	}
	return a.show(v, known.Status, "error", &view{Title: "This did not work", Error: known.Message})
}

// goTo sends the browser to another page.
func (v *visit) goTo(path string) error {
	browsers.GoTo(v.w, v.r, path)
	return nil
}
