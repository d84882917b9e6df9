package clientapi_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// A browser looks at the pages of a server as people do: it follows links,
// fills in forms and keeps cookies. It stays on the server's own pages.
type browser struct {
	t    *testing.T
	base string
	http *http.Client

	accept string // empty: nothing is said

	status int
	header http.Header
	body   string
	path   string // of the page, with its query
	left   string // where the page would have led, away from the server
	action string
	fields url.Values        // what the form sends
	links  map[string]string // by what they say
}

func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, base: base}
	b.http = &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), base+"/_trestle/") {
			b.left = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return b
}

// open looks at a page, whose address is whole or a path.
func (b *browser) open(address string) *browser {
	b.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.base + address
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.load(r)
}

// send fills in the form with names and values, and sends it.
func (b *browser) send(pairs ...string) *browser {
	b.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		b.fields.Set(pairs[i], pairs[i+1])
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.base+b.action, strings.NewReader(b.fields.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", b.base)
	return b.load(r)
}

func (b *browser) load(r *http.Request) *browser {
	b.t.Helper()
	b.left = ""
	if b.accept != "" {
		r.Header.Set("Accept", b.accept)
	}
	response, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.status, b.header, b.body, b.path = response.StatusCode, response.Header, string(text), response.Request.URL.RequestURI()
	b.action, b.fields, b.links = "", url.Values{}, map[string]string{}
	b.read()
	if b.status >= 500 {
		b.t.Errorf("%s %s: %d %s", r.Method, r.URL, b.status, b.body)
	}
	if b.left == "" && strings.HasPrefix(b.header.Get("Content-Type"), "text/html") {
		policy := b.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, part) || b.header.Get("X-Frame-Options") != "DENY" || b.header.Get("Cache-Control") != "no-store" {
				b.t.Errorf("%s: policy %q", b.path, policy)
			}
		}
	}
	return b
}

// read finds the form and the links of a page.
func (b *browser) read() {
	root, err := html.Parse(strings.NewReader(b.body))
	if err != nil {
		b.t.Fatal(err)
	}
	for n := range root.Descendants() {
		value := map[string]string{}
		for _, a := range n.Attr {
			value[a.Key] = a.Val
		}
		switch {
		case n.Type != html.ElementNode:
		case n.Data == "form":
			b.action = value["action"]
		case n.Data == "input" && value["type"] != "checkbox":
			b.fields.Set(value["name"], value["value"])
		case n.Data == "a" && n.FirstChild != nil:
			b.links[n.FirstChild.Data] = value["href"]
		}
	}
}

// says checks what a page is.
func (b *browser) says(status int, parts ...string) *browser {
	b.t.Helper()
	if b.status != status {
		b.t.Fatalf("%s: %d, want %d: %s", b.path, b.status, status, b.body)
	}
	for _, part := range parts {
		if !strings.Contains(b.body, part) {
			b.t.Errorf("%s does not say %q: %s", b.path, part, b.body)
		}
	}
	return b
}

// signIn fills in the page that asks who it is.
func (b *browser) signIn(user string) *browser {
	b.t.Helper()
	return b.says(200, "<h1>Sign in</h1>").send("user", user, "password", password)
}

// answers is what the page that it would leave to is told.
func (b *browser) answers() url.Values {
	b.t.Helper()
	u, err := url.Parse(b.left)
	if err != nil || b.left == "" {
		b.t.Fatalf("%s leads nowhere: %d %s", b.path, b.status, b.body)
	}
	raw := u.RawQuery
	if u.Fragment != "" {
		raw = u.EscapedFragment()
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		b.t.Fatal(err)
	}
	return values
}
