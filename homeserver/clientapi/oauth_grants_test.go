package clientapi_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"trestle/homeserver/oauth"
	"trestle/internal/testkit"
)

// A bridge has people let it act for them by OAuth, as by the pages of the
// account: with a code, or by a code that it tells them.
func TestServicesAskByOAuthToActForPeople(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database, bridgeFiles(t))
		alice := s.person("alice")
		a, b := newApp(t, s.url, s.http, "UNUSED"), newBrowser(t, s.url)
		a.config.Scopes = []string{"urn:trestle:appservice:tea"}
		as := &device{wholeServer: s, user: alice.user, token: "as-tea"}
		acts := func(token string) bool {
			return as.do("GET", v3+"/account/whoami?user_token="+token, nil).status == 200
		}

		b.open(a.request()).signIn("alice").says(200, "Let tea act for you?", "App &lt;of others&gt;", "For 30 days", "Bridges and bots")
		b.send("answer", "allow").says(400) // for how long?
		b.open(a.request()).send("days", "9999").says(400)
		code := b.open(a.request()).says(200).send("days", "30").answers().Get("code")
		token := a.redeem(code)
		if token.Type() != "user_token" || token.RefreshToken != "" || token.Extra("scope") != "urn:trestle:appservice:tea" || time.Until(token.Expiry).Round(time.Hour) != 30*24*time.Hour {
			t.Errorf("token: %+v", token)
		}
		if who := as.must("GET", v3+"/account/whoami?user_token="+token.AccessToken, nil); who.field("user_id") != alice.user {
			t.Errorf("the service is %s", who.body)
		}
		thief := &device{wholeServer: s, token: token.AccessToken}
		thief.refused("GET", v3+"/account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
		b.open(account("trestle.appservices")).says(200, "may act for you until")
		b.open(a.request()).says(200, "The token that it has will end")

		// A code that comes twice was stolen; what it gave ends.
		a.fails(400, "invalid_grant", "token_endpoint", "grant_type", "authorization_code", "code", code, "client_id", a.config.ClientID,
			"redirect_uri", a.config.RedirectURL, "code_verifier", a.verifier)
		if acts(token.AccessToken) {
			t.Error("the token outlives a replay of its code")
		}
		if got := b.open(a.request()).send("answer", "deny").answers(); got.Get("error") != "access_denied" {
			t.Errorf("denied: %v", got)
		}
		for _, scope := range []string{"urn:trestle:appservice:coffee", "urn:trestle:appservice:", "urn:trestle:appservice:tea openid", "urn:trestle:appservice:tea urn:matrix:client:api:*"} {
			b.open(a.request(oauth2.SetAuthURLParam("scope", scope))).says(400, "something impossible")
		}
		byDevice(t, a, b, acts)
	})
}

// byDevice is the same for a service that has no place to come back to.
func byDevice(t *testing.T, a *app, b *browser, acts func(string) bool) {
	t.Helper()
	begun, err := a.config.DeviceAuth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.open(begun.VerificationURI).send("user_code", strings.ToLower(begun.UserCode)).says(200, "Let tea act for you?").send("days", "365").says(200, "goes on by itself")
	form := []string{"grant_type", oauth.GrantDevice, "device_code", begun.DeviceCode, "client_id", a.config.ClientID}
	status, tokens := a.post("token_endpoint", form...)
	token, _ := tokens["access_token"].(string)
	if status != 200 || tokens["token_type"] != "user_token" || tokens["expires_in"] != 365*24*3600.0 || !acts(token) {
		t.Fatalf("by a device's code: %d %v", status, tokens)
	}
	if status, answer := a.post("revocation_endpoint", "token", token); status != 200 || acts(token) {
		t.Errorf("revoked: %d %v", status, answer)
	}
}
