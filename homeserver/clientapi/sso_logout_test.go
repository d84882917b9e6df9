package clientapi_test

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"trestle/homeserver/oauth"
	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakeprovider"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutOf is what a provider says when a login is over.
func logoutOf(p *fakeprovider.Provider, id string, more map[string]any) map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": p.URL, "aud": p.ClientID, "iat": now, "exp": now + 120, "jti": id, "events": map[string]any{logoutEvent: map[string]any{}},
	}
	maps.Copy(claims, more)
	for name, value := range claims {
		if value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// hears gives the server a logout token.
func (s *wholeServer) hears(provider, token string) int {
	s.t.Helper()
	response, err := http.PostForm(s.url+"/_trestle/client/sso/logout/"+provider, url.Values{"logout_token": {token}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.Header.Get("Cache-Control") != "no-store" {
		s.t.Error("the answer may be kept")
	}
	return response.StatusCode
}

func (d *device) in() bool {
	d.t.Helper()
	return d.do("GET", v3+"/account/whoami", nil).status == 200
}

// A logout at a provider ends what has come of the login there, and nothing else.
func TestSSOLogout(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		fake := fakeprovider.New(t)
		s := withProviders(t, database, nil, fake)
		login := func(who map[string]any, session string) *device {
			t.Helper()
			who = maps.Clone(who)
			if session != "" {
				who["sid"] = session
			}
			fake.Be(who)
			b := newVisitor(t)
			b.gone(s.ssoURL("a", ssoApp))
			return s.newLogin(b)
		}
		one, two, vague, other := login(dora, "s1"), login(dora, "s2"), login(dora, ""), login(mallory, "s3")
		said := fake.Sign(logoutOf(fake, "1", map[string]any{"sid": "s1"}))
		if status := s.hears("a", said); status != 200 || one.in() || !two.in() || !vague.in() || !other.in() {
			t.Errorf("a session: %d", status)
		}
		again := login(dora, "s1")
		if status := s.hears("a", said); status != 400 || !again.in() {
			t.Errorf("the same word: %d", status)
		}
		// Of a session without an ID it is not known that it goes on.
		if status := s.hears("a", fake.Sign(logoutOf(fake, "2", map[string]any{"sub": "d", "sid": "s1"}))); status != 200 || again.in() || vague.in() || !two.in() {
			t.Errorf("a session of a subject: %d", status)
		}
		if status := s.hears("a", fake.Sign(logoutOf(fake, "3", map[string]any{"sub": "m", "sid": "s2"}))); status != 200 || !two.in() || !other.in() {
			t.Errorf("a session of somebody else: %d", status)
		}
		fake.Be(dora)
		b := newVisitor(t)
		b.gone(s.url+oauth.AccountPath).click("Sign in with Provider a").shows(200, "Bridges and bots")
		if status := s.hears("a", fake.Sign(logoutOf(fake, "4", map[string]any{"sub": "d"}))); status != 200 || two.in() || !other.in() {
			t.Errorf("a subject: %d", status)
		}
		b.gone(s.url+oauth.AccountPath).shows(200, "Sign in with Provider a")
		if status := s.hears("a", fake.Sign(logoutOf(fake, "5", map[string]any{"sub": "nobody"}))); status != 200 {
			t.Errorf("somebody unknown: %d", status)
		}
	})
}

// Where the operator says so, everything ends, and otherwise what has nothing to
// do with the login stays.
func TestSSOLogoutOfEverything(t *testing.T) {
	for _, everything := range []bool{false, true} {
		fake := fakeprovider.New(t)
		fake.Be(dora)
		s := withProviders(t, testkit.SQLite(t), func(p *config.SSOProvider) { p.LogoutEndsAll, p.LinkExistingUsers = everything, true }, fake)
		here := s.person("dora")
		b := newVisitor(t)
		b.gone(s.ssoURL("a", ssoApp))
		there := s.newLogin(b)
		if status := s.hears("a", fake.Sign(logoutOf(fake, "1", map[string]any{"sub": "d"}))); status != 200 || there.in() || here.in() == everything {
			t.Errorf("%v: %d, by password %v", everything, status, here.in())
		}
	}
}

// Nobody else logs people out.
func TestSSOLogoutLies(t *testing.T) {
	fake, stranger := fakeprovider.New(t), fakeprovider.New(t)
	fake.Be(dora)
	s := withProviders(t, testkit.SQLite(t), nil, fake)
	b := newVisitor(t)
	b.gone(s.ssoURL("a", ssoApp))
	d := s.newLogin(b)
	good := func(more map[string]any) map[string]any {
		claims := logoutOf(fake, "1", map[string]any{"sub": "d"})
		maps.Copy(claims, more)
		return claims
	}
	without := func(name string) map[string]any {
		claims := good(nil)
		delete(claims, name)
		return claims
	}
	now := time.Now().Unix()
	for name, token := range map[string]string{
		"another issuer":         fake.Sign(good(map[string]any{"iss": stranger.URL})),
		"another audience":       fake.Sign(good(map[string]any{"aud": "somebody"})),
		"a nonce":                fake.Sign(good(map[string]any{"nonce": "n"})),
		"an empty nonce":         fake.Sign(good(map[string]any{"nonce": ""})),
		"no event":               fake.Sign(without("events")),
		"another event":          fake.Sign(good(map[string]any{"events": map[string]any{"http://x/": map[string]any{}}})),
		"an event of null":       fake.Sign(good(map[string]any{"events": map[string]any{logoutEvent: nil}})),
		"an event of text":       fake.Sign(good(map[string]any{"events": map[string]any{logoutEvent: "x"}})),
		"no subject, no session": fake.Sign(without("sub")),
		"no ID":                  fake.Sign(without("jti")),
		"a long ID":              fake.Sign(good(map[string]any{"jti": strings.Repeat("x", 300)})),
		"no time":                fake.Sign(without("iat")),
		"long ago":               fake.Sign(good(map[string]any{"iat": now - 7200})),
		"far ahead":              fake.Sign(good(map[string]any{"iat": now + 3600})),
		"expired":                fake.Sign(good(map[string]any{"exp": now - 600})),
		"no expiry":              fake.Sign(without("exp")),
		"the key of another":     stranger.Sign(good(nil)),
		"no algorithm":           part(map[string]any{"alg": "none"}) + "." + part(good(nil)) + ".",
		"a shared secret":        fakeprovider.SignWith(t, jose.SigningKey{Algorithm: jose.HS256, Key: fake.PublicKey()}, good(nil)),
		"nothing":                "",
		"nonsense":               "a.b.c",
		"much":                   strings.Repeat("x", 20<<10),
	} {
		if status := s.hears("a", token); status != 400 || !d.in() {
			t.Fatalf("%s: %d, still in: %v", name, status, d.in())
		}
	}
	if status := s.hears("b", fake.Sign(good(nil))); status != 404 || !d.in() {
		t.Errorf("a provider that is not here: %d", status)
	}
	if status := s.hears("a", fake.Sign(good(nil))); status != 200 || d.in() {
		t.Errorf("the truth: %d", status)
	}
}

// What waits for somebody to go on with a login does not, once the login is over.
func TestSSOLogoutEndsWhatIsOnItsWay(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		fake := fakeprovider.New(t)
		s := withProviders(t, database, nil, fake)
		begun := func(who map[string]any, session string) *visitor {
			t.Helper()
			who = maps.Clone(who)
			who["sid"] = session
			fake.Be(who)
			b := newVisitor(t)
			return b.gone(s.ssoURL("a", "https://unknown.example/")).shows(200, "Log in to unknown.example?")
		}
		one, two, other := begun(dora, "s1"), begun(dora, "s2"), begun(mallory, "s1x")
		nameless := maps.Clone(dora)
		nameless["sub"], nameless["sid"] = "new", "s4"
		delete(nameless, "preferred_username")
		fake.Be(nameless)
		newcomer := newVisitor(t)
		newcomer.gone(s.ssoURL("a", ssoApp)).shows(200, "Choose your user name")
		for id, more := range []map[string]any{{"sid": "s1"}, {"sub": "new"}} {
			if status := s.hears("a", fake.Sign(logoutOf(fake, string(rune('1'+id)), more))); status != 200 {
				t.Fatal(status)
			}
		}
		one.submit(nil).shows(400, "This login is over")
		newcomer.submit(url.Values{"username": {"fresh"}}).shows(400, "This login is over")
		for _, b := range []*visitor{two, other} {
			if b.submit(nil); !b.at.Query().Has("loginToken") {
				t.Errorf("another login: %s %d %s", b.at, b.status, b.body)
			}
		}
		last := begun(dora, "s5")
		if status := s.hears("a", fake.Sign(logoutOf(fake, "9", map[string]any{"sub": "d", "sid": "s5"}))); status != 200 {
			t.Fatal(status)
		}
		last.submit(nil).shows(400, "This login is over")
	})
}
