package clientapi_test

import (
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"trestle/internal/config"
)

// frontedServer is a wholeServer behind a reverse proxy, whose address it
// knows before it starts: providers send people back to it.
func frontedServer(t *testing.T, database string, change func(cfg *config.Config)) *wholeServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := "http://" + listener.Addr().String()
	s := newWholeServer(t, database, func(cfg *config.Config) {
		cfg.PublicBaseURL = front
		change(cfg)
	})
	back, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httptest.Server{Listener: listener, Config: &http.Server{Handler: httputil.NewSingleHostReverseProxy(back)}}
	proxy.Start()
	t.Cleanup(proxy.Close)
	s.url = front
	return s
}

// A visitor has a browser, which keeps cookies and shows one page.
type visitor struct {
	t    *testing.T
	http *http.Client
	at   *url.URL // of the page, or of an application that was opened

	status int
	header http.Header
	body   string
}

func newVisitor(t *testing.T) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, http: &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// open goes to an address and no further.
func (b *visitor) open(address string) *visitor {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.resolve(address), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.load(r)
}

// resolve is an address as it stands on the page.
func (b *visitor) resolve(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.at != nil {
		u = b.at.ResolveReference(u)
	}
	return u.String()
}

func (b *visitor) load(r *http.Request) *visitor {
	b.t.Helper()
	r.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	response, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if response.StatusCode >= 500 && response.StatusCode != http.StatusBadGateway {
		b.t.Errorf("%s: %d %s", r.URL, response.StatusCode, body)
	}
	b.at, b.status, b.header, b.body = r.URL, response.StatusCode, response.Header, string(body)
	return b
}

// location is where the page sends the browser, or nothing.
func (b *visitor) location() string {
	if to := b.header.Get("Location"); to != "" {
		return b.resolve(to)
	}
	return ""
}

// follow follows redirects, but not those out of this machine: there the
// browser has arrived.
func (b *visitor) follow() *visitor {
	b.t.Helper()
	for range 20 {
		to := b.location()
		if to == "" {
			return b
		}
		u, err := url.Parse(to)
		if err != nil {
			b.t.Fatal(err)
		}
		if u.Hostname() != "127.0.0.1" {
			b.at = u
			return b
		}
		b.open(to)
	}
	b.t.Fatal("redirects without end")
	return b
}

// gone follows an address to where it ends.
func (b *visitor) gone(address string) *visitor {
	b.t.Helper()
	return b.open(address).follow()
}

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	inputs     = regexp.MustCompile(`<input[^>]*>`)
	attribute  = regexp.MustCompile(` (name|value)="([^"]*)"`)
)

// submit sends the page's form, with what stands in it and what is typed in.
func (b *visitor) submit(typed url.Values) *visitor {
	b.t.Helper()
	action := formAction.FindStringSubmatch(b.body)
	if action == nil {
		b.t.Fatalf("%s has no form: %d %s", b.at, b.status, b.body)
	}
	form := url.Values{}
	for _, input := range inputs.FindAllString(b.body, -1) {
		var name, value string
		for _, a := range attribute.FindAllStringSubmatch(input, -1) {
			if a[1] == "name" {
				name = a[2]
			} else {
				value = html.UnescapeString(a[2])
			}
		}
		if name != "" && !strings.Contains(input, "checkbox") {
			form.Set(name, value)
		}
	}
	for name, values := range typed {
		form[name] = values
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.resolve(html.UnescapeString(action[1])), strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.load(r).follow()
}

var links = regexp.MustCompile(`<a [^>]*href="([^"]*)"[^>]*>([^<]*)</a>`)

// click follows the link with a text.
func (b *visitor) click(text string) *visitor {
	b.t.Helper()
	return b.gone(b.link(text))
}

// link is the address of the link with a text.
func (b *visitor) link(text string) string {
	b.t.Helper()
	for _, link := range links.FindAllStringSubmatch(b.body, -1) {
		if strings.Contains(link[2], text) {
			return html.UnescapeString(link[1])
		}
	}
	b.t.Fatalf("%s has no link %q: %d %s", b.at, text, b.status, b.body)
	return ""
}

// shows checks the page.
func (b *visitor) shows(status int, words ...string) *visitor {
	b.t.Helper()
	text := html.UnescapeString(b.body)
	for _, word := range words {
		if b.status != status || !strings.Contains(text, word) {
			b.t.Errorf("%s: %d without %q:\n%s", b.at, b.status, word, text)
		}
	}
	return b
}
