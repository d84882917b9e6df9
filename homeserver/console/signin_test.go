package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

func TestSignIn(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		w := newWorld(t, database, nil)
		b := w.browser()
		b.open(root+"/appservice?id=irc+%3Cu%3E").says(200, "<h1>Sign in</h1>", `name="next" value="/_trestle/console/appservice?id=irc`)
		b.send(root+"/login", "user", "root", "password", "a guess").says(403, `role="alert"`, `value="root"`)
		b.send(root+"/login", "user", "nobody", "password", password).says(403)
		b.send(root+"/login", "user", "alice", "password", password).says(403, "Only an administrator")
		b.open(root).says(200, "<h1>Sign in</h1>")
		b.open(root+"/live").says(200, "event: over")
		b.open(root+"/login?next="+url.QueryEscape("https://evil.example/_trestle/console")).says(200, `name="next" value="/_trestle/console"`)
		b.open(root+"/login?next="+url.QueryEscape(root+"/appservice?id=irc <u>")).send(root+"/login",
			"user", "root", "password", password, "next", root+"/appservice?id=irc+%3Cu%3E").says(200, "<h1>irc &lt;u&gt;</h1>")
		cookie := b.cookie("trestle_console")
		b.open(root+"/login").says(200, "<h1>Application services</h1>")

		other := w.operator()
		b.open(root).send(root+"/logout", "where", "here").says(200, "<h1>Sign in</h1>")
		if b.cookie("trestle_console") != "" {
			t.Error("the cookie is still there")
		}
		base, _ := url.Parse(w.url)
		b.jar.SetCookies(base, []*http.Cookie{{Name: "trestle_console", Value: cookie, Path: "/"}})
		b.open(root).says(200, "<h1>Sign in</h1>") // it is good for nothing

		third := w.operator()
		other.open(root).send(root+"/logout", "where", "everywhere").says(200, "<h1>Sign in</h1>")
		third.open(root).says(200, "<h1>Sign in</h1>")
	})
}

// Whoever is not an administrator in good standing any more is out at once.
func TestSessionsEnd(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		w := newWorld(t, database, nil)
		w.user("boss", true)
		boss := w.login("boss")
		const user = "/_synapse/admin/v2/users/@root:hs.example"
		const lock, suspend = "/_matrix/client/v1/admin/lock/@root:hs.example", "/_matrix/client/v1/admin/suspend/@root:hs.example"
		admin := func(is bool) { w.call(boss, "PUT", user, map[string]any{"admin": is}) }
		// Administrators do not lock each other.
		moderate := func(path, what string, is bool) {
			admin(false)
			w.call(boss, "PUT", path, map[string]any{what: is})
			admin(true)
		}
		for _, c := range []struct {
			name       string
			end, begin func()
		}{
			{"demoted", func() { admin(false) }, func() { admin(true) }},
			{"locked", func() { moderate(lock, "locked", true) }, func() { moderate(lock, "locked", false) }},
			{"suspended", func() { moderate(suspend, "suspended", true) }, func() { moderate(suspend, "suspended", false) }},
			{"with another password", func() { w.call(boss, "PUT", user, map[string]any{"password": "another one"}) }, func() { w.call(boss, "PUT", user, map[string]any{"password": password}) }},
			{"deactivated", func() { w.call(boss, "PUT", user, map[string]any{"deactivated": true}) }, nil},
		} {
			b := w.operator()
			c.end()
			b.open(root)
			if !strings.Contains(b.body, "<h1>Sign in</h1>") {
				t.Errorf("who is %s sees %s", c.name, b.body)
			}
			b.send(root+"/login", "user", "root", "password", password)
			if b.status != http.StatusForbidden {
				t.Errorf("who is %s is let in: %d %s", c.name, b.status, b.body)
			}
			if c.begin != nil {
				c.begin()
			}
		}
	})
}

func TestCookies(t *testing.T) {
	w := newWorld(t, "", nil)
	b := w.browser()
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.open(root+"/login").send(root+"/login", "user", "root", "password", password).says(303)
	cookie := b.header.Get("Set-Cookie")
	for _, part := range []string{"trestle_console=", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=14400"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("%q has no %s", cookie, part)
		}
	}
	// Behind a proxy it is one that only this server can have set by https.
	b.do(http.MethodGet, root+"/login", nil, map[string]string{"X-Forwarded-Proto": "https"})
	if cookie := b.header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-trestle_console_login=") || !strings.Contains(cookie, "Secure") {
		t.Errorf("by https the cookie is %q", cookie)
	}
	// A link from elsewhere comes without the cookie, and takes no session away.
	b.jar = nil
	b.http.Jar = nil
	b.do(http.MethodGet, root+"/login", nil, map[string]string{"Sec-Fetch-Site": "cross-site"}).says(200, "A link from elsewhere")
	if strings.HasPrefix(b.header.Get("Set-Cookie"), "trestle_console=") {
		t.Error("it does")
	}
}

func TestSignInIsLimited(t *testing.T) {
	w := newWorld(t, "", nil, func(cfg *config.Config) {
		cfg.NoRateLimits = false
		cfg.RateLimits["login"] = config.RateLimit{PerSecond: 0.001, Burst: 3}
	})
	b := w.browser().open(root)
	for range 3 {
		b.send(root+"/login", "user", "root", "password", "a guess").says(403)
	}
	b.send(root+"/login", "user", "root", "password", password)
	if b.status != http.StatusTooManyRequests {
		t.Errorf("the fourth attempt is %d %s", b.status, b.body)
	}
}

func TestOff(t *testing.T) {
	w := newWorld(t, "", nil, func(cfg *config.Config) { cfg.Console.Enabled = false })
	response, err := http.Get(w.url + root)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("the console is %s", response.Status)
	}
}
