package clientapi_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"trestle/homeserver/oauth"
	"trestle/internal/config"
	"trestle/internal/testkit"
)

// Registrations and logins are counted by address, wrong passwords by account,
// and whoever is too fast is told how long to wait.
func TestThrottles(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		s := newWholeServer(t, databaseURL, func(c *config.Config) {
			c.NoRateLimits = false
			c.RateLimits["register"] = config.RateLimit{PerSecond: 0.001, Burst: 3}
			c.RateLimits["login"] = config.RateLimit{PerSecond: 0.001, Burst: 4}
		})
		alice := s.person("alice")
		nobody := &device{wholeServer: s}
		tooFast := func(method, path string, body any) {
			t.Helper()
			r := nobody.do(method, path, body)
			wait, _ := r.at("retry_after_ms").(float64)
			if r.status != 429 || r.field("errcode") != "M_LIMIT_EXCEEDED" || wait <= 0 {
				t.Errorf("%s %s: %d %s", method, path, r.status, r.body)
			}
		}
		for range 2 {
			nobody.do("POST", v3+"/register", map[string]string{"username": "bob"})
		}
		tooFast("POST", v3+"/register", map[string]string{"username": "bob"})
		login := map[string]any{"type": "m.login.password", "user": "alice", "password": "wrong"}
		for range 4 {
			nobody.refused("POST", v3+"/login", login, 403, "M_FORBIDDEN")
		}
		tooFast("POST", v3+"/login", login)
		// From everywhere: alice's own address is another bucket here.
		alice.refused("DELETE", v3+"/devices/ALICE", map[string]any{"auth": login}, 429, "M_LIMIT_EXCEEDED")
	})
}

// Whoever is too fast for OAuth is told so as OAuth does, and people by a page.
func TestOAuthLimited(t *testing.T) {
	s := newWholeServer(t, t.TempDir()+"/test.db", func(c *config.Config) {
		c.NoRateLimits = false
		c.RateLimits["register"] = config.RateLimit{PerSecond: 0.001, Burst: 1}
		c.RateLimits["login"] = config.RateLimit{PerSecond: 0.001, Burst: 2}
	})
	a, b := newApp(t, s.url, s.http, "PHONE"), newBrowser(t, s.url)
	a.fails(429, "temporarily_unavailable", "registration_endpoint")
	if status, answer := a.post("device_authorization_endpoint", "client_id", a.config.ClientID, "scope", strings.Join(a.config.Scopes, " ")); status != 200 {
		t.Errorf("a device: %d %v", status, answer)
	}
	b.open(oauth.LoginPath).says(200).send("user", "alice", "password", "wrong").says(403)
	a.fails(429, "temporarily_unavailable", "device_authorization_endpoint", "client_id", a.config.ClientID)
	b.accept = "text/html,*/*"
	b.open(oauth.LoginPath).says(200).send("user", "alice", "password", "wrong").says(429, "<h1>This did not work</h1>", "Too many requests")
	if b.header.Get("Retry-After") == "" {
		t.Error("nobody says when to try again")
	}
	b.accept = "application/json"
	b.open(oauth.LoginPath).says(200).send("user", "alice", "password", "wrong").says(429, `"error":"temporarily_unavailable"`)
}

// A server mails as it is configured to.
func TestConfiguredMail(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	box := &postbox{letters: make(chan letter, 1)}
	relay := smtp.NewServer(box)
	done := make(chan struct{})
	go func() { defer close(done); _ = relay.Serve(listener) }()
	t.Cleanup(func() { relay.Close(); <-done })
	s := newWholeServer(t, t.TempDir()+"/test.db", func(c *config.Config) {
		c.PublicBaseURL = "https://matrix.hs.example"
		c.Mail = config.Mail{Relay: listener.Addr().String(), Security: "none", From: "noreply@hs.example", Timeout: config.Duration(time.Minute)}
		c.Registration.Email = "required"
		c.Registration.Terms = map[string]config.Policy{"privacy": {Version: "1", Languages: map[string]config.PolicyDocument{
			"en": {Name: "Privacy", URL: "https://hs.example/privacy"},
		}}}
		c.Registration.Captcha.SiteKey, c.Registration.Captcha.Secret = "key", "secret"
	})
	nobody := &device{wholeServer: s}
	r := nobody.do("POST", v3+"/register", map[string]string{"username": "bob", "password": password})
	if r.field("flows") != `[{"stages":["m.login.recaptcha","m.login.terms","m.login.email.identity"]}]` || !strings.Contains(r.body, "https://hs.example/privacy") {
		t.Errorf("flows: %s", r.body)
	}
	nobody.must("POST", v3+"/register/email/requestToken", requestBody("bob@example.org", "s", 1))
	if l := <-box.letters; l.to != "bob@example.org" || !strings.Contains(l.text, "https://matrix.hs.example/_trestle/client/verify?") {
		t.Errorf("%+v", l)
	}
}

// Mails are as scarce on the page as where clients ask for them, and by another
// spelling of its path.
func TestMailPageLimited(t *testing.T) {
	_, address := newPostbox(t)
	s := newWholeServer(t, t.TempDir()+"/test.db", func(c *config.Config) {
		c.PublicBaseURL, c.Registration.Email = "https://matrix.hs.example", "required"
		c.Mail = config.Mail{Relay: address, Security: "none", From: "noreply@hs.example", Timeout: config.Duration(10 * time.Second)}
		c.NoRateLimits = false
		c.RateLimits["mail"] = config.RateLimit{PerSecond: 0.001, Burst: 3}
	})
	nobody := &device{wholeServer: s}
	page := mailPage(nobody.do("POST", v3+"/register", map[string]string{"username": "bob", "password": password}).field("session"))
	nobody.must("POST", v3+"/register/email/requestToken", requestBody("a@example.org", "s", 1))
	b := newBrowser(t, s.url)
	b.accept = "text/html"
	b.open(page).send("email", "b@example.org").says(303)
	b.open(page+"&again=yes").send("email", "c@example.org").says(303)
	b.open(page+"&again=yes").send("email", "d@example.org").says(429, "Too many requests")
	nobody.refused("POST", v3+"/register/email/requestToken", requestBody("e@example.org", "s", 1), 429, "M_LIMIT_EXCEEDED")
	b.open(strings.Replace(page, "email.identity", "email%2Eidentity", 1)).says(404)
}
