package clientapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"trestle/homeserver/browsers"
	"trestle/homeserver/oauth"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

const metadataPath = "/_matrix/client/v1/auth_metadata"

// An app is an application that logs in by OAuth, with a library of others.
type app struct {
	t        *testing.T
	base     string
	http     *http.Client
	config   *oauth2.Config
	verifier string
	metadata map[string]any
}

const callback = "http://127.0.0.1:4711/callback"

// newApp finds the server's endpoints and registers, as all applications do.
func newApp(t *testing.T, base string, client *http.Client, device string) *app {
	t.Helper()
	a := &app{t: t, base: base, http: client, verifier: oauth2.GenerateVerifier()}
	status, found := a.json("GET", metadataPath, "", "")
	if status != 200 {
		t.Fatalf("metadata: %d %v", status, found)
	}
	a.metadata = found
	status, registered := a.json("POST", a.endpoint("registration_endpoint"), "application/json", `{
		"client_name": "App <of others>", "client_uri": "https://app.example/", "application_type": "native", "policy_uri": "https://app.example/privacy",
		"redirect_uris": ["http://127.0.0.1/callback", "https://app.example/cb?x=1", "example.app.test:/cb"], "token_endpoint_auth_method": "none",
		"response_types": ["code"], "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]}`)
	if status != 201 || registered["client_id"] == "" || registered["client_name"] != "App <of others>" {
		t.Fatalf("registration: %d %v", status, registered)
	}
	a.config = &oauth2.Config{
		ClientID: registered["client_id"].(string),
		Endpoint: oauth2.Endpoint{
			AuthURL: a.endpoint("authorization_endpoint"), TokenURL: a.endpoint("token_endpoint"), DeviceAuthURL: a.endpoint("device_authorization_endpoint"),
		},
		RedirectURL: callback,
		Scopes:      []string{"urn:matrix:client:api:*", "urn:matrix:client:device:" + device},
	}
	return a
}

func (a *app) endpoint(name string) string { return a.metadata[name].(string) }

// json makes a request and reads the object that comes back.
func (a *app) json(method, address, kind, body string) (int, map[string]any) {
	a.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = a.base + address
	}
	r, err := http.NewRequestWithContext(a.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	response, err := a.http.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	var object map[string]any
	if json.Unmarshal(raw, &object) != nil {
		a.t.Fatalf("%s %s: %d %s", method, address, response.StatusCode, raw)
	}
	return response.StatusCode, object
}

// post sends a form of names and values to an endpoint.
func (a *app) post(endpoint string, pairs ...string) (int, map[string]any) {
	a.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return a.json("POST", a.endpoint(endpoint), "application/x-www-form-urlencoded", form.Encode())
}

// fails is post that has to be answered with an error.
func (a *app) fails(status int, code, endpoint string, pairs ...string) {
	a.t.Helper()
	got, answer := a.post(endpoint, pairs...)
	if got != status || answer["error"] != code || answer["error_description"] == "" {
		a.t.Errorf("%s %v: %d %v, want %d %s", endpoint, pairs, got, answer, status, code)
	}
}

// request is the address at which the user allows the application.
func (a *app) request(more ...oauth2.AuthCodeOption) string {
	return a.config.AuthCodeURL("st&te", append([]oauth2.AuthCodeOption{oauth2.S256ChallengeOption(a.verifier)}, more...)...)
}

// code is what the application gets when the user allows it.
func (a *app) code(b *browser, more ...oauth2.AuthCodeOption) string {
	a.t.Helper()
	b.open(a.request(more...))
	if strings.HasPrefix(b.path, oauth.LoginPath) {
		b.signIn("alice")
	}
	got := b.says(200, "Allow App &lt;of others&gt;?").send("answer", "allow").answers()
	if got.Get("state") != "st&te" || got.Get("iss") != a.metadata["issuer"] || got.Get("code") == "" || !strings.HasPrefix(b.left, a.config.RedirectURL) {
		a.t.Fatalf("back with %s", b.left)
	}
	return got.Get("code")
}

// redeem turns a code into tokens.
func (a *app) redeem(code string) *oauth2.Token {
	a.t.Helper()
	token, err := a.config.Exchange(a.t.Context(), code, oauth2.VerifierOption(a.verifier))
	if err != nil {
		a.t.Fatal(err)
	}
	return token
}

func (a *app) refresh(token string) (*oauth2.Token, error) {
	return a.config.TokenSource(a.t.Context(), &oauth2.Token{RefreshToken: token}).Token()
}

// A library that nobody here has written logs in, syncs, refreshes, and logs
// out.
func TestOAuth(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		s.person("alice")
		a := newApp(t, s.url, s.http, "PHONE-1234")
		token := a.redeem(a.code(newBrowser(t, s.url), oauth2.SetAuthURLParam("response_mode", "fragment")))
		if token.Type() != "Bearer" || token.RefreshToken == "" || time.Until(token.Expiry) < 50*time.Minute || token.Extra("scope") != "urn:matrix:client:api:* urn:matrix:client:device:PHONE-1234" {
			t.Errorf("tokens: %+v", token)
		}
		phone := &device{wholeServer: s, token: token.AccessToken}
		if who := phone.must("GET", v3+"/account/whoami", nil); who.field("user_id") != "@alice:hs.example" || who.field("device_id") != "PHONE-1234" {
			t.Errorf("whoami: %s", who.body)
		}
		if list := phone.must("GET", v3+"/devices/PHONE-1234", nil); list.field("display_name") != "App <of others>" {
			t.Errorf("the device: %s", list.body)
		}
		phone.sync()
		phone.refused("POST", v3+"/refresh", map[string]any{"refresh_token": token.RefreshToken}, 401, "M_UNKNOWN_TOKEN")
		next, err := a.refresh(token.RefreshToken)
		if err != nil || next.AccessToken == token.AccessToken || next.RefreshToken == token.RefreshToken {
			t.Fatalf("refresh: %+v, %v", next, err)
		}
		phone.sync() // the old one lasts until the new one is used
		if next, err = a.refresh(token.RefreshToken); err != nil {
			t.Fatalf("a refresh whose answer was lost: %v", err)
		}
		newer := &device{wholeServer: s, token: next.AccessToken}
		newer.sync()
		phone.refused("GET", v3+"/account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
		if status, answer := a.post("revocation_endpoint", "token", next.AccessToken, "token_type_hint", "access_token"); status != 200 {
			t.Errorf("revocation: %d %v", status, answer)
		}
		newer.refused("GET", v3+"/account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
		a.fails(400, "invalid_grant", "token_endpoint", "grant_type", "refresh_token", "refresh_token", next.RefreshToken, "client_id", a.config.ClientID)
		if status, _ := a.post("revocation_endpoint", "token", next.AccessToken); status != 200 {
			t.Errorf("a second revocation: %d", status)
		}
	})
}

// The same by a device without a browser.
func TestOAuthDevice(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		s.person("alice")
		a := newApp(t, s.url, s.http, "TV")
		begun, err := a.config.DeviceAuth(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(begun.VerificationURIComplete, "?user_code="+begun.UserCode) || begun.Interval != 5 || len(begun.UserCode) != 9 {
			t.Errorf("begun: %+v", begun)
		}
		a.fails(400, "authorization_pending", "token_endpoint", "grant_type", oauth.GrantDevice, "device_code", begun.DeviceCode, "client_id", a.config.ClientID)
		a.fails(400, "slow_down", "token_endpoint", "grant_type", oauth.GrantDevice, "device_code", begun.DeviceCode, "client_id", a.config.ClientID)
		b := newBrowser(t, s.url).open(begun.VerificationURI).signIn("alice")
		b.says(200).send("user_code", "WRONG").says(404, "No device waits with that code")
		b.send("user_code", strings.ToLower(strings.ReplaceAll(begun.UserCode, "-", " "))).says(200, "Allow App &lt;of others&gt;?", "TV", begun.UserCode, "@alice:hs.example")
		b.send("answer", "allow").says(200, "goes on by itself")
		begun.Interval = 1
		token, err := a.config.DeviceAccessToken(t.Context(), begun)
		if err != nil {
			t.Fatal(err)
		}
		tv := &device{wholeServer: s, token: token.AccessToken}
		if who := tv.must("GET", v3+"/account/whoami", nil); who.field("device_id") != "TV" {
			t.Errorf("whoami: %s", who.body)
		}
		tv.sync()
		next, err := a.refresh(token.RefreshToken)
		if err != nil {
			t.Fatal(err)
		}
		if status, _ := a.post("revocation_endpoint", "token", next.RefreshToken, "client_id", "another"); status != 200 {
			t.Errorf("revocation by a refresh token: %d", status)
		}
		tv.refused("GET", v3+"/account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
	})
}

// otherPlace is another place where people sign in, that believes everybody.
var otherPlace = browsers.Elsewhere{
	Providers: func() []browsers.Provider {
		return []browsers.Provider{{ID: "other", Name: "Other <place>", Start: func(returnTo string) string {
			return "https://login.example/?back=" + url.QueryEscape(returnTo)
		}}}
	},
	Result: func(r *http.Request) (matrix.UserID, error) {
		if who := r.URL.Query().Get("who"); who != "" && who != "@mallory:hs.example" {
			return matrix.UserID(who), nil
		} else if who != "" {
			return "", matrix.Forbidden("Not you.")
		}
		return "", nil
	},
}
