package clientapi_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"trestle/homeserver/oauth"
	"trestle/internal/config"
	"trestle/internal/testkit"
)

func (s *accountServer) app(device string) *app {
	s.t.Helper()
	return newApp(s.t, s.url, s.http, device)
}

func set(name, value string) oauth2.AuthCodeOption { return oauth2.SetAuthURLParam(name, value) }

// What is wrong with a request is told to the user; the application learns of
// it when the user goes there. Nobody is sent anywhere without a click.
func TestAuthorizationRefused(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database)
		s.register("alice")
		a, b := s.app("PHONE"), newBrowser(t, s.url)
		b.open(a.request()).signIn("alice").says(200)
		for _, tt := range []struct{ name, value, code string }{
			{"response_type", "token", "unsupported_response_type"},
			{"response_type", "", "invalid_request"},
			{"scope", "openid", "invalid_scope"},
			{"scope", "urn:matrix:client:api:* urn:synapse:admin:* urn:matrix:client:device:X", "invalid_scope"},
			{"code_challenge", "", "invalid_request"},
			{"code_challenge", "short", "invalid_request"},
			{"code_challenge_method", "plain", "invalid_request"},
			{"response_mode", "web_message", "invalid_request"},
			{"prompt", "none", "interaction_required"},
			{"prompt", "none login", "invalid_request"},
			{"request", "x.y.z", "request_not_supported"},
			{"request_uri", "https://evil.example/", "request_uri_not_supported"},
			{"state", strings.Repeat("s", 3000), "invalid_request"},
		} {
			b.open(a.request(set(tt.name, tt.value))).says(400, "something impossible")
			back, err := url.Parse(b.links["Go back to an application on this device (127.0.0.1:4711)"])
			if err != nil || back.Query().Get("error") != tt.code || back.Query().Get("iss") != s.url+"/" || !strings.HasPrefix(back.String(), callback+"?") {
				t.Errorf("%s=%s: back by %v", tt.name, tt.value, b.links)
			}
			if state := back.Query().Get("state"); state != "st&te" && tt.name != "state" {
				t.Errorf("%s: state %q", tt.name, state)
			}
		}
		// Where it is not sure who has asked, there is no way back.
		for _, wrong := range []oauth2.AuthCodeOption{
			set("client_id", "nobody"), set("client_id", ""), set("client_id", strings.Repeat("x", 300)), set("redirect_uri", ""),
			set("redirect_uri", "https://evil.example/"), set("redirect_uri", "https://app.example/cb?x=1&y"), set("redirect_uri", callback+"/.."),
			set("redirect_uri", "http://127.0.0.1:4711@evil.example/callback"), set("redirect_uri", "javascript:alert(1)"), set("redirect_uri", "//evil.example/"),
			set("scope", "a\x00b"), set("scope", "a\xffb"),
		} {
			if b.open(a.request(wrong)).says(400, `class="error"`); len(b.links) != 0 || b.left != "" || b.action != "" {
				t.Errorf("%s: %v, %q, %q", b.path, b.links, b.left, b.action)
			}
		}
		b.open(a.request()+"&state=again").says(400, "more than once")
		b.open(oauth.AuthorizePath+"?client_id=%zz").says(400, "could not be read")
	})
}

// Answers come back in the way that was asked for.
func TestResponseModes(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	s.register("alice")
	a, b := s.app("PHONE"), newBrowser(t, s.url)
	b.open(a.request()).signIn("alice").send("answer", "deny")
	if got := b.answers(); got.Get("error") != "access_denied" || got.Get("state") != "st&te" || got.Get("code") != "" || !strings.HasPrefix(b.left, callback+"?") {
		t.Errorf("denied: %s", b.left)
	}
	a.config.RedirectURL = "https://app.example/cb?x=1"
	if code := a.code(b, set("response_mode", "query")); code == "" || !strings.HasPrefix(b.left, "https://app.example/cb?x=1&code=") {
		t.Errorf("query: %s", b.left)
	}
	if code := a.code(b, set("response_mode", "fragment")); code == "" || !strings.HasPrefix(b.left, "https://app.example/cb?x=1#code=") {
		t.Errorf("fragment: %s", b.left)
	}
	b.open(a.request(set("response_mode", "form_post"))).says(200)
	if policy := b.header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "form-action 'self' https://app.example") {
		t.Errorf("policy: %s", policy)
	}
	b.send("answer", "allow").says(200)
	if b.action != "https://app.example/cb?x=1" || b.fields.Get("state") != "st&te" || b.fields.Get("code") == "" || b.fields.Get("form") != "" {
		t.Errorf("form_post: %q %v", b.action, b.fields)
	}
	a.redeem(b.fields.Get("code"))
	a.config.RedirectURL = "example.app.test:/cb"
	b.open(a.request()).says(200, "the application example.app.test on this device")
	if policy := b.header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "form-action 'self' example.app.test:") {
		t.Errorf("policy: %s", policy)
	}
	b.send("answer", "perhaps").says(400, "two answers")
	if code := a.code(b); code == "" || !strings.HasPrefix(b.left, "example.app.test:/cb?code=") {
		t.Errorf("an application: %s", b.left)
	}
	b.open(a.request(set("response_mode", "form_post"))).says(400, "cannot be sent a form")
}

func TestTokenRefused(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database)
		s.register("alice")
		a, b := s.app("PHONE"), newBrowser(t, s.url)
		id := a.config.ClientID
		code := a.code(b)
		good := map[string]string{"grant_type": "authorization_code", "code": code, "client_id": id, "redirect_uri": callback, "code_verifier": a.verifier}
		form := func(changes ...string) []string {
			values := map[string]string{}
			for name, value := range good {
				values[name] = value
			}
			for i := 0; i < len(changes); i += 2 {
				values[changes[i]] = changes[i+1]
			}
			var pairs []string
			for name, value := range values {
				pairs = append(pairs, name, value)
			}
			return pairs
		}
		for _, tt := range []struct {
			status            int
			code, name, value string
		}{
			{400, "invalid_request", "grant_type", ""},
			{400, "unsupported_grant_type", "grant_type", "password"},
			{401, "invalid_client", "client_id", ""},
			{401, "invalid_client", "client_id", "nobody"},
			{400, "invalid_request", "client_id", "a\x00b"},
			{400, "invalid_request", "code", ""},
			{400, "invalid_grant", "code", "guess"},
			{400, "invalid_request", "code", "\xff"},
			{400, "invalid_grant", "redirect_uri", "https://app.example/cb?x=1"},
			{400, "invalid_grant", "redirect_uri", ""},
			{400, "invalid_request", "code_verifier", ""},
			{400, "invalid_grant", "code_verifier", strings.Repeat("x", 43)},
			{400, "invalid_grant", "code_verifier", "short"},
		} {
			a.fails(tt.status, tt.code, "token_endpoint", form(tt.name, tt.value)...)
		}
		for kind, body := range map[string]string{
			"application/json":                  `{"grant_type":"authorization_code"}`,
			"":                                  "grant_type=authorization_code",
			"application/x-www-form-urlencoded": "grant_type=authorization_code&grant_type=refresh_token",
		} {
			if status, answer := a.json("POST", a.endpoint("token_endpoint"), kind, body); status != 400 || answer["error"] != "invalid_request" {
				t.Errorf("%s %s: %d %v", kind, body, status, answer)
			}
		}
		if status, answer := a.json("POST", a.endpoint("token_endpoint"), "application/x-www-form-urlencoded", "code="+strings.Repeat("x", 100_000)); status != 400 || answer["error"] != "invalid_request" {
			t.Errorf("too much: %d %v", status, answer)
		}
		token := a.redeem(code)
		s.must("GET", v3+"/account/whoami", token.AccessToken, "")

		// A code that comes once more ends what it gave.
		a.fails(400, "invalid_grant", "token_endpoint", form()...)
		s.refused("GET", v3+"/account/whoami", token.AccessToken, "", 401, "M_UNKNOWN_TOKEN")
		a.fails(400, "invalid_grant", "token_endpoint", "grant_type", "refresh_token", "refresh_token", token.RefreshToken, "client_id", id)

		late := a.code(b)
		s.wait(3 * time.Minute)
		a.fails(400, "invalid_grant", "token_endpoint", form("code", late)...)
	})
}

func TestRefreshRefused(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database)
		legacy := s.register("alice")
		a := s.app("PHONE")
		token := a.redeem(a.code(newBrowser(t, s.url)))
		refresh := func(client, refresh string, more ...string) []string {
			return append([]string{"grant_type", "refresh_token", "client_id", client, "refresh_token", refresh}, more...)
		}
		status, other := a.json("POST", a.endpoint("registration_endpoint"), "application/json", `{"client_uri":"https://other.example/","redirect_uris":["https://other.example/"]}`)
		if status != 201 {
			t.Fatal(other)
		}
		id := a.config.ClientID
		a.fails(400, "invalid_grant", "token_endpoint", refresh(other["client_id"].(string), token.RefreshToken)...)
		a.fails(400, "invalid_grant", "token_endpoint", refresh(id, "guess")...)
		a.fails(400, "invalid_grant", "token_endpoint", refresh(id, legacy)...)
		a.fails(400, "invalid_request", "token_endpoint", refresh(id, "")...)
		a.fails(400, "invalid_scope", "token_endpoint", refresh(id, token.RefreshToken, "scope", "urn:matrix:client:api:* urn:matrix:client:device:LAPTOP")...)
		a.fails(400, "unauthorized_client", "token_endpoint", "grant_type", oauth.GrantDevice, "device_code", "x", "client_id", other["client_id"].(string))

		next, err := a.refresh(token.RefreshToken)
		if err != nil {
			t.Fatal(err)
		}
		s.wait(2 * time.Hour)
		r := s.do("GET", v3+"/account/whoami", next.AccessToken, "")
		if r.status != 401 || r.field("soft_logout") != "true" {
			t.Errorf("after two hours: %d %s", r.status, r.body)
		}
		if next, err = a.refresh(next.RefreshToken); err != nil {
			t.Fatal(err)
		}
		s.must("GET", v3+"/account/whoami", next.AccessToken, "")
		// Whoever still has the first one has stolen it.
		a.fails(400, "invalid_grant", "token_endpoint", refresh(id, token.RefreshToken)...)
		s.refused("GET", v3+"/account/whoami", next.AccessToken, "", 401, "M_UNKNOWN_TOKEN")
		// What is no business of OAuth is not revoked by it.
		a.post("revocation_endpoint", "token", legacy)
		s.must("GET", v3+"/account/whoami", legacy, "")
		a.fails(400, "invalid_request", "revocation_endpoint", "token", "")
		a.fails(400, "unsupported_token_type", "revocation_endpoint", "token", "x", "token_type_hint", "id_token")
	})
}

func TestDeviceRefused(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database)
		s.register("alice")
		a, b := s.app("TV"), newBrowser(t, s.url)
		id, scope := a.config.ClientID, strings.Join(a.config.Scopes, " ")
		a.fails(401, "invalid_client", "device_authorization_endpoint", "scope", scope)
		a.fails(400, "invalid_scope", "device_authorization_endpoint", "client_id", id)
		begin := func() (device, user string) {
			status, answer := a.post("device_authorization_endpoint", "client_id", id, "scope", scope)
			if status != 200 {
				t.Fatalf("begin: %d %v", status, answer)
			}
			return answer["device_code"].(string), answer["user_code"].(string)
		}
		ask := func(code string) []string {
			return []string{"grant_type", oauth.GrantDevice, "client_id", id, "device_code", code}
		}
		a.fails(400, "invalid_grant", "token_endpoint", ask("guess")...)
		a.fails(400, "invalid_request", "token_endpoint", ask("")...)
		device, user := begin()
		a.fails(400, "authorization_pending", "token_endpoint", ask(device)...)
		s.wait(4 * time.Second)
		a.fails(400, "slow_down", "token_endpoint", ask(device)...)
		s.wait(9 * time.Second)
		a.fails(400, "slow_down", "token_endpoint", ask(device)...)
		s.wait(16 * time.Second)
		a.fails(400, "authorization_pending", "token_endpoint", ask(device)...)
		b.open(oauth.LinkPath+"?user_code="+user).signIn("alice").says(200, user).send().says(200).send("answer", "deny").says(200)
		a.fails(400, "access_denied", "token_endpoint", ask(device)...)
		b.open(oauth.LinkPath+"?user_code="+user).send().says(404, "No device waits")

		device, user = begin()
		s.wait(16 * time.Minute)
		b.open(oauth.LinkPath+"?user_code="+user).send().says(404, "No device waits")
		a.fails(400, "expired_token", "token_endpoint", ask(device)...)

		device, user = begin()
		b.open(oauth.LinkPath+"?user_code="+user).send().send("answer", "allow").says(200)
		status, tokens := a.post("token_endpoint", ask(device)...)
		if status != 200 {
			t.Fatalf("allowed: %d %v", status, tokens)
		}
		s.must("GET", v3+"/account/whoami", tokens["access_token"].(string), "")
		a.fails(400, "invalid_grant", "token_endpoint", ask(device)...)
		s.refused("GET", v3+"/account/whoami", tokens["access_token"].(string), "", 401, "M_UNKNOWN_TOKEN")
	})
}

// Applications that say the same are one, and those that nobody uses go.
func TestOAuthClients(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database)
		s.register("alice")
		a, again := s.app("PHONE"), s.app("TV")
		if a.config.ClientID != again.config.ClientID {
			t.Error("one application has two IDs")
		}
		for _, tt := range []struct{ body, code string }{
			{`{`, "invalid_client_metadata"}, {``, "invalid_client_metadata"}, {`{"client_uri":"http://a.example/"}`, "invalid_client_metadata"},
			{`{"client_uri":"https://a.example/","redirect_uris":["https://b.example/"]}`, "invalid_redirect_uri"},
			{strings.Repeat(" ", 100_000), "invalid_client_metadata"},
		} {
			status, answer := a.json("POST", a.endpoint("registration_endpoint"), "application/json", tt.body)
			if status != 400 || answer["error"] != tt.code {
				t.Errorf("%.50s: %d %v", tt.body, status, answer)
			}
		}
		token := a.redeem(a.code(newBrowser(t, s.url)))
		s.wait(100 * 24 * time.Hour)
		if err := s.oauth.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		next, err := a.refresh(token.RefreshToken)
		if err != nil {
			t.Fatalf("an application with a session has been forgotten: %v", err)
		}
		a.post("revocation_endpoint", "token", next.AccessToken)
		// Somebody who logs in again some weeks later finds it still.
		s.wait(60 * 24 * time.Hour)
		if err := s.oauth.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		newBrowser(t, s.url).open(a.request()).says(200, "<h1>Sign in</h1>")
		s.wait(31 * 24 * time.Hour)
		if err := s.oauth.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.fails(401, "invalid_client", "token_endpoint", "grant_type", "refresh_token", "client_id", a.config.ClientID, "refresh_token", "x")
	})
}

// Clients that name themselves in a header have no password there.
func TestOAuthBasic(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	a := s.app("PHONE")
	for password, want := range map[string]string{"": "invalid_grant", "secret": "invalid_client"} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", a.endpoint("token_endpoint"), strings.NewReader("grant_type=refresh_token&refresh_token=x"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(a.config.ClientID, password)
		response, err := s.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if challenged := response.Header.Get("WWW-Authenticate") != ""; challenged != (want == "invalid_client") || response.StatusCode == 200 {
			t.Errorf("password %q: %d %v", password, response.StatusCode, response.Header)
		}
	}
}

// Without an address at which browsers find the pages, there is no OAuth.
func TestOAuthOff(t *testing.T) {
	for _, off := range []func(*config.Config){
		func(c *config.Config) { c.PublicBaseURL = "" },
		func(c *config.Config) { c.OAuth.Enabled = false },
	} {
		s := newWholeServer(t, t.TempDir()+"/test.db", off)
		alice := s.person("alice")
		alice.refused("GET", metadataPath, nil, 404, "M_UNRECOGNIZED")
		alice.refused("GET", oauth.LoginPath, nil, 404, "M_UNRECOGNIZED")
		alice.signingKeys(1)
		public, _ := newKey(9)
		if r := alice.do("POST", signingPath, object{"master_key": alice.crossSigningKey("master", public)}); r.status != 401 || r.field("flows") != `[{"stages":["m.login.password"]}]` {
			t.Errorf("new keys: %d %s", r.status, r.body)
		}
	}
}

// Who logs out everywhere takes back what somebody was allowed and has not come for.
func TestLogoutEverywhereTakesCodesBack(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database)
		alice := s.register("alice")
		a := s.app("TV")
		status, begun := a.post("device_authorization_endpoint", "client_id", a.config.ClientID, "scope", strings.Join(a.config.Scopes, " "))
		if status != 200 {
			t.Fatalf("begin: %d %v", status, begun)
		}
		b := newBrowser(t, s.url)
		b.open(oauth.LinkPath+"?user_code="+begun["user_code"].(string)).signIn("alice").send().send("answer", "allow").says(200, "goes on by itself")
		code, kept := a.code(b), a.redeem(a.code(b))
		s.must("GET", v3+"/account/whoami", kept.AccessToken, "")
		s.must("POST", v3+"/logout/all", alice, "")
		a.fails(400, "invalid_grant", "token_endpoint", "grant_type", oauth.GrantDevice, "client_id", a.config.ClientID, "device_code", begun["device_code"].(string))
		a.fails(400, "invalid_grant", "token_endpoint", "grant_type", "authorization_code", "code", code, "client_id", a.config.ClientID,
			"redirect_uri", callback, "code_verifier", a.verifier)
		s.refused("GET", v3+"/account/whoami", kept.AccessToken, "", 401, "M_UNKNOWN_TOKEN")
	})
}
