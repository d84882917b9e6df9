package adminapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/testkit"
)

const (
	password = "correct horse battery"
	v3       = "/_matrix/client/v3"
	v1       = "/_synapse/admin/v1"
	v2       = "/_synapse/admin/v2"
)

// A server is a homeserver with all its services, over HTTP.
type server struct {
	t    *testing.T
	url  string
	cfg  *config.Config
	http *http.Client
}

func newServer(t *testing.T, url string, change ...func(*config.Config)) *server {
	t.Helper()
	cfg := config.Default()
	cfg.ServerName, cfg.Data = "hs.example", t.TempDir()
	cfg.Media.Path = filepath.Join(cfg.Data, "media")
	cfg.Database = config.Secret(url)
	cfg.SigningKey = filepath.Join(cfg.Data, "signing.key")
	cfg.AppServices = []string{filepath.Join(cfg.Data, "appservices")}
	cfg.OpenRegistration, cfg.NoRateLimits = true, true
	cfg.Passwords.Hash, cfg.Passwords.BcryptCost = "bcrypt", 4
	for _, c := range change {
		c(cfg)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	hs, err := homeserver.Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hs.Close)
	listener := httptest.NewServer(hs.Handler())
	t.Cleanup(listener.Close)
	return &server{t, listener.URL, cfg, &http.Client{Transport: testkit.SpecTransport(t, listener.Client().Transport)}}
}

// A person is a login of a user.
type person struct {
	*server
	user, token, since string
}

// admin makes an administrator and logs in.
func (s *server) admin() *person {
	s.t.Helper()
	_, err := homeserver.CreateUser(s.t.Context(), s.cfg, slog.New(slog.DiscardHandler), homeserver.NewUser{Localpart: "root", Password: password, Admin: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.login("root", password)
}

func (s *server) login(name, password string) *person {
	s.t.Helper()
	p := &person{server: s, user: "@" + name + ":hs.example"}
	p.token = p.must("POST", v3+"/login", map[string]any{
		"type": "m.login.password", "identifier": map[string]string{"type": "m.id.user", "user": name}, "password": password,
	}).text("access_token")
	return p
}

func (s *server) person(name string) *person {
	s.t.Helper()
	p := &person{server: s, user: "@" + name + ":hs.example"}
	p.token = p.must("POST", v3+"/register", map[string]any{
		"username": name, "password": password, "auth": map[string]string{"type": "m.login.dummy"},
	}).text("access_token")
	return p
}

type reply struct {
	t      *testing.T
	status int
	body   string
}

// at is a value deep in a JSON answer, or nil.
func (r reply) at(path ...string) any {
	var value any
	_ = json.Unmarshal([]byte(r.body), &value)
	for _, key := range path {
		members, _ := value.(map[string]any)
		value = members[key]
	}
	return value
}

func (r reply) text(path ...string) string {
	text, _ := r.at(path...).(string)
	return text
}

func (p *person) do(method, path string, body any, headers ...string) reply {
	p.t.Helper()
	var content io.Reader
	if body != nil {
		raw, ok := body.([]byte)
		if !ok {
			raw, _ = json.Marshal(body)
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, content)
	if err != nil {
		p.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return reply{p.t, response.StatusCode, string(text)}
}

func (p *person) must(method, path string, body any) reply {
	p.t.Helper()
	r := p.do(method, path, body)
	if r.status != 200 && r.status != 201 {
		p.t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	return r
}

func (p *person) refused(method, path string, body any, status int, code string) {
	p.t.Helper()
	r := p.do(method, path, body)
	if r.status != status || r.text("errcode") != code {
		p.t.Errorf("%s %s %v: %d %s, want %d %s", method, path, body, r.status, r.body, status, code)
	}
}

func (p *person) room(preset, name string) string {
	p.t.Helper()
	return p.must("POST", v3+"/createRoom", map[string]string{"preset": preset, "name": name}).text("room_id")
}

func (p *person) say(room, text string) string {
	p.t.Helper()
	return p.must("PUT", v3+"/rooms/"+room+"/send/m.room.message/"+text, map[string]string{"msgtype": "m.text", "body": text}).text("event_id")
}

// syncUntil syncs until an answer is the right one.
func (p *person) syncUntil(what string, right func(reply) bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		r := p.must("GET", v3+"/sync?timeout=1000&since="+p.since, nil)
		p.since = r.text("next_batch")
		if right(r) {
			return
		}
	}
	p.t.Fatalf("%s: no %s in any sync", p.user, what)
}

// until asks again until an answer is the right one.
func (p *person) until(path string, right func(reply) bool) reply {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		r := p.do("GET", path, nil)
		if right(r) {
			return r
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.t.Fatalf("GET %s: %d %s", path, r.status, r.body)
		}
	}
}

func TestOnlyForAdministrators(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		alice := s.person("alice")
		nobody := &person{server: s}
		for _, path := range []string{
			"GET " + v2 + "/users", "GET " + v2 + "/users/@alice:hs.example", "PUT " + v2 + "/users/@alice:hs.example", "GET " + v1 + "/rooms",
			"POST " + v1 + "/send_server_notice", "GET " + v1 + "/registration_tokens", "DELETE " + v1 + "/rooms/!x:hs.example",
			"POST " + v1 + "/purge_media_cache", "GET " + v1 + "/media/hs.example/x", "POST " + v1 + "/users/@alice:hs.example/login",
		} {
			method, path, _ := strings.Cut(path, " ")
			alice.refused(method, path, nil, 403, "M_FORBIDDEN")
			nobody.refused(method, path, nil, 401, "M_MISSING_TOKEN")
		}
		if r := nobody.must("GET", v1+"/server_version", nil); !strings.HasPrefix(r.text("server_version"), "Trestle") {
			t.Error(r.body)
		}
	})
}
