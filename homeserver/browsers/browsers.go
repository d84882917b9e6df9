// Package browsers is what all pages of this server have in common that people
// look at: the cookie by which a browser is known again, proof that a form is
// one of theirs, and where they may lead.
package browsers

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"trestle/internal/matrix"
)

// MaxForm bounds what a page sends, in bytes.
const MaxForm = 64 << 10

// maxNext bounds a page to go on to, in bytes.
const maxNext = MaxForm / 2

// FormField is the field of a form that has the page's proof, see [Pages.Token].
const FormField = "form"

// NewSecret is what a cookie can say that nobody guesses.
func NewSecret() string { return strings.ToLower(rand.Text() + rand.Text()) }

// Plausible reports whether a text could come from [NewSecret].
func Plausible(secret string) bool { return len(secret) >= 40 && len(secret) <= 100 }

// HashOf is what is stored of a secret.
func HashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// A Cookie is one that browsers are given, for all paths and no script. By https
// its name has the prefix by which browsers keep it from everybody but this host.
type Cookie struct {
	Name     string
	Seconds  int // that it lasts; 0: until the browser ends
	SameSite http.SameSite
}

func (c Cookie) name(secure bool) string {
	if secure {
		return "__Host-" + c.Name
	}
	return c.Name
}

// Set gives a browser the cookie.
func (c Cookie) Set(w http.ResponseWriter, secure bool, secret string) {
	c.write(w, secure, secret, c.Seconds)
}

// Clear takes it away.
func (c Cookie) Clear(w http.ResponseWriter, secure bool) { c.write(w, secure, "", -1) }

func (c Cookie) write(w http.ResponseWriter, secure bool, secret string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: c.name(secure), Value: secret, Path: "/", MaxAge: seconds, Secure: secure, HttpOnly: true, SameSite: c.SameSite,
	})
}

// Read is what the browser has, or empty.
func (c Cookie) Read(r *http.Request, secure bool) string {
	cookie, err := r.Cookie(c.name(secure))
	if err != nil {
		return ""
	}
	return cookie.Value
}

// Pages are some pages of this server that send each other forms.
type Pages struct {
	foreign *http.CrossOriginProtection
	secret  []byte
}

// NewPages makes what checks forms. Browsers reach the pages under the base URL,
// unless they come to the server itself; the secret is no other pages'.
func NewPages(baseURL string, secret []byte) *Pages {
	p := &Pages{http.NewCrossOriginProtection(), secret}
	if base, err := url.Parse(baseURL); err == nil && base.Host != "" {
		_ = p.foreign.AddTrustedOrigin(base.Scheme + "://" + base.Host) // what a proxy says is another matter
	}
	return p
}

// Proof is what a page gives the browser with a cookie to bring back, for one
// purpose.
func (p *Pages) Proof(purpose, secret string) string {
	mac := hmac.New(sha256.New, p.secret)
	mac.Write([]byte(purpose + "\x00" + secret))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Proves reports whether the browser with a cookie has it from such a page.
func (p *Pages) Proves(proof, purpose, secret string) bool {
	return Plausible(secret) && hmac.Equal([]byte(proof), []byte(p.Proof(purpose, secret)))
}

// Token is the proof that stands in forms.
func (p *Pages) Token(secret string) string { return p.Proof("form", secret) }

// Query is what the address of a page says, as text.
func Query(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	return checked(values, err)
}

// Form is what a page has sent from the browser with a cookie: M_FORBIDDEN if it
// was none of these pages. Whoever serves it bounds the body.
func (p *Pages) Form(r *http.Request, secret string) (url.Values, error) {
	err := r.ParseForm()
	values, err := checked(r.PostForm, err)
	if err != nil {
		return nil, err
	}
	if p.foreign.Check(r) != nil || !p.Proves(values.Get(FormField), "form", secret) {
		return nil, matrix.Forbidden("This page was open for too long, or cookies are off. Go back, load it again and retry.")
	}
	return values, nil
}

// Read is [Pages.Form] for what is posted and [Query] otherwise.
func (p *Pages) Read(r *http.Request, secret string) (url.Values, error) {
	if r.Method == http.MethodPost {
		return p.Form(r, secret)
	}
	return Query(r)
}

func checked(values url.Values, err error) (url.Values, error) {
	if err != nil {
		return nil, matrix.InvalidParam("What the browser has sent could not be read.")
	}
	for _, all := range values {
		for _, value := range all {
			if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				return nil, matrix.InvalidParam("What the browser has sent is not text.")
			}
		}
	}
	return values, nil
}

// OwnPage is a page to go on to: one of the paths, with its query. Whatever else
// somebody says, such as the address of another place, is the page instead.
func OwnPage(next, instead string, paths ...string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || len(next) > maxNext {
		return instead
	}
	for _, path := range paths {
		if u.Path == path {
			return path + "?" + u.RawQuery
		}
	}
	return instead
}

// GoTo sends a browser to a page of this server.
func GoTo(w http.ResponseWriter, r *http.Request, page string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, page, http.StatusSeeOther)
}
