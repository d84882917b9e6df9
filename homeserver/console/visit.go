package console

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"trestle/homeserver/api"
	"trestle/homeserver/console/record"
	"trestle/internal/matrix"
)

// A visit is a request of a browser for a page.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	who     api.Caller
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

// cookieName is what a cookie is called. By https it is one that nobody but
// this server can have set.
func (a *consoleAPI) cookieName(r *http.Request, name string) string {
	if a.secure(r) {
		return "__Host-" + name
	}
	return name
}

// The cookies: of somebody who has signed in, and of the page to do so. They are
// two, because a link from elsewhere comes without the first.
const (
	sessionCookie = "trestle_console"
	loginCookie   = "trestle_console_login"
)

func (a *consoleAPI) setCookie(v *visit, name, value string, seconds int) {
	http.SetCookie(v.w, &http.Cookie{
		Name: a.cookieName(v.r, name), Value: value, Path: "/", MaxAge: seconds,
		Secure: a.secure(v.r), HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

func (a *consoleAPI) readCookie(r *http.Request, name string) string {
	cookie, err := r.Cookie(a.cookieName(r, name))
	if err != nil {
		return ""
	}
	return cookie.Value
}

// enter reads cookies and form.
func (a *consoleAPI) enter(v *visit) (err error) {
	v.cookie = a.readCookie(v.r, sessionCookie)
	if v.session, err = a.Record.Session(v.r.Context(), v.cookie); err != nil {
		return err
	}
	if v.session == nil {
		v.cookie = a.readCookie(v.r, loginCookie)
	}
	v.form, err = url.ParseQuery(v.r.URL.RawQuery)
	if v.r.Method == http.MethodPost {
		err = v.r.ParseForm()
		v.form = v.r.PostForm
	}
	if err != nil {
		return matrix.InvalidParam("What the browser has sent could not be read.")
	}
	for _, values := range v.form {
		for _, value := range values {
			if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				return matrix.InvalidParam("What the browser has sent is not text.")
			}
		}
	}
	if v.r.Method == http.MethodPost && (a.foreign.Check(v.r) != nil || !a.validToken(v, v.form.Get("form"))) {
		return matrix.Forbidden("This page was open for too long, or cookies are off. Go back, load it again and retry.")
	}
	return nil
}

// formToken is what pages for a browser send back: proof that it was one of
// them that was filled in.
func (a *consoleAPI) formToken(v *visit) string {
	mac := hmac.New(sha256.New, a.Secret)
	mac.Write([]byte("form\x00" + v.cookie))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (a *consoleAPI) validToken(v *visit, token string) bool {
	return len(v.cookie) >= 40 && hmac.Equal([]byte(token), []byte(a.formToken(v)))
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
	http.Redirect(v.w, v.r, path, http.StatusSeeOther)
	return nil
}
