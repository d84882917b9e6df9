package clientapi_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/internal/testkit"
)

func TestRegister(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		first := s.do("POST", v3+"/register", "", `{}`)
		if first.status != 401 || first.field("session") == "" || first.field("flows") != `[{"stages":["m.login.dummy"]}]` || first.field("errcode") != "" {
			t.Fatalf("without auth: %d %s", first.status, first.body)
		}
		done := s.must("POST", v3+"/register", "", `{"username":"Alice","password":"übers3kr1t","device_id":"PHONE","initial_device_display_name":"Telephone",
			"auth":{"type":"m.login.dummy","session":"`+first.field("session")+`"}}`)
		if done.field("user_id") != "@alice:hs.example" || done.field("device_id") != "PHONE" || done.field("access_token") == "" || done.field("refresh_token") != "" {
			t.Errorf("registered as %s", done.body)
		}
		who := s.must("GET", v3+"/account/whoami", done.field("access_token"), "")
		if who.body != `{"user_id":"@alice:hs.example","device_id":"PHONE","is_guest":false}` {
			t.Errorf("whoami: %s", who.body)
		}
		if name := s.must("GET", v3+"/profile/@alice:hs.example/displayname", "", "").body; name != `{"displayname":"alice"}` {
			t.Errorf("display name: %s", name)
		}
		if device := s.must("GET", v3+"/devices/PHONE", done.field("access_token"), ""); device.field("display_name") != "Telephone" {
			t.Errorf("device: %s", device.body)
		}
		inhibited := s.must("POST", v3+"/register", "", `{"password":"long enough","inhibit_login":true,"auth":{"type":"m.login.dummy"}}`)
		if inhibited.field("access_token")+inhibited.field("device_id") != "" || !strings.HasPrefix(inhibited.field("user_id"), "@") {
			t.Errorf("with inhibit_login: %s", inhibited.body)
		}
		s.must("POST", "/_matrix/client/r0/register", "", `{"username":"q3._=-/+","password":"long enough","auth":{"type":"m.login.dummy"}}`)
	})
}

// Whose answer is lost asks again, and gets the account that is there; nobody
// else does.
func TestRegisterAgain(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		s.register("early")
		s.wait(time.Second)
		session := s.do("POST", v3+"/register", "", `{}`).field("session")
		register := func(members, session string) reply {
			return s.do("POST", v3+"/register", "", `{`+members+`"auth":{"type":"m.login.dummy","session":"`+session+`"}}`)
		}
		for name, members := range map[string]string{"named": `"username":"alice","password":"long enough",`, "unnamed": `"password":"long enough",`} {
			first, again := register(members, session), register(members, session)
			if first.status != 200 || again.status != 200 || again.field("user_id") != first.field("user_id") {
				t.Fatalf("%s: %s, then %d %s", name, first.body, again.status, again.body)
			}
			for _, r := range []reply{first, again} {
				if who := s.must("GET", v3+"/account/whoami", r.field("access_token"), ""); who.field("user_id") != first.field("user_id") || who.field("device_id") != r.field("device_id") {
					t.Errorf("%s: %s is %s", name, r.body, who.body)
				}
			}
			inhibited := register(members+`"inhibit_login":true,`, session)
			if inhibited.field("user_id") != first.field("user_id") || inhibited.field("access_token") != "" {
				t.Errorf("%s, with inhibit_login: %s", name, inhibited.body)
			}
		}
		s.wait(time.Second)
		other := s.do("POST", v3+"/register", "", `{}`).field("session")
		for name, r := range map[string]reply{
			"another password":                   register(`"username":"alice","password":"something else",`, session),
			"a session that began later":         register(`"username":"alice","password":"long enough",`, other),
			"an account from before the session": register(`"username":"early","password":"`+password+`",`, session),
			"without a password":                 register(`"username":"alice",`, session),
			"no session":                         register(`"username":"alice","password":"long enough",`, ""),
			"another password, without its name": register(`"password":"something else",`, session),
		} {
			if r.status != 400 || r.field("errcode") != "M_USER_IN_USE" {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
		if r := register(`"password":"long enough",`, other); r.status != 200 || r.field("user_id") == aliceID {
			t.Errorf("somebody else without a name: %d %s", r.status, r.body)
		}
	})
}

func TestRegisterRefuses(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	s.register("taken")
	dummy := `"password":"long enough","auth":{"type":"m.login.dummy"}`
	for _, tt := range []struct {
		body   string
		status int
		code   string
	}{
		{`{"username":"taken",` + dummy + `}`, 400, "M_USER_IN_USE"},
		{`{"username":"TAKEN"}`, 400, "M_USER_IN_USE"},
		{`{"username":"irc_bob"}`, 400, "M_EXCLUSIVE"},
		{`{"username":"ircbot"}`, 400, "M_EXCLUSIVE"},
		{`{"username":"a b"}`, 400, "M_INVALID_USERNAME"},
		{`{"username":"é"}`, 400, "M_INVALID_USERNAME"},
		{`{"username":"a:b"}`, 400, "M_INVALID_USERNAME"},
		{`{"username":"@a"}`, 400, "M_INVALID_USERNAME"},
		{`{"username":""}`, 400, "M_INVALID_USERNAME"},
		{`{"username":"` + strings.Repeat("a", 250) + `"}`, 400, "M_INVALID_USERNAME"},
		{`{"username":5}`, 400, "M_BAD_JSON"},
		{`{"username":"new","password":"short"}`, 400, "M_WEAK_PASSWORD"},
		{`{"username":"new","password":"` + strings.Repeat("long", 200) + `"}`, 400, "M_INVALID_PARAM"},
		{`{"username":"new","password":7}`, 400, "M_BAD_JSON"},
		{`{"username":"new","auth":{"type":"m.login.dummy"}}`, 400, "M_MISSING_PARAM"},
		{`{"username":"new","password":"long enough","auth":"m.login.dummy"}`, 400, "M_BAD_JSON"},
		{`{"username":"new","password":"long enough","auth":{"type":"m.login.nonsense"}}`, 401, "M_FORBIDDEN"},
		{`{"username":"new","password":"long enough","auth":{"type":"m.login.password","password":"x"}}`, 401, "M_FORBIDDEN"},
		{`{"username":"new","password":"long enough","auth":{"session":"unknown"}}`, 401, ""},
		{`{"username":"new","device_id":"` + strings.Repeat("D", 300) + `",` + dummy + `}`, 400, "M_INVALID_PARAM"},
		{`{"username":"new","initial_device_display_name":"` + strings.Repeat("D", 300) + `",` + dummy + `}`, 400, "M_INVALID_PARAM"},
		{`{"guest_access_token":"x",` + dummy + `}`, 400, "M_MISSING_PARAM"},
		{`{"username":"new","guest_access_token":"x",` + dummy + `}`, 401, "M_UNKNOWN_TOKEN"},
		{"{\"test\":\"a\x81\"}", 400, "M_NOT_JSON"},
		{`{`, 400, "M_NOT_JSON"},
		{`[]`, 400, "M_BAD_JSON"},
	} {
		s.refused("POST", v3+"/register", "", tt.body, tt.status, tt.code)
	}
	s.refused("POST", v3+"/register?kind=robot", "", `{}`, 400, "M_INVALID_PARAM")
	s.refused("POST", v3+"/register?kind=guest", "", `{}`, 403, "M_FORBIDDEN")
	s.refused("PUT", v3+"/register", "", `{}`, 405, "M_UNRECOGNIZED")
	// None of these made a user.
	s.must("GET", v3+"/register/available?username=new", "", "")
}

func TestUsernameAvailable(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	s.register("taken")
	if r := s.must("GET", v3+"/register/available?username=free", "", ""); r.body != `{"available":true}` {
		t.Errorf("free: %s", r.body)
	}
	s.refused("GET", v3+"/register/available?username=taken", "", "", 400, "M_USER_IN_USE")
	s.refused("GET", v3+"/register/available?username=a,b", "", "", 400, "M_INVALID_USERNAME")
	s.refused("GET", v3+"/register/available?username=", "", "", 400, "M_INVALID_USERNAME")
	s.refused("GET", v3+"/register/available?username=irc_x", "", "", 400, "M_EXCLUSIVE")
	s.refused("GET", v3+"/register/available", "", "", 400, "M_MISSING_PARAM")
}

func TestRegistrationTokens(t *testing.T) {
	const validity = "/_matrix/client/v1/register/m.login.registration_token/validity"
	closed := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) { o.OpenRegistration = false })
	closed.refused("POST", v3+"/register", "", `{}`, 403, "M_FORBIDDEN")
	closed.refused("GET", validity+"?token=x", "", "", 403, "M_FORBIDDEN")

	s := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) {
		o.OpenRegistration, o.RegistrationTokens = false, []string{"open-sesame", "other"}
	})
	if r := s.must("GET", validity+"?token=open-sesame", "", ""); r.body != `{"valid":true}` {
		t.Errorf("a valid token: %s", r.body)
	}
	if r := s.must("GET", validity+"?token=close-sesame", "", ""); r.body != `{"valid":false}` {
		t.Errorf("an invalid token: %s", r.body)
	}
	s.refused("GET", validity, "", "", 400, "M_MISSING_PARAM")
	register := func(auth string) reply {
		return s.do("POST", v3+"/register", "", `{"username":"bob","password":"long enough","auth":`+auth+`}`)
	}
	if r := register(`{"type":"m.login.dummy"}`); r.status != 401 || r.field("flows") != `[{"stages":["m.login.registration_token"]}]` {
		t.Errorf("by a stage that is not offered: %d %s", r.status, r.body)
	}
	if r := register(`{"type":"m.login.registration_token","token":"guess"}`); r.status != 401 || r.field("errcode") != "M_UNAUTHORIZED" {
		t.Errorf("by a wrong token: %d %s", r.status, r.body)
	}
	if r := register(`{"type":"m.login.registration_token","token":"other"}`); r.status != 200 {
		t.Errorf("by a token: %d %s", r.status, r.body)
	}
}

func TestGuests(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) { o.Guests = true })
	guest := s.must("POST", v3+"/register?kind=guest", "", `{"username":"ignored","initial_device_display_name":"Kiosk"}`)
	token, user := guest.field("access_token"), guest.field("user_id")
	if r := s.must("GET", v3+"/account/whoami", token, ""); r.field("is_guest") != "true" {
		t.Errorf("whoami: %s", r.body)
	}
	s.must("PUT", v3+"/profile/"+user+"/displayname", token, `{"displayname":"Visitor"}`)
	s.refused("PUT", v3+"/profile/"+user+"/avatar_url", token, `{"avatar_url":"mxc://a/b"}`, 403, "M_GUEST_ACCESS_FORBIDDEN")
	s.refused("GET", v3+"/pushrules/", token, "", 403, "M_GUEST_ACCESS_FORBIDDEN")
	s.must("GET", v3+"/devices", token, "")

	name := strings.TrimSuffix(strings.TrimPrefix(user, "@"), ":hs.example")
	s.refused("POST", v3+"/register", "", `{"username":"other","password":"long enough","guest_access_token":"`+token+`","auth":{"type":"m.login.dummy"}}`, 403, "M_FORBIDDEN")
	s.must("POST", v3+"/register", "", `{"username":"`+name+`","password":"`+password+`","guest_access_token":"`+token+`","auth":{"type":"m.login.dummy"}}`)
	if r := s.must("GET", v3+"/account/whoami", token, ""); r.field("is_guest") != "false" {
		t.Errorf("whoami after registering: %s", r.body)
	}
	s.logIn(name, "LAPTOP")
}

func TestRegisterBySharedSecret(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) { o.OpenRegistration = false })
	const path = "/_synapse/admin/v1/register"
	nonce := func() string { return s.must("GET", path, "", "").field("nonce") }
	body := func(nonce, user, password string, admin bool, more string) string {
		mac := hmac.New(sha1.New, []byte("shared"))
		role := map[bool]string{true: "admin", false: "notadmin"}[admin]
		fmt.Fprintf(mac, "%s\x00%s\x00%s\x00%s", nonce, user, password, role)
		return fmt.Sprintf(`{"nonce":%q,"username":%q,"password":%q,"admin":%v,"mac":%q%s}`, nonce, user, password, admin, hex.EncodeToString(mac.Sum(nil)), more)
	}
	admin := s.must("POST", path, "", body(nonce(), "ROOT", "long enough", true, `,"displayname":"The Boss"`))
	if admin.field("user_id") != "@root:hs.example" || admin.field("home_server") != "hs.example" || admin.field("device_id") == "" {
		t.Errorf("registered %s", admin.body)
	}
	if r := s.must("GET", v3+"/profile/@root:hs.example/displayname", "", ""); r.field("displayname") != "The Boss" {
		t.Errorf("display name: %s", r.body)
	}
	if who, err := s.accounts.Authenticate(t.Context(), accounts.Credentials{Token: admin.field("access_token")}); err != nil || !who.Admin {
		t.Errorf("%+v, %v", who, err)
	}
	if r := s.must("POST", path, "", body(nonce(), "plain", "long enough", false, `,"inhibit_login":true`)); r.field("access_token") != "" {
		t.Errorf("with inhibit_login: %s", r.body)
	}
	s.refused("POST", path, "", body(nonce(), "us,er", "long enough", false, ""), 400, "M_INVALID_USERNAME")
	s.refused("POST", path, "", body(nonce(), "plain", "long enough", false, ""), 400, "M_USER_IN_USE")
	s.refused("POST", path, "", body("0123", "x", "long enough", false, ""), 400, "M_UNKNOWN")
	s.refused("POST", path, "", strings.Replace(body(nonce(), "x", "long enough", false, ""), `"admin":false`, `"admin":true`, 1), 403, "M_FORBIDDEN")
	s.refused("POST", path, "", `{"nonce":"`+nonce()+`","username":"x","password":"y","mac":"zz"}`, 403, "M_FORBIDDEN")
	s.refused("POST", path, "", `{"username":"x"}`, 400, "M_MISSING_PARAM")
	old := nonce()
	s.wait(61 * time.Second)
	s.refused("POST", path, "", body(old, "late", "long enough", false, ""), 400, "M_UNKNOWN")

	off := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) { o.SharedSecret = "" })
	off.refused("GET", path, "", "", 400, "M_UNKNOWN")
	off.refused("POST", path, "", body(old, "late", "long enough", false, ""), 400, "M_UNKNOWN")
}

func TestRegisterByAppService(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) { o.OpenRegistration = false })
	register := func(token, body string) reply {
		return s.do("POST", v3+"/register", token, `{"type":"m.login.application_service",`+body+`}`)
	}
	if r := register("as-token", `"username":"irc_bob"`); r.status != 200 || r.field("user_id") != "@irc_bob:hs.example" || r.field("access_token") == "" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := register("as-token", `"username":"irc_quiet","inhibit_login":true`); r.status != 200 || r.field("access_token") != "" {
		t.Errorf("with inhibit_login: %d %s", r.status, r.body)
	}
	if r := register("as-token", `"user":"irc_old"`); r.status != 200 || r.field("user_id") != "@irc_old:hs.example" {
		t.Errorf("by the old member: %d %s", r.status, r.body)
	}
	for _, tt := range []struct {
		token, body string
		status      int
		code        string
	}{
		{"", `"username":"irc_x"`, 401, "M_MISSING_TOKEN"},
		{"wrong", `"username":"irc_x"`, 401, "M_UNKNOWN_TOKEN"},
		{"as-token", `"username":"bob"`, 400, "M_EXCLUSIVE"},
		{"puppet-token", `"username":"irc_x"`, 400, "M_EXCLUSIVE"},
		{"as-token", `"username":"irc_bob"`, 400, "M_USER_IN_USE"},
		{"as-token", `"username":"irc_Bob"`, 400, "M_INVALID_USERNAME"},
		{"as-token", `"password":"x"`, 400, "M_MISSING_PARAM"},
	} {
		if r := register(tt.token, tt.body); r.status != tt.status || r.field("errcode") != tt.code {
			t.Errorf("%s %s: %d %s, want %d %s", tt.token, tt.body, r.status, r.body, tt.status, tt.code)
		}
	}
	// A user of the service has no password to log in with.
	s.refused("POST", v3+"/login", "", `{"type":"m.login.password","identifier":{"type":"m.id.user","user":"irc_bob"},"password":""}`, http.StatusForbidden, "M_FORBIDDEN")
}
