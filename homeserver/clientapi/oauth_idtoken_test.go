package clientapi_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// Clients that speak OpenID Connect get a token that says who has logged in,
// signed with a key that they can find.
func TestIDToken(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database)
		s.register("alice")
		a, b := s.app("PHONE"), newBrowser(t, s.url)
		if token := a.redeem(a.code(b)); token.Extra("id_token") != nil {
			t.Errorf("nobody has asked for %v", token.Extra("id_token"))
		}
		a.config.Scopes = append(a.config.Scopes, "openid")
		token := a.redeem(a.code(b, set("nonce", "once & only")))
		parts := strings.Split(token.Extra("id_token").(string), ".")
		var decoded [3][]byte
		for i, part := range parts {
			raw, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil || len(parts) != 3 {
				t.Fatalf("%q: %v", parts, err)
			}
			decoded[i] = raw
		}
		_, keys := a.json("GET", a.endpoint("jwks_uri"), "", "")
		key := keys["keys"].([]any)[0].(map[string]any)
		public, err := base64.RawURLEncoding.DecodeString(key["x"].(string))
		if err != nil || len(public) != ed25519.PublicKeySize || !ed25519.Verify(public, []byte(parts[0]+"."+parts[1]), decoded[2]) {
			t.Errorf("the signature is not of the key %v", key)
		}
		var header, claims map[string]any
		if json.Unmarshal(decoded[0], &header) != nil || header["alg"] != "EdDSA" || header["kid"] != key["kid"] {
			t.Errorf("header: %s", decoded[0])
		}
		now := s.time().Unix()
		want := map[string]any{
			"iss": a.metadata["issuer"], "sub": aliceID, "aud": a.config.ClientID, "nonce": "once & only", "iat": now, "exp": now + int64(time.Hour.Seconds()),
		}
		if json.Unmarshal(decoded[1], &claims) != nil || !same(claims, want) {
			t.Errorf("claims: %s, want %v", decoded[1], want)
		}
		if scope, _ := token.Extra("scope").(string); !strings.Contains(scope, "openid") {
			t.Errorf("scope: %s", scope)
		}
		b.open(a.request(set("nonce", strings.Repeat("n", 300)))).says(400, "nonce")
		status, found := a.json("GET", "/.well-known/openid-configuration", "", "")
		if status != 200 || !same(found, a.metadata) {
			t.Errorf("well-known: %d %v", status, found)
		}
		if status, found = a.json("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_issuer", "", ""); status != 200 || found["issuer"] != a.metadata["issuer"] {
			t.Errorf("issuer: %d %v", status, found)
		}
	})
}
