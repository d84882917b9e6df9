package clientapi_test

import (
	"net/url"
	"testing"

	"trestle/internal/testkit"
)

// Somebody who has an account elsewhere alone signs in there, on the way to an
// application that logs in by OAuth.
func TestOAuthBySSO(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withCertified(t, database, nil)
		a := newApp(t, s.url, s.http, "PHONE")
		a.config.RedirectURL = "https://app.example/cb?x=1"
		b := newVisitor(t).gone(a.request()).shows(200, "Sign in", "Sign in with Certified & Sons")
		b.click("Sign in with Certified").logInAt("Alice").shows(200, "Allow App <of others>?", "@alice:hs.example")
		b.submit(url.Values{"answer": {"allow"}})
		if b.at.Host != "app.example" || b.at.Query().Get("state") != "st&te" {
			t.Fatalf("the browser was sent to %s", b.at)
		}
		phone := &device{wholeServer: s, token: a.redeem(b.at.Query().Get("code")).AccessToken}
		if who := phone.must("GET", v3+"/account/whoami", nil); who.field("user_id") != "@alice:hs.example" || who.field("device_id") != "PHONE" {
			t.Errorf("whoami: %s", who.body)
		}
		phone.sync()

		// Another browser cannot come back for it, and nobody twice.
		b.gone(s.url+"/_trestle/account").shows(200, "Your account", "@alice:hs.example")
		newVisitor(t).gone(s.url+"/_trestle/oauth/login?sso_result=guess").shows(400, "Sign in")
	})
}
