package clientapi_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/oauth"
	"trestle/internal/testkit"
)

// account is the address of a page of account management.
func account(action string, more ...string) string {
	query := url.Values{"action": {action}}
	for i := 0; i < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	return oauth.AccountPath + "?" + query.Encode()
}

func TestAccountPages(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database)
		first := s.register("alice")
		a, b := s.app("PHONE"), newBrowser(t, s.url)
		phone := a.redeem(a.code(b)).AccessToken
		s.must("GET", v3+"/account/whoami", phone, "")
		b.open(a.endpoint("account_management_uri")).says(200, "<h1>Your account</h1>", `value="alice"`)
		b.send("displayname", "Alice <&>").says(200, "has been changed")
		if r := s.must("GET", v3+"/profile/@alice:hs.example/displayname", "", ""); r.field("displayname") != "Alice <&>" {
			t.Errorf("profile: %s", r.body)
		}
		b.open(oauth.AccountPath).send("displayname", strings.Repeat("x", 70_000)).says(400)
		for _, action := range []string{"org.matrix.devices_list", "sessions_list"} {
			b.open(account(action)).says(200, "FIRST", "App &lt;of others&gt;", "PHONE")
		}
		for _, action := range []string{"org.matrix.device_view", "session_view"} {
			b.open(account(action, "device_id", "PHONE")).says(200, "app.example", "Last used", "127.0.0.1")
			b.open(account(action, "device_id", "FIRST")).says(200)
			b.open(account(action, "device_id", "NOBODYS")).says(404, "no such device")
			b.open(account(action)).says(404)
		}
		b.open(b.base+account("org.matrix.horse")).says(404, "no page for that")

		// What cannot be undone wants somebody who is there.
		s.wait(11 * time.Minute)
		b.open(account("org.matrix.device_delete", "device_id", "PHONE")).signIn("alice").says(200, "Sign a device out?", "PHONE")
		s.must("GET", v3+"/account/whoami", phone, "")
		b.send().says(200, "has been signed out")
		s.refused("GET", v3+"/account/whoami", phone, "", 401, "M_UNKNOWN_TOKEN")
		b.open(account("session_end", "device_id", "PHONE")).says(404, "no such device")

		b.open(account("password")).says(200).send("password", "short", "again", "short").says(400, "at least")
		b.send("password", "another horse", "again", "other horse").says(400, "differ")
		b.send("password", "another horse", "again", "another horse", "everywhere", "yes").says(200, "a new password")
		s.refused("GET", v3+"/account/whoami", first, "", 401, "M_UNKNOWN_TOKEN")
		b.open(account("")).says(200, "<h1>Sign in</h1>").send("user", "alice", "password", "another horse").says(200, "<h1>Your account</h1>")

		b.open(account("sign_out")).says(200).send().says(200)
		b.open(account("org.matrix.account_deactivate")).says(200, "<h1>Sign in</h1>")
		b.send("user", "alice", "password", "another horse").says(200, "Deactivate your account?").send("erase", "yes").says(200, "is gone")
		if !s.accounts.Erased(aliceID) {
			t.Error("the account is not erased")
		}
		b.open(oauth.AccountPath).says(200, "<h1>Sign in</h1>").send("user", "alice", "password", "another horse").says(403, "deactivated")
	})
}

// Who is suspended or locked can do here what they can do elsewhere.
func TestAccountPagesModerated(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	s.register("alice")
	admin := s.register("root")
	if err := s.accounts.SetAdmin(t.Context(), "@root:hs.example", true); err != nil {
		t.Fatal(err)
	}
	a, b := s.app("PHONE"), newBrowser(t, s.url)
	b.open(oauth.AccountPath).signIn("alice").says(200)
	s.must("PUT", "/_matrix/client/v1/admin/suspend/@alice:hs.example", admin, `{"suspended":true}`)
	b.open(oauth.AccountPath).says(200).send("displayname", "Spam").says(403, "suspended")
	token := a.redeem(a.code(b))
	code := a.code(b)
	s.must("PUT", "/_matrix/client/v1/admin/lock/@alice:hs.example", admin, `{"locked":true}`)
	b.open(oauth.AccountPath).signIn("alice").says(401, "locked")
	// A session that is locked is not over: its device hears what it is, and goes on later.
	next, err := a.refresh(token.RefreshToken)
	if err != nil {
		t.Fatalf("a refresh while it is locked: %v", err)
	}
	if r := s.do("GET", v3+"/account/whoami", next.AccessToken, ""); r.status != 401 || r.field("errcode") != "M_USER_LOCKED" || r.field("soft_logout") != "true" {
		t.Errorf("locked: %d %s", r.status, r.body)
	}
	a.fails(400, "invalid_grant", "token_endpoint", "grant_type", "authorization_code", "code", code, "client_id", a.config.ClientID,
		"redirect_uri", callback, "code_verifier", a.verifier)
	s.must("PUT", "/_matrix/client/v1/admin/lock/@alice:hs.example", admin, `{"locked":false}`)
	s.must("GET", v3+"/account/whoami", next.AccessToken, "")
}

// Cross-signing keys are replaced by devices that came by OAuth once the user
// has allowed it on the page (Client-Server API § OAuth authentication).
func TestCrossSigningReset(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		laptop := s.person("alice")
		a, b := newApp(t, s.url, s.http, "PHONE"), newBrowser(t, s.url)
		phone := &device{wholeServer: s, user: laptop.user, token: a.redeem(a.code(b)).AccessToken}
		phone.signingKeys(1)
		upload := func(d *device, n byte, session string) reply {
			public, _ := newKey(n)
			body := object{"master_key": d.crossSigningKey("master", public)}
			if session != "" {
				body["auth"] = object{"session": session}
			}
			return d.do("POST", signingPath, body)
		}
		asked := upload(phone, 10, "")
		page, _ := asked.at("params", "m.oauth", "url").(string)
		if asked.status != 401 || asked.field("flows") != `[{"stages":["m.oauth"]},{"stages":["org.matrix.cross_signing_reset"]}]` || page != s.url+account("org.matrix.cross_signing_reset") {
			t.Fatalf("asked: %d %s", asked.status, asked.body)
		}
		session := asked.field("session")
		if r := upload(phone, 10, session); r.status != 401 {
			t.Errorf("before it is allowed: %d %s", r.status, r.body)
		}
		public, _ := newKey(10)
		phone.refused("POST", signingPath, object{"master_key": phone.crossSigningKey("master", public), "auth": object{"session": session, "type": "m.oauth"}}, 401, "M_FORBIDDEN")
		b.open(page).says(200, "Reset your cryptographic identity?").send().says(200, "Go back to your application")
		if r := upload(laptop, 20, ""); r.status != 401 || !strings.Contains(r.body, "m.login.password") || strings.Contains(r.body, "m.oauth") {
			t.Errorf("a device with a password: %d %s", r.status, r.body)
		}
		if r := upload(phone, 10, session); r.status != 200 {
			t.Errorf("once it is allowed: %d %s", r.status, r.body)
		}
		if r := upload(phone, 11, session); r.status != 401 {
			t.Errorf("a second time: %d %s", r.status, r.body)
		}
	})
}

// The same by the page of the stage, which tells the application that it is done.
func TestCrossSigningResetByFallback(t *testing.T) {
	s := newWholeServer(t, t.TempDir()+"/test.db")
	alice, _ := s.person("alice"), s.person("bob")
	a, b := newApp(t, s.url, s.http, "PHONE"), newBrowser(t, s.url)
	phone := &device{wholeServer: s, user: alice.user, token: a.redeem(a.code(b)).AccessToken}
	phone.signingKeys(1)
	upload := func(n byte, session string) reply {
		public, _ := newKey(n)
		return phone.do("POST", signingPath, object{"master_key": phone.crossSigningKey("master", public), "auth": object{"session": session}})
	}
	for i, stage := range []string{"m.oauth", "org.matrix.cross_signing_reset"} {
		key := byte(10 + i)
		session := upload(key, "").field("session")
		page := v3 + "/auth/" + stage + "/fallback/web?session="
		newBrowser(t, s.url).open(page + "guess").says(400)
		// Somebody else can allow nothing here.
		newBrowser(t, s.url).open(page+session).signIn("bob").says(200, "Reset your cryptographic identity?").send().says(403, "does not ask for this account")
		if r := upload(key, session); r.status != 401 {
			t.Errorf("%s, by somebody else: %d %s", stage, r.status, r.body)
		}
		newBrowser(t, s.url).open(page+session).signIn("alice").says(200, "Reset your cryptographic identity?").send().
			says(200, "Go back to your application", "window.onAuthDone();", `window.opener.postMessage("authDone", "*");`)
		if r := upload(key, session); r.status != 200 {
			t.Errorf("%s: %d %s", stage, r.status, r.body)
		}
	}
}
