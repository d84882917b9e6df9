package console_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/registration"
)

const (
	password = "correct horse battery"
	root     = "/_trestle/console"
)

// A world is a homeserver with an application service for all rooms, and an
// administrator.
type world struct {
	t   *testing.T
	cfg *config.Config
	url string
	as  *testkit.FakeAS
}

func newWorld(t *testing.T, database string, answer func(testkit.Attempt) int, change ...func(*config.Config)) *world {
	t.Helper()
	w := &world{t: t, as: testkit.NewJudgedAS(t, "hs_token_of_<irc>")}
	w.as.Answer = answer
	listener := httptest.NewUnstartedServer(nil)
	t.Cleanup(listener.Close)
	w.url = "http://" + listener.Listener.Addr().String()
	w.cfg = config.Default()
	w.cfg.PublicBaseURL = w.url
	w.cfg.ServerName, w.cfg.Data = "hs.example", t.TempDir()
	w.cfg.Media.Path = filepath.Join(w.cfg.Data, "media")
	if database == "" {
		database = filepath.Join(w.cfg.Data, "trestle.db")
	}
	w.cfg.Database = config.Secret(database)
	w.cfg.SigningKey = filepath.Join(w.cfg.Data, "signing.key")
	w.cfg.AppServices = []string{t.TempDir()}
	w.cfg.OpenRegistration, w.cfg.NoRateLimits = true, true
	w.cfg.Passwords.Hash, w.cfg.Passwords.BcryptCost = "bcrypt", 4
	for _, c := range change {
		c(w.cfg)
	}
	w.register("irc <u>", w.as.URL)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	hs, err := homeserver.Open(t.Context(), w.cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hs.Close)
	t.Cleanup(listener.CloseClientConnections)
	listener.Config.Handler = hs.Handler()
	listener.Start()
	w.user("root", true)
	w.user("alice", false)
	return w
}

// register writes a registration for all rooms.
func (w *world) register(id, address string) {
	w.t.Helper()
	reg := registration.Generate(id, address, "ircbot")
	reg.ASToken, reg.HSToken = "as_token_of_<irc>", w.as.HSToken
	space, err := registration.NewNamespace("!.*", false)
	if err != nil {
		w.t.Fatal(err)
	}
	reg.Namespaces.Rooms = append(reg.Namespaces.Rooms, space)
	if err := reg.Write(filepath.Join(w.cfg.AppServices[0], "irc.yaml")); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) user(name string, admin bool) {
	w.t.Helper()
	_, err := homeserver.CreateUser(w.t.Context(), w.cfg, slog.New(slog.DiscardHandler), homeserver.NewUser{Localpart: name, Password: password, Admin: admin})
	if err != nil {
		w.t.Fatal(err)
	}
}

// call makes a request of the Client-Server API or the operator's; an answer
// that is no success fails the test.
func (w *world) call(token, method, path string, body any) map[string]any {
	w.t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(string(encoded)))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: testkit.SpecTransport(w.t, http.DefaultTransport)}
	if !strings.HasPrefix(path, "/_matrix") {
		client.Transport = nil
	}
	response, err := client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode/100 != 2 {
		w.t.Fatalf("%s %s: %d %v %v", method, path, response.StatusCode, answer, err)
	}
	return answer
}

func (w *world) login(name string) (token string) {
	w.t.Helper()
	answer := w.call("", "POST", "/_matrix/client/v3/login", map[string]any{
		"type": "m.login.password", "identifier": map[string]string{"type": "m.id.user", "user": name}, "password": password,
	})
	return answer["access_token"].(string)
}

// talk makes a room in which something is said.
func (w *world) talk(text string) {
	w.t.Helper()
	token := w.login("alice")
	room := w.call(token, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": "Tea"})["room_id"].(string)
	w.call(token, "PUT", "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/send/m.room.message/1", map[string]string{"msgtype": "m.text", "body": text})
}

// A browser looks at pages, without scripts.
type browser struct {
	t    *testing.T
	base string
	jar  *cookiejar.Jar
	http *http.Client

	status int
	header http.Header
	body   string
	path   string // with its query, after redirections
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &browser{t: w.t, base: w.url, jar: jar, http: &http.Client{Jar: jar}}
}

// operator is a browser in which root has signed in.
func (w *world) operator() *browser {
	w.t.Helper()
	b := w.browser()
	b.open(root).says(200, "<h1>Sign in</h1>")
	return b.send(root+"/login", "user", "root", "password", password).says(200, "<h1>Application services</h1>")
}

func (b *browser) open(path string) *browser {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, nil)
}

// send posts a form with the token of the page that was looked at last.
func (b *browser) send(path string, pairs ...string) *browser {
	b.t.Helper()
	form := url.Values{"form": {b.token()}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.do(http.MethodPost, path, form, map[string]string{"Origin": b.base})
}

var formToken = regexp.MustCompile(`name="form" value="([^"]*)"`)

func (b *browser) token() string {
	if found := formToken.FindStringSubmatch(b.body); found != nil {
		return found[1]
	}
	return ""
}

// field is the value of a hidden field.
func (b *browser) field(name string) string {
	b.t.Helper()
	found := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(b.body)
	if found == nil {
		b.t.Fatalf("%s has no %s: %s", b.path, name, b.body)
	}
	return found[1]
}

func (b *browser) do(method, path string, form url.Values, header map[string]string) *browser {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range header {
		r.Header.Set(name, value)
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
	b.check()
	return b
}

// check is what all answers have in common.
func (b *browser) check() {
	b.t.Helper()
	policy := b.header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "nonce") ||
		b.header.Get("X-Frame-Options") != "DENY" || b.header.Get("Access-Control-Allow-Origin") != "" {
		b.t.Errorf("%s may be used by others: %v", b.path, b.header)
	}
	for _, secret := range []string{"hs_token", "as_token", "hs_tok", "<u>", "<script>alert"} {
		if strings.Contains(b.body, secret) {
			b.t.Errorf("%s shows %q: %s", b.path, secret, b.body)
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

// until looks at a page again and again, until it says something.
func (b *browser) until(path, part string) *browser {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for b.open(path); !strings.Contains(b.body, part); b.open(path) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.t.Fatalf("%s never says %q: %s", path, part, b.body)
		}
	}
	return b
}

// cookie is that of a browser, by its name.
func (b *browser) cookie(name string) string {
	base, _ := url.Parse(b.base)
	for _, c := range b.jar.Cookies(base) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}
