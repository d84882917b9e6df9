package clientapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/clientapi"
	"trestle/homeserver/oauth"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
	"trestle/registration"
)

// An accountServer serves the account endpoints over HTTP.
type accountServer struct {
	t        *testing.T
	url      string
	http     *http.Client
	accounts *accounts.Service
	oauth    *oauth.Service
	changes  *changes
	db       *database.DB
	store    *storage.Accounts

	mu  sync.Mutex
	now time.Time
}

// changes remembers what the service told its observers.
type changes struct {
	mu          sync.Mutex
	positions   map[matrix.UserID]int64
	devices     []string
	profiles    []string
	deactivated []string
}

func (c *changes) UserChanged(user matrix.UserID, position int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.positions[user] = position
}

func (c *changes) DeviceListChanged(_ context.Context, tx *database.Tx, user matrix.UserID, removed []matrix.DeviceID) error {
	tx.OnCommit(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		line := string(user)
		for _, device := range removed {
			line += " -" + string(device)
		}
		c.devices = append(c.devices, line)
	})
	return nil
}

func (c *changes) ProfileChanged(_ context.Context, user matrix.UserID, field string) error {
	c.profiles = append(c.profiles, string(user)+" "+field)
	return nil
}

func (c *changes) Deactivated(_ context.Context, user matrix.UserID, erase bool) error {
	line := string(user)
	if erase {
		line += " erase"
	}
	c.deactivated = append(c.deactivated, line)
	return nil
}

// cheap makes password hashing fast.
var cheap = accounts.PasswordOptions{Memory: 64, Iterations: 1, AtOnce: 8}

func newAccountServer(t *testing.T, url string, change ...func(*accounts.Options)) *accountServer {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s := &accountServer{t: t, now: time.UnixMilli(1_700_000_000_000), changes: &changes{positions: map[matrix.UserID]int64{}}}
	options := accounts.Options{
		ServerName: "hs.example", DB: db, Store: storage.NewAccounts(db), AppServices: ircRegistry(t), Notifier: s.changes,
		Passwords: cheap, OpenRegistration: true, SharedSecret: "shared", Now: s.time, Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&options)
	}
	s.accounts = accounts.New(options)
	s.accounts.Observe(accounts.Observers{
		Devices: []accounts.DeviceObserver{s.changes}, Profiles: []accounts.ProfileObserver{s.changes},
		Deactivations: []accounts.DeactivationObserver{s.changes}, Users: ghosts{s},
	})
	server := api.NewServer(api.Options{Authenticator: clientapi.Authenticator(s.accounts), Logger: slog.New(failing{t}), Now: s.time})
	server.Handle(clientapi.AccountRoutes(s.accounts, clientapi.AccountConfig{
		BaseURL: "https://matrix.hs.example", SupportPage: "https://hs.example/help",
	}))
	listener := httptest.NewServer(server.Handler())
	t.Cleanup(listener.Close)
	s.url = listener.URL
	s.oauth = oauth.New(oauth.Options{
		Accounts: s.accounts, DB: db, Store: options.Store.OAuth, BaseURL: s.url, Now: s.time,
		Elsewhere: otherPlace,
	})
	server.Handle(clientapi.OAuthRoutes(s.oauth, s.accounts))
	s.db, s.store = db, options.Store
	s.http = &http.Client{Transport: testkit.SpecTransport(t, listener.Client().Transport)}
	return s
}

func (s *accountServer) time() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *accountServer) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// failing is a log that fails the test at errors: nothing may answer 500.
type failing struct{ t testing.TB }

func (failing) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (f failing) WithAttrs([]slog.Attr) slog.Handler             { return f }
func (f failing) WithGroup(string) slog.Handler                  { return f }
func (f failing) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool { f.t.Errorf("%s: %s", r.Message, a); return true })
	return nil
}

// ghosts is an application service that makes users when it is asked for them.
type ghosts struct{ s *accountServer }

func (g ghosts) QueryUser(ctx context.Context, user matrix.UserID) error {
	if !strings.Contains(string(user), "asked") {
		return nil
	}
	service, err := g.s.accounts.AppService("as-token")
	if err == nil {
		_, err = g.s.accounts.Register(ctx, accounts.Registration{Username: user.Localpart(), AppService: service, DisplayName: "Made when asked"})
	}
	return err
}

func ircRegistry(t *testing.T) *registration.Registry {
	t.Helper()
	parse := func(id, token, sender, regex, exclusive string) *registration.Registration {
		r, err := registration.Parse(id, []byte("id: "+id+"\nurl: null\nas_token: "+token+"\nhs_token: h-"+token+"\nsender_localpart: "+sender+
			"\nrate_limited: false\nnamespaces:\n  users:\n    - regex: '"+regex+"'\n      exclusive: "+exclusive+"\n  aliases: []\n  rooms: []\n"))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	set, err := registration.NewSet("hs.example",
		parse("irc", "as-token", "ircbot", "@irc_.*:hs\\.example", "true"),
		parse("puppets", "puppet-token", "puppeteer", "@.*:hs\\.example", "false"))
	if err != nil {
		t.Fatal(err)
	}
	return registration.NewRegistry(set)
}

// A reply is what was answered.
type reply struct {
	status int
	body   string
}

func (r reply) field(name string) string {
	var all map[string]any
	_ = json.Unmarshal([]byte(r.body), &all)
	switch v := all[name].(type) {
	case string:
		return v
	case nil:
		return ""
	default:
		raw, _ := json.Marshal(v)
		return string(raw)
	}
}

// do makes a request with a token, or none, and a body, or none.
func (s *accountServer) do(method, path, token, body string) reply {
	s.t.Helper()
	var content io.Reader
	if body != "" {
		content = bytes.NewReader([]byte(body))
	}
	r, err := http.NewRequestWithContext(context.Background(), method, s.url+path, content)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{response.StatusCode, string(text)}
}

// must is do for requests that have to succeed.
func (s *accountServer) must(method, path, token, body string) reply {
	s.t.Helper()
	r := s.do(method, path, token, body)
	if r.status != http.StatusOK {
		s.t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	return r
}

// refused checks that a request ends with a status and an error code.
func (s *accountServer) refused(method, path, token, body string, status int, code string) {
	s.t.Helper()
	r := s.do(method, path, token, body)
	if r.status != status || r.field("errcode") != code {
		s.t.Errorf("%s %s %.100s: %d %s, want %d %s", method, path, body, r.status, r.body, status, code)
	}
	if code != "" && r.field("error") == "" {
		s.t.Errorf("%s %s: no sentence that helps: %s", method, path, r.body)
	}
}

const (
	v3       = "/_matrix/client/v3"
	password = "correct horse"
)

// register makes a user and returns their access token.
func (s *accountServer) register(name string) string {
	s.t.Helper()
	return s.must("POST", v3+"/register", "", `{"username":"`+name+`","password":"`+password+`","device_id":"FIRST","auth":{"type":"m.login.dummy"}}`).field("access_token")
}

// logIn makes another device and returns its token.
func (s *accountServer) logIn(name, device string) string {
	s.t.Helper()
	return s.must("POST", v3+"/login", "", `{"type":"m.login.password","identifier":{"type":"m.id.user","user":"`+name+`"},"password":"`+password+`","device_id":"`+device+`"}`).field("access_token")
}

// passwordAuth is an auth member with a password.
func passwordAuth(user, password string) string {
	return `{"type":"m.login.password","identifier":{"type":"m.id.user","user":"` + user + `"},"password":"` + password + `"}`
}
