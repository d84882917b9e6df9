package oauth_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"trestle/homeserver/oauth"
)

func metadata(kind string, redirects ...string) []byte {
	raw, _ := json.Marshal(map[string]any{
		"client_name": "App", "client_uri": "https://example.com/", "application_type": kind, "redirect_uris": redirects,
	})
	return raw
}

// The examples of Client-Server API § Redirect URI validation, and what an
// attacker would like to have.
func TestRedirects(t *testing.T) {
	for _, tt := range []struct {
		kind, uri string
		ok        bool
	}{
		{"web", "https://example.com/callback", true},
		{"web", "https://app.example.com/callback", true},
		{"web", "https://example.com:5173/?query=value", true},
		{"web", "https://example.com/callback#fragment", false},
		{"web", "https://example.com/callback#", false},
		{"web", "http://example.com/callback", false},
		{"web", "http://localhost/", false},
		{"web", "com.example:/", false},
		{"web", "https://user@example.com/", false},
		{"web", "https://example.com.evil.org/", false},
		{"web", "https://evilexample.com/", false},
		{"web", `https://example.com\@evil.org/`, false},
		{"web", "https://example.com\t.evil.org/", false},
		{"web", "https:example.com", false},
		{"web", "//example.com/", false},
		{"web", "", false},
		{"native", "https://app.example.com/callback", true},
		{"native", "com.example.app:/callback", true},
		{"native", "com.example:/", true},
		{"native", "com.example:callback", true},
		{"native", "http://localhost/callback", true},
		{"native", "http://127.0.0.1/callback", true},
		{"native", "http://[::1]/callback", true},
		{"native", "example:/callback", false},
		{"native", "com.example.app://callback", false},
		{"native", "com.example.app:///callback", false},
		{"native", "com.example.app:/callback#x", false},
		{"native", "com.exampleapp:/callback", false},
		{"native", "https://localhost/callback", false},
		{"native", "http://localhost:1234/callback", false},
		{"native", "http://localhost:/callback", false},
		{"native", "http://localhost.evil.org/", false},
		{"native", "http://user@localhost/", false},
		{"native", "http://127.0.0.2/", false},
		{"native", "javascript:alert(1)", false},
		{"native", "data:text/html,x", false},
		{"native", "https://example.com/" + strings.Repeat("x", 2000), false},
	} {
		_, err := oauth.ParseClient(metadata(tt.kind, tt.uri))
		var known *oauth.Error
		if (err == nil) != tt.ok || err != nil && (!errors.As(err, &known) || known.Code != "invalid_redirect_uri") {
			t.Errorf("%s %q: %v", tt.kind, tt.uri, err)
		}
	}
}

func TestClient(t *testing.T) {
	c, err := oauth.ParseClient([]byte(`{"client_name":"My App","client_name#fr":"Mon application","client_uri":"https://example.com/",
		"logo_uri":"https://cdn.example.com/logo.png","redirect_uris":["https://app.example.com/callback"],"token_endpoint_auth_method":"none",
		"response_types":["token","code"],"grant_types":["refresh_token","authorization_code","urn:ietf:params:oauth:grant-type:token-exchange"]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &oauth.Client{
		Name: "My App", URI: "https://example.com/", LogoURI: "https://cdn.example.com/logo.png",
		Redirects: []string{"https://app.example.com/callback"}, ResponseTypes: []string{"code"},
		GrantTypes: []string{oauth.GrantCode, oauth.GrantRefresh}, AuthMethod: "none", ApplicationType: "web",
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	id, err := c.ID()
	again, _ := want.ID()
	want.Name = "Other"
	if other, _ := want.ID(); err != nil || len(id) != 24 || id != again || id == other {
		t.Errorf("IDs: %s, %s, %s, %v", id, again, other, err)
	}
	if _, err := oauth.ParseClient([]byte(`{"client_uri":"https://example.com/","grant_types":["` + oauth.GrantDevice + `"]}`)); err != nil {
		t.Errorf("a client for devices without a browser: %v", err)
	}
}

func TestClientRefused(t *testing.T) {
	redirect := `"redirect_uris":["https://example.com/"]`
	for _, body := range []string{
		``, `[]`, `{`, `{}`, `{"client_uri":7}`,
		`{"client_uri":"http://example.com/",` + redirect + `}`,
		`{"client_uri":"https://u:p@example.com/",` + redirect + `}`,
		`{"client_uri":"https://localhost/",` + redirect + `}`,
		`{"client_uri":"https://192.0.2.1/",` + redirect + `}`,
		`{"client_uri":"https://example.com/","client_name":"a\u0000b",` + redirect + `}`,
		`{"client_uri":"https://example.com/","client_name":"` + strings.Repeat("x", 256) + `",` + redirect + `}`,
		`{"client_uri":"https://example.com/","policy_uri":"https://other.org/",` + redirect + `}`,
		`{"client_uri":"https://example.com/","tos_uri":"javascript:alert(1)",` + redirect + `}`,
		`{"client_uri":"https://example.com/","application_type":"horse",` + redirect + `}`,
		`{"client_uri":"https://example.com/","token_endpoint_auth_method":"client_secret_basic",` + redirect + `}`,
		`{"client_uri":"https://example.com/","grant_types":["password"],` + redirect + `}`,
		`{"client_uri":"https://example.com/","response_types":["token"],` + redirect + `}`,
	} {
		_, err := oauth.ParseClient([]byte(body))
		var known *oauth.Error
		if !errors.As(err, &known) || known.Code != "invalid_client_metadata" || known.Description == "" {
			t.Errorf("%.100s: %v", body, err)
		}
	}
	if _, err := oauth.ParseClient([]byte(`{"client_uri":"https://example.com/"}`)); err == nil {
		t.Error("a client without a redirect URI may use codes")
	}
}

func TestMayRedirectTo(t *testing.T) {
	native, err := oauth.ParseClient(metadata("native", "http://127.0.0.1/cb?x=1", "http://localhost", "https://example.com/cb"))
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]bool{
		"http://127.0.0.1/cb?x=1": true, "http://127.0.0.1:4711/cb?x=1": true, "http://localhost:1": true, "https://example.com/cb": true,
		"http://127.0.0.1:4711/cb": false, "http://127.0.0.1:99999/cb?x=1": false, "http://127.0.0.1:/cb?x=1": false,
		"http://[::1]:1/cb?x=1": false, "http://localhost:80@evil.org": false, "http://localhost:1.evil.org": false,
		"https://example.com:1/cb": false, "https://example.com/cb/": false, "https://example.com/CB": false, "": false,
	} {
		if native.MayRedirectTo(given) != want {
			t.Errorf("%q: %t", given, !want)
		}
	}
}

func TestScope(t *testing.T) {
	for text, want := range map[string]string{
		"urn:matrix:client:api:* urn:matrix:client:device:ABC":                                                 "ABC",
		"openid urn:matrix:org.matrix.msc2967.client:api:* urn:matrix:org.matrix.msc2967.client:device:a-._~9": "a-._~9",
		"urn:matrix:client:api:*  urn:matrix:client:device:A urn:matrix:client:device:A":                       "A",
		"": "", "urn:matrix:client:api:*": "", "urn:matrix:client:device:A": "",
		"urn:matrix:client:api:* urn:matrix:client:device:":                                  "",
		"urn:matrix:client:api:* urn:matrix:client:device:A urn:matrix:client:device:B":      "",
		"urn:matrix:client:api:* urn:matrix:client:device:A/B":                               "",
		"urn:matrix:client:api:* urn:matrix:client:device:A urn:synapse:admin:*":             "",
		"urn:matrix:client:api:* urn:matrix:client:device:" + strings.Repeat("A", 256):       "",
		strings.Repeat("openid ", 21) + "urn:matrix:client:api:* urn:matrix:client:device:A": "",
	} {
		s, err := oauth.ParseScope(text)
		if string(s.Device) != want || (err == nil) != (want != "") || err == nil && strings.Contains(s.String(), "openid") != strings.Contains(text, "openid") {
			t.Errorf("%.100q: device %q, scope %q, %v", text, s.Device, s, err)
		}
	}
}

// The example of RFC 7636, appendix B.
func TestProof(t *testing.T) {
	const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	if !oauth.ValidChallenge(challenge) || !oauth.Proves(verifier, challenge) {
		t.Error("the right verifier does not prove anything")
	}
	for _, wrong := range []string{"", challenge, verifier[1:], verifier + "=", verifier + "x", strings.Repeat("x", 129)} {
		if oauth.Proves(wrong, challenge) {
			t.Errorf("%q passes", wrong)
		}
	}
	for _, wrong := range []string{"", verifier[:42], challenge + "=", challenge + "\n", strings.Repeat("!", 43), challenge[:42] + "N"} {
		if oauth.ValidChallenge(wrong) {
			t.Errorf("%q is taken for a challenge", wrong)
		}
	}
}

// What is accepted is stable: read again, it is the same client, and it may
// redirect to its own URIs only to known kinds of places.
func FuzzParseClient(f *testing.F) {
	f.Add(metadata("native", "com.example:/", "http://localhost/"))
	f.Add(metadata("web", "https://app.example.com/?a=b"))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := oauth.ParseClient(body)
		if err != nil {
			return
		}
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := oauth.ParseClient(raw)
		if err != nil || !reflect.DeepEqual(c, again) && len(c.Redirects) > 0 {
			t.Fatalf("%s: %+v, then %+v, %v", body, c, again, err)
		}
		for _, uri := range c.Redirects {
			scheme, _, _ := strings.Cut(strings.ToLower(uri), ":")
			if scheme != "https" && scheme != "http" && !strings.Contains(scheme, ".") {
				t.Fatalf("%q may be redirected to", uri)
			}
			if !c.MayRedirectTo(uri) {
				t.Fatalf("%q is registered, and refused", uri)
			}
		}
	})
}

func FuzzParseScope(f *testing.F) {
	f.Add("urn:matrix:client:api:* urn:matrix:client:device:ABC openid")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := oauth.ParseScope(text)
		if err != nil {
			return
		}
		again, err := oauth.ParseScope(s.String())
		if err != nil || !reflect.DeepEqual(s, again) {
			t.Fatalf("%q: %+v, then %+v, %v", text, s, again, err)
		}
	})
}
