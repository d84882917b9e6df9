package sso_test

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/sso"
	"trestle/homeserver/storage"
	"trestle/internal/claims"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakeprovider"
	"trestle/migrations"
)

// A town is some processes on one database, and a provider.
type town struct {
	t        *testing.T
	fake     *fakeprovider.Provider
	services []*sso.Service
	accounts *accounts.Service

	mu    sync.Mutex
	later time.Duration
}

const base = "https://matrix.hs.example"

func newTown(t *testing.T, databaseURL string, processes int) *town {
	t.Helper()
	s := &town{t: t, fake: fakeprovider.New(t)}
	s.fake.Be(map[string]any{"sub": "d", "preferred_username": "dora", "name": "Dora"})
	db, err := database.Open(t.Context(), databaseURL, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	store := storage.NewAccounts(db)
	log := slog.New(slog.DiscardHandler)
	s.accounts = accounts.New(accounts.Options{ServerName: "hs.example", DB: db, Store: store, Now: s.now, Log: log})
	secret := []byte(rand.Text())
	for range processes {
		s.services = append(s.services, sso.New(sso.Options{
			DB: db, Flows: store.SSOFlows, Accounts: s.accounts, BaseURL: base, Secret: secret, Now: s.now, Log: log,
			TrustedClients: []string{"https://app.example.org"},
			Providers: []sso.ProviderOptions{{
				Provider: sso.Provider{ID: "a b", Name: "A"}, Issuer: s.fake.URL, ClientID: s.fake.ClientID, ClientSecret: s.fake.ClientSecret,
				Scopes: []string{"openid"}, LocalPart: template(t, "{preferred_username}"), SignUp: true,
			}},
		}))
	}
	return s
}

func template(t *testing.T, text string) claims.Template {
	t.Helper()
	parsed, err := claims.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func (s *town) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.later)
}

func (s *town) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.later += d
}

// atProvider lets a browser through the provider; what it brings back.
func (s *town) atProvider(next *sso.Next) url.Values {
	s.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Get(next.Redirect)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	back, err := response.Location()
	if err != nil || !strings.HasPrefix(back.String(), base+"/_trestle/client/sso/callback/a%20b?") {
		s.t.Fatalf("the provider sends people to %v, %v", back, err)
	}
	return back.Query()
}

var client = sso.LoginRequest{Client: "https://app.example.org/"}

// The steps of a login are taken by any process, each of them once.
func TestProcessesShareLogins(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		s := newTown(t, databaseURL, 2)
		next, err := s.services[0].BeginLogin(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		c := next.Cookie
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || c.MaxAge <= 0 {
			t.Errorf("the cookie is %s", c)
		}
		brought := s.atProvider(next)
		var wait sync.WaitGroup
		var mu sync.Mutex
		var done []*sso.Next
		for i := range 8 {
			wait.Go(func() {
				next, err := s.services[i%2].Callback(t.Context(), []*http.Cookie{c}, "a b", brought)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					done = append(done, next)
				} else if matrix.Code(err) != "M_INVALID_PARAM" {
					t.Errorf("a callback too many: %v", err)
				}
			})
		}
		wait.Wait()
		if len(done) != 1 || !strings.Contains(done[0].Redirect, "loginToken=") || done[0].Cookie.MaxAge >= 0 {
			t.Fatalf("%d logins: %+v", len(done), done)
		}
	})
}

func TestLoginsExpire(t *testing.T) {
	s := newTown(t, testkit.SQLite(t), 1)
	begin := func() (*http.Cookie, url.Values) {
		t.Helper()
		next, err := s.services[0].BeginLogin(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		return next.Cookie, s.atProvider(next)
	}
	cookie, brought := begin()
	next, err := s.services[0].Callback(t.Context(), []*http.Cookie{cookie}, "a b", brought)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(next.Redirect)
	if err != nil {
		t.Fatal(err)
	}
	s.wait(31 * time.Second)
	if _, err := s.accounts.LoginByToken(t.Context(), to.Query().Get("loginToken"), accounts.NewDevice{}); matrix.Code(err) != "M_FORBIDDEN" {
		t.Errorf("a login token after 31 seconds: %v", err)
	}
	cookie, brought = begin()
	s.wait(16 * time.Minute)
	if _, err := s.services[0].Callback(t.Context(), []*http.Cookie{cookie}, "a b", brought); matrix.Code(err) != "M_INVALID_PARAM" {
		t.Errorf("after 16 minutes: %v", err)
	}
}

// A provider that is away is left alone for a while, and one that was there
// before may be away when it is asked again.
func TestProviderAway(t *testing.T) {
	s := newTown(t, testkit.SQLite(t), 1)
	away := fakeprovider.Lies{Answer: func(path string, w http.ResponseWriter) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}}
	begin := func() error {
		_, err := s.services[0].BeginLogin(t.Context(), client)
		return err
	}
	const asked = "/.well-known/openid-configuration"
	s.fake.Lie(away)
	for range 3 {
		if err := begin(); matrix.Code(err) != "M_UNKNOWN" {
			t.Fatalf("away: %v", err)
		}
	}
	if n := s.fake.Asked(asked); n != 1 {
		t.Errorf("asked %d times", n)
	}
	s.fake.Lie(fakeprovider.Lies{})
	s.wait(6 * time.Second)
	if err := begin(); err != nil {
		t.Fatalf("back again: %v", err)
	}
	s.fake.Lie(away)
	s.wait(2 * time.Hour)
	if err := begin(); err != nil || s.fake.Asked(asked) != 3 {
		t.Errorf("away for long: %v, asked %d times", err, s.fake.Asked(asked))
	}
	for what, lie := range map[string]func(m map[string]any){
		"another issuer":       func(m map[string]any) { m["issuer"] = "https://other.example" },
		"a script for a page":  func(m map[string]any) { m["authorization_endpoint"] = "javascript:alert(1)" },
		"no token endpoint":    func(m map[string]any) { delete(m, "token_endpoint") },
		"methods of no method": func(m map[string]any) { m["token_endpoint_auth_methods_supported"] = 7 },
	} {
		other := newTown(t, testkit.SQLite(t), 1)
		other.fake.Lie(fakeprovider.Lies{Metadata: lie})
		if _, err := other.services[0].BeginLogin(t.Context(), client); matrix.Code(err) != "M_UNKNOWN" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A page of this server offers providers, and learns who has logged in.
func TestOffers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		s := newTown(t, databaseURL, 2)
		first, second := s.services[0], s.services[1]
		offers := first.Offers()
		if len(offers) != 1 || offers[0].Name != "A" || offers[0].ID != "a b" {
			t.Fatalf("offers: %+v", offers)
		}
		const page = "/oauth2/page?request=x%26y"
		start, err := url.Parse(offers[0].Start(page))
		if err != nil || start.EscapedPath() != "/_trestle/client/sso/start/a%20b" {
			t.Fatalf("start at %v, %v", start, err)
		}
		q := start.Query()
		login := func() (*http.Cookie, string) {
			t.Helper()
			next, err := second.BeginReturn(t.Context(), "a b", q.Get("return_to"), q.Get("mac"))
			if err != nil {
				t.Fatal(err)
			}
			cookie := next.Cookie
			if next, err = first.Callback(t.Context(), []*http.Cookie{cookie}, "a b", s.atProvider(next)); err != nil {
				t.Fatal(err)
			}
			return cookie, next.Redirect
		}
		result := func(address string, cookies ...*http.Cookie) (matrix.UserID, string) {
			r := httptest.NewRequest("GET", address, nil)
			for _, c := range cookies {
				r.AddCookie(c)
			}
			user, err := second.Result(r)
			return user, matrix.Code(err)
		}
		cookie, back := login()
		otherCookie, otherBack := login()
		if !strings.HasPrefix(back, page+"&sso_result=") {
			t.Fatalf("back to %s", back)
		}
		for what, tt := range map[string]struct {
			address, code string
			cookies       []*http.Cookie
		}{
			"nobody":             {page, "", nil},
			"a guess":            {page + "&sso_result=guess", "M_INVALID_PARAM", []*http.Cookie{cookie}},
			"another browser":    {back, "M_FORBIDDEN", nil},
			"another login":      {back, "M_FORBIDDEN", []*http.Cookie{otherCookie}},
			"its cookie's value": {back, "M_FORBIDDEN", []*http.Cookie{{Name: cookie.Name, Value: otherCookie.Value}}},
			"another page":       {strings.Replace(back, "/page", "/elsewhere", 1), "M_INVALID_PARAM", []*http.Cookie{cookie}},
		} {
			if user, code := result(tt.address, tt.cookies...); user != "" || code != tt.code {
				t.Errorf("%s: %s %s", what, user, code)
			}
		}
		if user, code := result(back, otherCookie, cookie); user != "@dora:hs.example" || code != "" {
			t.Errorf("the user is %q, %s", user, code)
		}
		if user, code := result(back, cookie); user != "" || code != "M_INVALID_PARAM" {
			t.Errorf("once more: %q, %s", user, code)
		}
		if err := s.accounts.Deactivate(t.Context(), "@dora:hs.example", false); err != nil {
			t.Fatal(err)
		}
		if user, code := result(otherBack, otherCookie); user != "" || code != "M_USER_DEACTIVATED" {
			t.Errorf("after the end: %q, %s", user, code)
		}
		for _, to := range []string{"", "x", "//evil.example", "/\\evil.example", "https://evil.example/", "/a#b", "/a\n", "\t/a"} {
			signed, _ := url.Parse(offers[0].Start(to))
			if _, err := second.BeginReturn(t.Context(), "a b", to, signed.Query().Get("mac")); matrix.Code(err) != "M_INVALID_PARAM" {
				t.Errorf("back to %q: %v", to, err)
			}
		}
		for _, mac := range []string{"", "guess", q.Get("mac") + "A"} {
			if _, err := second.BeginReturn(t.Context(), "a b", page, mac); matrix.Code(err) != "M_INVALID_PARAM" {
				t.Errorf("with %q: %v", mac, err)
			}
		}
	})
}

// An account that ends keeps its name from coming back, and one that is erased
// leaves nothing of who its owner was.
func TestSubjectsEnd(t *testing.T) {
	s := newTown(t, testkit.SQLite(t), 1)
	login := func() (string, error) {
		next, err := s.services[0].BeginLogin(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		next, err = s.services[0].Callback(t.Context(), []*http.Cookie{next.Cookie}, "a b", s.atProvider(next))
		if err != nil {
			return "", err
		}
		return next.Redirect, nil
	}
	if to, err := login(); err != nil || !strings.Contains(to, "loginToken=") {
		t.Fatalf("login: %s, %v", to, err)
	}
	const dora matrix.UserID = "@dora:hs.example"
	if err := s.accounts.Deactivate(t.Context(), dora, false); err != nil {
		t.Fatal(err)
	}
	if _, err := login(); matrix.Code(err) != "M_USER_DEACTIVATED" {
		t.Errorf("after the end: %v", err)
	}
	if err := s.accounts.Deactivate(t.Context(), dora, true); err != nil {
		t.Fatal(err)
	}
	if list, err := s.accounts.Subjects(t.Context(), dora); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	if to, err := login(); err != nil || !strings.HasPrefix(to, sso.NextPath+"?token=") {
		t.Errorf("as somebody new: %s, %v", to, err)
	}
}
