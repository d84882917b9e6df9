package clientapi_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	zitadel "github.com/zitadel/oidc/v3/example/server/storage"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

// people are those whom a provider knows.
type people []*zitadel.User

func (p people) ExampleClientID() string { return "service" }

func (p people) GetUserByID(id string) *zitadel.User {
	for _, user := range p {
		if user.ID == id {
			return user
		}
	}
	return nil
}

func (p people) GetUserByUsername(name string) *zitadel.User {
	for _, user := range p {
		if user.Username == name {
			return user
		}
	}
	return nil
}

// certified starts a provider that was certified by the OpenID Foundation. Its
// people log in with their names as passwords.
func certified(t *testing.T, callback string, known people) (issuer string) {
	t.Helper()
	zitadel.RegisterClients(zitadel.WebClient("trestle", "s3cret", callback))
	server := httptest.NewUnstartedServer(nil)
	issuer = "http://" + server.Listener.Addr().String()
	server.Config.Handler = exampleop.SetupServer(issuer, zitadel.NewStorage(known), slog.New(slog.DiscardHandler), false)
	server.Start()
	t.Cleanup(server.Close)
	return issuer
}

var known = people{
	{ID: "1", Username: "Alice", Password: "Alice", FirstName: "Alice", LastName: "Archer", Email: "alice@id.example", EmailVerified: true},
	{ID: "2", Username: "bob@id.example", Password: "bob@id.example", FirstName: "Bob", LastName: "B", Email: "bob@id.example"},
}

// logInAt fills in the form of a certified provider.
func (b *visitor) logInAt(name string) *visitor {
	b.t.Helper()
	if !strings.HasPrefix(b.at.Path, "/login/username") {
		b.t.Fatalf("no login at the provider, but %s: %d %s", b.at, b.status, b.body)
	}
	return b.submit(url.Values{"username": {name}, "password": {name}})
}

// newLogin is a device of whoever a browser has brought a login token for.
func (s *wholeServer) newLogin(b *visitor) *device {
	s.t.Helper()
	token := b.at.Query().Get("loginToken")
	if token == "" {
		s.t.Fatalf("no login token at %s: %d %s", b.at, b.status, b.body)
	}
	d := &device{wholeServer: s}
	res := d.must("POST", v3+"/login", map[string]any{"type": "m.login.token", "token": token})
	d.user, d.id, d.token = res.field("user_id"), res.field("device_id"), res.field("access_token")
	return d
}

func (s *wholeServer) ssoURL(provider, client string) string {
	path := s.url + v3 + "/login/sso/redirect"
	if provider != "" {
		path += "/" + provider
	}
	return path + "?" + url.Values{"redirectUrl": {client}}.Encode()
}

const ssoApp = "https://app.example.org/login?from=sso&loginToken=old"

func withCertified(t *testing.T, database string, change func(p *config.SSOProvider, cfg *config.Config)) *wholeServer {
	t.Helper()
	return frontedServer(t, database, func(cfg *config.Config) {
		p := config.DefaultSSOProvider()
		p.ID, p.Name, p.Brand, p.Icon, p.ClientID, p.ClientSecret = "cert", "Certified & Sons", "certified", "mxc://hs.example/icon", "trestle", "s3cret"
		p.Issuer = certified(t, cfg.PublicBaseURL+"/_trestle/client/sso/callback/cert", known)
		if change != nil {
			change(&p, cfg)
		}
		cfg.SSO.Providers = append(cfg.SSO.Providers, p)
	})
}

func TestSSOLogin(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withCertified(t, database, func(_ *config.SSOProvider, cfg *config.Config) { cfg.SSO.Preferred = true })
		nobody := &device{wholeServer: s}
		if flows := nobody.must("GET", v3+"/login", nil); !strings.Contains(flows.body,
			`{"type":"m.login.sso","identity_providers":[{"id":"cert","name":"Certified & Sons","icon":"mxc://hs.example/icon","brand":"certified"}],"oauth_aware_preferred":true}`) {
			t.Errorf("flows: %s", flows.body)
		}
		b := newVisitor(t)
		b.gone(s.ssoURL("cert", ssoApp)).logInAt("Alice")
		b.shows(200, "Log in to app.example.org?", "@alice:hs.example")
		if policy := b.header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' https://app.example.org") {
			t.Errorf("policy %s", policy)
		}
		b.submit(nil)
		if !strings.HasPrefix(b.at.String(), "https://app.example.org/login?from=sso&loginToken=trestle_lt_") {
			t.Fatalf("the client was sent to %s", b.at)
		}
		alice := s.newLogin(b)
		if alice.user != "@alice:hs.example" {
			t.Errorf("logged in as %s", alice.user)
		}
		if name := alice.must("GET", v3+"/profile/"+alice.user+"/displayname", nil).field("displayname"); name != "Alice Archer" {
			t.Errorf("display name %q", name)
		}
		if mail := alice.must("GET", v3+"/account/3pid", nil); !strings.Contains(mail.body, `"alice@id.example"`) {
			t.Errorf("addresses: %s", mail.body)
		}
		// The token was good once, and so was all that led to it.
		alice.refused("POST", v3+"/login", map[string]any{"type": "m.login.token", "token": b.at.Query().Get("loginToken")}, 403, "M_FORBIDDEN")

		again := newVisitor(t)
		again.gone(s.ssoURL("", "element://connect")).logInAt("Alice")
		again.shows(200, "Log in to the application for element: links?")
		if policy := again.header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "form-action 'self' element:") {
			t.Errorf("policy %s", policy)
		}
	})
}

// Who comes by the generic address chooses where several are.
func TestSSOChoice(t *testing.T) {
	s := withCertified(t, testkit.SQLite(t), func(p *config.SSOProvider, cfg *config.Config) {
		other := config.DefaultSSOProvider()
		other.ID, other.Name, other.Issuer, other.ClientID = "away", "Away <b>", "http://127.0.0.1:1", "trestle"
		cfg.SSO.Providers = append(cfg.SSO.Providers, other)
		cfg.SSO.TrustedClients = []string{"https://app.example.org/"}
	})
	// The server has started though a provider is away; whoever wants it is told.
	b := newVisitor(t)
	b.gone(s.ssoURL("", ssoApp)).shows(200, "Continue with Away <b>", "Continue with Certified & Sons")
	if strings.Contains(b.body, "<b>") {
		t.Errorf("a name is not escaped: %s", b.body)
	}
	b.click("Away").shows(502, "Away <b> cannot be reached at the moment")
	b.gone(s.ssoURL("", ssoApp)).click("Certified").logInAt("Alice")
	if d := s.newLogin(b); d.user != "@alice:hs.example" {
		t.Errorf("logged in as %s", d.user)
	}
	// The redirects are those of the specification.
	for path, status := range map[string]int{
		"?redirectUrl=https://a.example": 302, "/cert?redirectUrl=https://a.example": 302, "/cert?redirectUrl=https://a.example&action=register": 302,
		"": 400, "?redirectUrl=/here": 400, "?redirectUrl=//a.example": 400, "?redirectUrl=javascript:alert(1)": 400, "?redirectUrl=https://": 400,
		"?redirectUrl=data:text/html,x": 400, "?redirectUrl=https://a.example%5C@b.example": 400, "?redirectUrl=https://user@a.example": 400,
		"?redirectUrl=https://a.example/%0a": 400, "?redirectUrl=https://a.example/%00": 400, "?redirectUrl=https://a.example/%ff": 400, "?redirectUrl=https://a.example&action=steal": 400, "/nobody?redirectUrl=https://a.example": 404,
		"/cert": 400, "/%00?redirectUrl=https://a.example": 400, "/%ff?redirectUrl=https://a.example": 400, "/away?redirectUrl=https://a.example": 502,
	} {
		for _, version := range []string{"v3", "r0"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/_matrix/client/"+version+"/login/sso/redirect"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := s.http.Transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != status {
				t.Errorf("%s: %d, want %d", path, response.StatusCode, status)
			}
		}
	}
}

// Somebody new chooses a name when theirs cannot be had, and agrees to the terms.
func TestSSONewUser(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withCertified(t, database, func(p *config.SSOProvider, cfg *config.Config) {
			cfg.OpenRegistration = true
			cfg.SSO.TrustedClients = []string{"https://app.example.org"}
			p.UpdateProfile = true
			cfg.Registration.HumanIDs = true
		})
		s.person("alice")
		b := newVisitor(t)
		b.gone(s.ssoURL("cert", ssoApp)).logInAt("Alice").shows(200, "Choose your user name", `value="alice"`)
		here := b.at.String()
		for name, words := range map[string]string{
			"alice": "taken", "": "cannot be empty", "Ä b": "only a-z", strings.Repeat("a", 300): "bytes", "_server": "the server's own", "аlice": "mistaken for another one",
		} {
			b.submit(url.Values{"username": {name}})
			b.shows(b.status, words, "<form")
			if b.status < 400 || b.status >= 500 {
				t.Errorf("%.20q: %d", name, b.status)
			}
		}
		other := newVisitor(t)
		other.open(here).shows(403, "another browser")
		b.submit(url.Values{"username": {"Archer"}})
		if d := s.newLogin(b); d.user != "@archer:hs.example" {
			t.Errorf("logged in as %s", d.user)
		}
		b.open(here).shows(400, "This login is over")

		// An address is no name; nobody has verified it either.
		bob := newVisitor(t)
		bob.gone(s.ssoURL("cert", ssoApp)).logInAt("bob@id.example").shows(200, `value="bobid.example"`)
		bob.submit(url.Values{"username": {"bob"}})
		d := s.newLogin(bob)
		if mail := d.must("GET", v3+"/account/3pid", nil); d.user != "@bob:hs.example" || strings.Contains(mail.body, "@id.example") {
			t.Errorf("%s has %s", d.user, mail.body)
		}
		// The name that the provider has comes back.
		d.must("PUT", v3+"/profile/"+d.user+"/displayname", `{"displayname":"Bobby"}`)
		bob.gone(s.ssoURL("cert", ssoApp))
		if strings.HasPrefix(bob.at.Path, "/login/username") {
			bob.logInAt("bob@id.example")
		}
		if s.newLogin(bob).must("GET", v3+"/profile/"+d.user+"/displayname", nil).field("displayname") != "Bob B" {
			t.Error("the display name was not updated")
		}
	})
}

// Terms are agreed to by people who come from elsewhere, too.
func TestSSOTerms(t *testing.T) {
	s := withCertified(t, testkit.SQLite(t), func(p *config.SSOProvider, cfg *config.Config) {
		cfg.SSO.TrustedClients = []string{"https://app.example.org"}
		cfg.Registration.Terms = map[string]config.Policy{"privacy": {Version: "1", Languages: map[string]config.PolicyDocument{
			"en": {Name: "Privacy policy", URL: "https://hs.example/privacy"},
		}}}
	})
	b := newVisitor(t)
	b.gone(s.ssoURL("cert", ssoApp)).logInAt("Alice").shows(200, "Choose your user name", `value="alice"`, "https://hs.example/privacy", "I have read them all")
	b.submit(url.Values{}).shows(403, "You have to agree to go on.", `value="alice"`)
	b.submit(url.Values{"agree": {"yes"}})
	if d := s.newLogin(b); d.user != "@alice:hs.example" {
		t.Errorf("logged in as %s", d.user)
	}
}

// Users without a password confirm what they do where they have logged in.
func TestSSOConfirms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withCertified(t, database, func(p *config.SSOProvider, cfg *config.Config) {
			cfg.SSO.TrustedClients = []string{"https://app.example.org"}
		})
		b := newVisitor(t)
		alice := s.newLogin(b.gone(s.ssoURL("cert", ssoApp)).logInAt("Alice"))
		other := s.newLogin(newVisitor(t).gone(s.ssoURL("cert", ssoApp)).logInAt("Alice"))
		remove := func(auth string) reply {
			return alice.do("DELETE", v3+"/devices/"+other.id, `{"auth":`+auth+`}`)
		}
		first := remove(`{}`)
		if first.status != 401 || first.field("flows") != `[{"stages":["m.login.sso"]}]` {
			t.Fatalf("asked: %d %s", first.status, first.body)
		}
		session := first.field("session")
		resume := `{"session":"` + session + `"}`
		if r := remove(`{"type":"m.login.sso","session":"` + session + `"}`); r.status != 401 || r.field("errcode") != "M_FORBIDDEN" {
			t.Errorf("without the page: %d %s", r.status, r.body)
		}
		fallback := s.url + v3 + "/auth/m.login.sso/fallback/web?session=" + session
		// Somebody else at the provider confirms nothing, with an account here
		// or without one.
		bob := newVisitor(t)
		bob.gone(fallback).click("Confirm with Certified").logInAt("bob@id.example").shows(403, "Nobody has an account here who is you")
		if r := remove(resume); r.status != 401 {
			t.Fatalf("by a stranger: %d %s", r.status, r.body)
		}
		bob.gone(s.ssoURL("cert", ssoApp))
		if strings.HasPrefix(bob.at.Path, "/login/username") {
			bob.logInAt("bob@id.example")
		}
		s.newLogin(bob.submit(url.Values{"username": {"bob"}}))
		bob.gone(fallback).click("Confirm with Certified")
		bob.logInAt("bob@id.example").shows(403, "This is for another account to confirm, and you are logged in as @bob:hs.example")
		if r := remove(resume); r.status != 401 || r.field("completed") != "" {
			t.Fatalf("by somebody else: %d %s", r.status, r.body)
		}
		b.gone(fallback).shows(200, "If you did not expect this, close this page")
		b.click("Confirm with Certified").logInAt("Alice").shows(200, "window.onAuthDone();")
		if r := alice.do("DELETE", v3+"/devices/"+alice.id, `{"auth":`+resume+`}`); r.status != 401 {
			t.Fatalf("confirmed for another device: %d %s", r.status, r.body)
		}
		if r := alice.do("POST", v3+"/delete_devices", `{"devices":["`+other.id+`","`+alice.id+`"],"auth":`+resume+`}`); r.status != 401 {
			t.Fatalf("confirmed for one of two devices: %d %s", r.status, r.body)
		}
		if r := alice.do("POST", v3+"/delete_devices", `{"devices":["`+other.id+`","`+other.id+`"],"auth":`+resume+`}`); r.status != 200 {
			t.Fatalf("by the owner: %d %s", r.status, r.body)
		}
		if r := remove(resume); r.status != 401 {
			t.Errorf("with what was used up: %d %s", r.status, r.body)
		}
		// With a password there are two ways, without a provider one.
		carol := s.person("carol")
		if r := carol.do("DELETE", v3+"/devices/OTHER", `{"auth":{}}`); r.field("flows") != `[{"stages":["m.login.password"]}]` {
			t.Errorf("carol: %s", r.body)
		}
		for path, status := range map[string]int{
			"/_trestle/client/sso/confirm": 400, "/_trestle/client/sso/confirm?session=guess": 400,
			"/_trestle/client/sso/confirm?provider=x&session=" + remove(`{}`).field("session"): 404,
		} {
			b.open(s.url+path).shows(status, "This did not work")
		}
	})
}
