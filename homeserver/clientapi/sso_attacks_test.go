package clientapi_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakeprovider"
)

var (
	mallory = map[string]any{"sub": "m", "preferred_username": "mallory", "name": "Mallory"}
	dora    = map[string]any{"sub": "d", "preferred_username": "dora", "name": "Dora", "groups": []string{"staff", "chat"}, "email": "dora@id.example", "email_verified": true}
)

// withProviders is a server that knows providers which can be told to lie, by
// the IDs "a", "b" and so on.
func withProviders(t *testing.T, database string, change func(p *config.SSOProvider), providers ...*fakeprovider.Provider) *wholeServer {
	t.Helper()
	return frontedServer(t, database, func(cfg *config.Config) {
		cfg.SSO.TrustedClients = []string{"https://app.example.org/login", "element://"}
		for i, fake := range providers {
			p := config.DefaultSSOProvider()
			p.ID = string(rune('a' + i))
			p.Name, p.Issuer, p.ClientID, p.ClientSecret = "Provider "+p.ID, fake.URL, fake.ClientID, config.Secret(fake.ClientSecret)
			if change != nil {
				change(&p)
			}
			cfg.SSO.Providers = append(cfg.SSO.Providers, p)
		}
	})
}

// callback is the address to which a provider sends a browser that has got so
// far, but not further.
func (b *visitor) callback(s *wholeServer, provider string) string {
	b.t.Helper()
	b.open(s.ssoURL(provider, ssoApp))
	if b.status != http.StatusFound {
		b.t.Fatalf("no redirect: %d %s", b.status, b.body)
	}
	return b.open(b.location()).location()
}

// withQuery is an address with another value in its query.
func withQuery(address, name, value string) string {
	u, _ := url.Parse(address)
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func part(claims map[string]any) string {
	raw, _ := json.Marshal(claims)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// Whatever a provider says that is not as it should be lets nobody in.
func TestSSOLies(t *testing.T) {
	fake := fakeprovider.New(t)
	fake.Be(dora)
	s := withProviders(t, testkit.SQLite(t), nil, fake)
	change := func(name string, value any) fakeprovider.Lies {
		return fakeprovider.Lies{Token: func(claims map[string]any) { claims[name] = value }}
	}
	other := fakeprovider.New(t)
	for name, lies := range map[string]fakeprovider.Lies{
		"another nonce":             change("nonce", "guess"),
		"no nonce":                  change("nonce", nil),
		"another audience":          change("aud", "somebody"),
		"no audience":               change("aud", []string{}),
		"several audiences":         change("aud", []string{"somebody", "trestle"}),
		"made for another":          change("azp", "somebody"),
		"expired":                   change("exp", 1_700_000_000),
		"no expiry":                 change("exp", nil),
		"not yet":                   change("nbf", 4_000_000_000),
		"another issuer":            change("iss", other.URL),
		"no subject":                change("sub", nil),
		"a subject that is no text": change("sub", 7),
		"a long subject":            change("sub", strings.Repeat("x", 256)),
		"a hash of another token":   change("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"no ID token":               {Sign: func(map[string]any) string { return "" }},
		"nonsense":                  {Sign: func(map[string]any) string { return "a.b.c" }},
		"the key of another":        {Sign: other.Sign},
		"no algorithm": {Sign: func(c map[string]any) string {
			return part(map[string]any{"alg": "none", "typ": "JWT"}) + "." + part(c) + "."
		}},
		"the public key as a secret": {Sign: func(c map[string]any) string {
			return fakeprovider.SignWith(t, jose.SigningKey{Algorithm: jose.HS256, Key: fake.PublicKey()}, c)
		}},
		"somebody else's claims":        {UserInfo: func(map[string]any) map[string]any { return mallory }, Token: func(c map[string]any) { delete(c, "name") }},
		"the name of another in return": {Redirect: func(q url.Values) { q.Set("iss", other.URL) }},
		"no name in return":             {Redirect: func(q url.Values) { q.Del("iss") }},
		"a code that it does not know":  {Redirect: func(q url.Values) { q.Set("code", "guess") }},
		"no code":                       {Redirect: func(q url.Values) { q.Del("code") }},
		"refusal":                       {Redirect: func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }},
		"another error": {Redirect: func(q url.Values) {
			q.Set("error", "<script>")
			q.Set("error_description", strings.Repeat("<b>", 1000))
		}},
	} {
		fake.Lie(lies)
		b := newVisitor(t)
		b.gone(s.ssoURL("a", ssoApp))
		if b.status != 403 && b.status != 400 || !strings.Contains(b.body, "This did not work") || strings.Contains(b.body, "<b>") || strings.Contains(b.body, "<script>") {
			t.Errorf("%s: %s %d %s", name, b.at, b.status, b.body)
		}
		if nobody := (&device{wholeServer: s}).do("GET", v3+"/profile/@dora:hs.example", nil); nobody.status != 404 {
			t.Fatalf("%s: there is an account", name)
		}
	}
	// Claims that are only told apart from the token count as well.
	fake.Lie(fakeprovider.Lies{Token: func(c map[string]any) {
		for _, name := range []string{"preferred_username", "name", "email", "email_verified"} {
			delete(c, name)
		}
		c["aud"], c["azp"] = []string{"somebody", "trestle"}, "trestle"
	}})
	if d := s.newLogin(newVisitor(t).gone(s.ssoURL("a", ssoApp))); d.user != "@dora:hs.example" {
		t.Errorf("logged in as %s", d.user)
	}
}

func TestSSOProviderFails(t *testing.T) {
	fake := fakeprovider.New(t)
	fake.Be(dora)
	s := withProviders(t, testkit.SQLite(t), nil, fake)
	large := []byte(`{"x":"` + strings.Repeat("x", 2<<20) + `"}`)
	// The keys first: once a login has gone well they are known.
	for _, c := range []struct {
		path string
		want int
	}{{"/keys", 403}, {"/token", 502}, {"/userinfo", 502}} {
		for what, answer := range map[string]func(w http.ResponseWriter){
			"fails":      func(w http.ResponseWriter) { w.WriteHeader(500) },
			"floods":     func(w http.ResponseWriter) { _, _ = w.Write(large) },
			"leads away": func(w http.ResponseWriter) { w.Header().Set("Location", "http://127.0.0.1:1/"); w.WriteHeader(307) },
		} {
			fake.Lie(fakeprovider.Lies{
				Token: func(token map[string]any) { delete(token, "name") },
				Answer: func(asked string, w http.ResponseWriter) bool {
					if asked == c.path {
						answer(w)
					}
					return asked == c.path
				},
			})
			b := newVisitor(t)
			b.gone(s.ssoURL("a", ssoApp))
			if (b.status != c.want && b.status != 403) || !strings.Contains(b.body, "This did not work") {
				t.Errorf("%s %s: %s %d %s", c.path, what, b.at, b.status, b.body)
			}
		}
	}
	fake.Lie(fakeprovider.Lies{})
	s.newLogin(newVisitor(t).gone(s.ssoURL("a", ssoApp)))
	if n := fake.Asked("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("the provider was asked %d times what it is", n)
	}
}

// A browser that was not sent to the provider has no business with what comes
// back from there.
func TestSSOForgedCallbacks(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		good, evil := fakeprovider.New(t), fakeprovider.New(t)
		good.Be(dora)
		evil.Be(mallory)
		s := withProviders(t, database, nil, good, evil)
		b, other := newVisitor(t), newVisitor(t)
		mine, theirs := b.callback(s, "a"), other.callback(s, "a")
		state := func(address string) string {
			u, _ := url.Parse(address)
			return u.Query().Get("state")
		}
		// Somebody else's login is not finished here, nor mine there.
		b.open(theirs).shows(403, "begun in another browser")
		other.open(mine).shows(403, "begun in another browser")
		newVisitor(t).open(mine).shows(403, "begun in another browser")
		for _, wrong := range []string{"", "x", ".", "x.y", "\x00.y", "\xff\xfe.y", strings.Repeat("\x00", 16) + ".y", state(mine) + "x", strings.Split(state(mine), ".")[0] + ".", strings.Repeat("x", 5000)} {
			b.open(withQuery(mine, "state", wrong)).shows(400, "This login is over")
		}
		// A code of one login is no good in another one, whose challenge it does
		// not answer.
		second := b.callback(s, "a")
		u, _ := url.Parse(second)
		b.open(withQuery(second, "code", "guess")).shows(403, "did not confirm your login")
		third := b.callback(s, "a")
		b.open(withQuery(third, "code", u.Query().Get("code"))).shows(403, "did not confirm your login")
		// One provider does not answer for another.
		b.open(strings.Replace(mine, "/callback/a", "/callback/b", 1)).shows(400, "This login is over")
		b.open(strings.Replace(mine, "/callback/a", "/callback/c", 1)).shows(404, "Nobody can log in by")
		atEvil := b.callback(s, "b")
		b.open(withQuery(mine, "state", state(atEvil))).shows(400, "This login is over")
		// After all that the login goes on, once.
		b.gone(mine)
		if d := s.newLogin(b); d.user != "@dora:hs.example" {
			t.Errorf("logged in as %s", d.user)
		}
		b.open(mine).shows(400, "This login is over")
	})
}

func TestSSOTrustedClients(t *testing.T) {
	fake := fakeprovider.New(t)
	fake.Be(dora)
	s := withProviders(t, testkit.SQLite(t), nil, fake)
	b := newVisitor(t)
	for client, asks := range map[string]string{
		"https://app.example.org/login": "", "https://app.example.org/login/": "", "https://APP.example.org/login?x=y#z": "",
		"https://app.example.org/login/deep": "", "element://connect": "", "element:///x": "",
		"https://app.example.org/": "app.example.org", "https://app.example.org/logins": "app.example.org",
		"https://app.example.org/login/../steal": "app.example.org", "https://app.example.org/login/%2e%2e/steal": "app.example.org",
		"https://app.example.org:444/login": "app.example.org:444", "http://app.example.org/login": "app.example.org",
		"https://app.example.org.evil.example/login": "app.example.org.evil.example", "elements://connect": "elements: links",
	} {
		b.gone(s.ssoURL("a", client))
		if asks == "" && !b.at.Query().Has("loginToken") || asks != "" && (b.status != 200 || !strings.Contains(b.body, "Log in to ") || !strings.Contains(b.body, asks+"?")) {
			t.Errorf("%s: %s %d %s", client, b.at, b.status, b.body)
		}
	}
}

// What the operator wants of people, and may have them get.
func TestSSOPolicy(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		fake := fakeprovider.New(t)
		fake.Be(mallory)
		s := withProviders(t, database, func(p *config.SSOProvider) {
			p.Require = []config.SSORequirement{{Claim: "groups", Value: "chat"}}
			p.AllowSignUp, p.LinkExistingUsers = false, true
		}, fake)
		b := newVisitor(t)
		b.gone(s.ssoURL("a", ssoApp)).shows(403, "You may not log in here with your account at Provider a")
		fake.Be(dora)
		b.gone(s.ssoURL("a", ssoApp)).shows(403, "Nobody has an account here who is you at Provider a")
		d := s.person("dora")
		if linked := s.newLogin(b.gone(s.ssoURL("a", ssoApp))); linked.user != d.user {
			t.Errorf("logged in as %s", linked.user)
		}
		// The account is one person's there; another one of that name gets nothing.
		second := map[string]any{"sub": "d2", "preferred_username": "Dora", "groups": "chat"}
		fake.Be(second)
		b.gone(s.ssoURL("a", ssoApp)).shows(403, "Nobody has an account here")
		// Both ways to confirm are there for who has both.
		if r := d.do("DELETE", v3+"/devices/OTHER", `{"auth":{}}`); r.field("flows") != `[{"stages":["m.login.password"]},{"stages":["m.login.sso"]}]` {
			t.Errorf("flows: %s", r.body)
		}
		fake.Be(dora)
		d.must("POST", v3+"/account/deactivate", `{"auth":`+passwordAuth("dora", password)+`}`)
		b.gone(s.ssoURL("a", ssoApp)).shows(403, "deactivated")
	})
}

// By default a local user's account is not to be had by their name.
func TestSSOLinksNobody(t *testing.T) {
	fake := fakeprovider.New(t)
	fake.Be(dora)
	s := withProviders(t, testkit.SQLite(t), nil, fake)
	s.person("dora")
	newVisitor(t).gone(s.ssoURL("a", ssoApp)).shows(200, "Choose your user name")
}

// People who register say so to providers that know the difference.
func TestSSOPrompts(t *testing.T) {
	fake := fakeprovider.New(t)
	fake.Be(dora)
	fake.Lie(fakeprovider.Lies{Metadata: func(m map[string]any) {
		m["prompt_values_supported"] = []string{"login", "create"}
		m["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
	}})
	s := withProviders(t, testkit.SQLite(t), nil, fake)
	b := newVisitor(t)
	d := s.newLogin(b.gone(s.ssoURL("a", ssoApp) + "&action=register"))
	if prompt := fake.Last().Get("prompt"); prompt != "create" {
		t.Errorf("prompt %q", prompt)
	}
	s.newLogin(b.gone(s.ssoURL("a", ssoApp) + "&action=login"))
	if fake.Last().Has("prompt") {
		t.Errorf("prompt %q", fake.Last().Get("prompt"))
	}
	session := d.do("DELETE", v3+"/devices/OTHER", `{"auth":{}}`).field("session")
	b.gone(s.url+v3+"/auth/m.login.sso/fallback/web?session="+session).click("Confirm").shows(200, "Done")
	if prompt := fake.Last().Get("prompt"); prompt != "login" {
		t.Errorf("prompt %q", prompt)
	}
}

// A provider may say who somebody is without asking them anything, so that the
// way there is good in the browser alone that was shown the page about it.
func TestSSOConfirmsNothingUnasked(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		fake := fakeprovider.New(t)
		fake.Be(dora)
		s := withProviders(t, database, nil, fake)
		owner, thief := newVisitor(t), newVisitor(t)
		d := s.newLogin(owner.gone(s.ssoURL("a", ssoApp)))
		remove := func(session string) reply {
			return d.do("DELETE", v3+"/devices/OTHER", map[string]any{"auth": map[string]string{"session": session}})
		}
		session := remove("").field("session")
		page := s.url + v3 + "/auth/m.login.sso/fallback/web?session=" + session
		stolen := s.url + thief.gone(page).link("Confirm with Provider a")
		other := s.url + owner.gone(s.url+v3+"/auth/m.login.sso/fallback/web?session="+remove("").field("session")).link("Confirm with Provider a")
		for _, sent := range []string{
			stolen, withQuery(other, "session", session), withQuery(stolen, "proof", ""), s.url + "/_trestle/client/sso/confirm?provider=a&session=" + session,
		} {
			owner.gone(sent).shows(200, "If you did not expect this, close this page")
			newVisitor(t).gone(sent).shows(200, "If you did not expect this, close this page")
		}
		if r := remove(session); r.status != 401 || r.field("completed") != "" {
			t.Fatalf("nobody was asked: %d %s", r.status, r.body)
		}
		owner.click("Confirm with Provider a").shows(200, "Done")
		if r := remove(session); r.status != 200 {
			t.Errorf("by the owner: %d %s", r.status, r.body)
		}
	})
}

// A name that becomes another one in small letters is not that one's.
func TestSSOLinksNobodyElse(t *testing.T) {
	fake := fakeprovider.New(t)
	s := withProviders(t, testkit.SQLite(t), func(p *config.SSOProvider) { p.LinkExistingUsers = true }, fake)
	s.person("kim")
	fake.Be(map[string]any{"sub": "x", "preferred_username": "\u212aim"})
	newVisitor(t).gone(s.ssoURL("a", ssoApp)).shows(200, "Choose your user name")
	fake.Be(map[string]any{"sub": "y", "preferred_username": "Kim"})
	if d := s.newLogin(newVisitor(t).gone(s.ssoURL("a", ssoApp))); d.user != "@kim:hs.example" {
		t.Errorf("logged in as %s", d.user)
	}
}

// An address is verified by whoever says both: the word about one is not about
// another.
func TestSSOVerifiesTheAddressThatItSays(t *testing.T) {
	fake := fakeprovider.New(t)
	s := withProviders(t, testkit.SQLite(t), nil, fake)
	for name, told := range map[string]string{"same": "same@id.example", "other": "somebody@id.example"} {
		who := map[string]any{"sub": name, "preferred_username": name, "name": name, "email": name + "@id.example", "email_verified": true}
		fake.Be(who)
		fake.Lie(fakeprovider.Lies{Token: func(claims map[string]any) {
			delete(claims, "name") // which has to be asked for
			delete(claims, "email_verified")
			claims["email"] = told
		}})
		d := s.newLogin(newVisitor(t).gone(s.ssoURL("a", ssoApp)))
		list := d.must("GET", v3+"/account/3pid", nil)
		if found, _ := list.at("threepids").([]any); len(found) == 1 != (name == "same") || len(found) == 1 && !strings.Contains(list.body, told) {
			t.Errorf("%s: %s", name, list.body)
		}
	}
}
