package clientapi_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func TestLogin(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		s.register("alice")
		if r := s.must("GET", v3+"/login", "", ""); r.field("flows") != `[{"type":"m.login.password"},{"get_login_token":true,"type":"m.login.token"},{"type":"m.login.application_service"}]` {
			t.Errorf("flows: %s", r.body)
		}
		for _, who := range []string{
			`"identifier":{"type":"m.id.user","user":"alice"}`,
			`"identifier":{"type":"m.id.user","user":"@alice:hs.example"}`,
			`"identifier":{"type":"m.id.user","user":"ALICE"}`,
			`"identifier":{"type":"m.id.user","user":"@Alice:hs.example"}`,
			`"user":"alice"`,
			`"user":"@alice:hs.example"`,
		} {
			r := s.must("POST", v3+"/login", "", `{"type":"m.login.password",`+who+`,"password":"`+password+`","device_id":"NEW","initial_device_display_name":"New"}`)
			if r.field("user_id") != "@alice:hs.example" || r.field("device_id") != "NEW" || !strings.Contains(r.body, `"well_known":{"m.homeserver":{"base_url":"https://matrix.hs.example"}}`) {
				t.Errorf("%s: %s", who, r.body)
			}
			if w := s.must("GET", v3+"/account/whoami?access_token="+r.field("access_token"), "", ""); w.field("device_id") != "NEW" {
				t.Errorf("whoami: %s", w.body)
			}
		}
		if r := s.must("GET", v3+"/devices", s.logIn("alice", "NEW"), ""); strings.Count(r.body, "device_id") != 2 {
			t.Errorf("devices: %s", r.body)
		}
	})
}

func TestLoginRefuses(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	s.register("alice")
	identifier := `"identifier":{"type":"m.id.user","user":"alice"}`
	for _, tt := range []struct {
		body   string
		status int
		code   string
	}{
		{`{"type":"m.login.password",` + identifier + `,"password":"wrong"}`, 403, "M_FORBIDDEN"},
		{`{"type":"m.login.password",` + identifier + `}`, 403, "M_FORBIDDEN"},
		{`{"type":"m.login.password","user":"nobody","password":"` + password + `"}`, 403, "M_FORBIDDEN"},
		{`{"type":"m.login.password","user":"@alice:elsewhere","password":"` + password + `"}`, 403, "M_FORBIDDEN"},
		{`{"type":"m.login.password","user":"@alice","password":"x"}`, 400, "M_INVALID_USERNAME"},
		{`{"type":"m.login.password","identifier":{"type":"m.id.thirdparty","medium":"email","address":"a@b"},"password":"x"}`, 403, "M_FORBIDDEN"},
		{`{"type":"m.login.password","medium":"email","address":"a@b","password":"x"}`, 403, "M_FORBIDDEN"},
		{`{"type":"m.login.password","identifier":{"type":"m.id.phone","country":"GB","phone":"1"},"password":"x"}`, 403, "M_FORBIDDEN"},
		{`{"type":"m.login.password","identifier":{"type":"m.id.horse"},"password":"x"}`, 400, "M_UNKNOWN"},
		{`{"type":"m.login.password","identifier":{"user":"alice"},"password":"x"}`, 400, "M_MISSING_PARAM"},
		{`{"type":"m.login.password","identifier":{"medium":"email","address":"a@b"},"password":"x"}`, 403, "M_FORBIDDEN"},
		{`{"type":"m.login.password","identifier":{"type":"m.id.user"},"password":"x"}`, 400, "M_MISSING_PARAM"},
		{`{"type":"m.login.password","password":"x"}`, 400, "M_MISSING_PARAM"},
		{`{"type":"m.login.password","identifier":"alice","password":"x"}`, 400, "M_BAD_JSON"},
		{`{"type":"m.login.password",` + identifier + `,"password":7}`, 400, "M_BAD_JSON"},
		{`{"type":"m.login.token","token":"x"}`, 403, "M_FORBIDDEN"},
		{`{"type":"m.login.token"}`, 400, "M_MISSING_PARAM"},
		{`{"type":"m.login.nonsense"}`, 400, "M_UNKNOWN"},
		{`{"type":7}`, 400, "M_BAD_JSON"},
		{`{}`, 400, "M_MISSING_PARAM"},
		{`{`, 400, "M_NOT_JSON"},
		{``, 400, "M_NOT_JSON"},
	} {
		s.refused("POST", v3+"/login", "", tt.body, tt.status, tt.code)
	}
}

func TestLoginByAppService(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	s.register("alice")
	s.must("POST", v3+"/register", "as-token", `{"type":"m.login.application_service","username":"irc_bob","inhibit_login":true}`)
	body := func(user string) string {
		return `{"type":"m.login.application_service","identifier":{"type":"m.id.user","user":"` + user + `"},"device_id":"BRIDGE"}`
	}
	r := s.must("POST", v3+"/login", "as-token", body("@irc_bob:hs.example"))
	if w := s.must("GET", v3+"/account/whoami", r.field("access_token"), ""); w.field("user_id") != "@irc_bob:hs.example" || w.field("device_id") != "BRIDGE" {
		t.Errorf("whoami: %s", w.body)
	}
	s.must("POST", v3+"/login", "as-token", body("ircbot"))
	s.must("POST", v3+"/login", "puppet-token", body("alice"))
	s.refused("POST", v3+"/login", "", body("irc_bob"), 401, "M_MISSING_TOKEN")
	s.refused("POST", v3+"/login", r.field("access_token"), body("irc_bob"), 403, "M_FORBIDDEN")
	s.refused("POST", v3+"/login", "no-token", body("irc_bob"), 403, "M_FORBIDDEN")
	s.refused("POST", v3+"/login", "as-token", body("alice"), 400, "M_EXCLUSIVE")
	s.refused("POST", v3+"/login", "as-token", body("irc_nobody"), 403, "M_FORBIDDEN")
}

func TestLogout(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		first, second := s.register("alice"), s.logIn("alice", "SECOND")
		s.must("GET", v3+"/account/whoami", first, "")
		s.must("POST", v3+"/logout", first, "")
		s.refused("GET", v3+"/account/whoami", first, "", 401, "M_UNKNOWN_TOKEN")
		s.refused("POST", v3+"/logout", first, "", 401, "M_UNKNOWN_TOKEN")
		if r := s.must("GET", v3+"/devices", second, ""); strings.Contains(r.body, "FIRST") || !strings.Contains(r.body, "SECOND") {
			t.Errorf("devices: %s", r.body)
		}
		third := s.logIn("alice", "THIRD")
		s.must("GET", v3+"/account/whoami", third, "")
		s.must("POST", v3+"/logout/all", second, "{}")
		s.refused("GET", v3+"/account/whoami", second, "", 401, "M_UNKNOWN_TOKEN")
		s.refused("GET", v3+"/account/whoami", third, "", 401, "M_UNKNOWN_TOKEN")
		want := []string{"@alice:hs.example", "@alice:hs.example", "@alice:hs.example -FIRST", "@alice:hs.example", "@alice:hs.example -SECOND -THIRD"}
		if !slices.Equal(s.changes.devices, want) {
			t.Errorf("device list changes %q, want %q", s.changes.devices, want)
		}
	})
}

// Logging in to a device that exists ends the tokens that it had.
func TestLoginToSameDevice(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	first := s.register("alice")
	s.must("GET", v3+"/account/whoami", first, "")
	second := s.logIn("alice", "FIRST")
	s.refused("GET", v3+"/account/whoami", first, "", 401, "M_UNKNOWN_TOKEN")
	s.must("GET", v3+"/account/whoami", second, "")
}

func TestRefreshTokens(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		s.register("alice")
		login := s.must("POST", v3+"/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`","device_id":"NEW","refresh_token":true}`)
		if login.field("expires_in_ms") != "3600000" || login.field("refresh_token") == "" {
			t.Fatalf("login: %s", login.body)
		}
		works := func(token string) bool { return s.do("GET", v3+"/account/whoami", token, "").status == 200 }
		refresh := func(token string) reply { return s.do("POST", v3+"/refresh", "", `{"refresh_token":"`+token+`"}`) }

		lost := refresh(login.field("refresh_token"))
		if lost.status != 200 || !works(login.field("access_token")) {
			t.Fatalf("refresh: %d %s; the old token must work until the new one is used", lost.status, lost.body)
		}
		// The answer was lost: the client tries again.
		second := refresh(login.field("refresh_token"))
		if second.status != 200 || works(lost.field("access_token")) || !works(second.field("access_token")) {
			t.Fatalf("second refresh: %d %s", second.status, second.body)
		}
		if works(login.field("access_token")) || refresh(login.field("refresh_token")).status != 401 {
			t.Error("the old tokens outlive the use of the new one")
		}
		s.wait(61 * time.Minute)
		r := s.do("GET", v3+"/account/whoami", second.field("access_token"), "")
		if r.status != 401 || r.field("errcode") != "M_UNKNOWN_TOKEN" || r.field("soft_logout") != "true" {
			t.Errorf("an access token that has expired: %d %s", r.status, r.body)
		}
		third := refresh(second.field("refresh_token"))
		fourth := refresh(third.field("refresh_token")) // using it counts as using its access token
		if third.status != 200 || fourth.status != 200 || refresh(second.field("refresh_token")).status != 401 {
			t.Errorf("third %d, fourth %d", third.status, fourth.status)
		}
		if !works(fourth.field("access_token")) {
			t.Error("the newest token does not work")
		}
		s.must("POST", v3+"/logout", fourth.field("access_token"), "")
		if refresh(fourth.field("refresh_token")).status != 401 {
			t.Error("a refresh token outlives its device")
		}
		s.refused("POST", v3+"/refresh", "", `{"refresh_token":"x"}`, 401, "M_UNKNOWN_TOKEN")
		s.refused("POST", v3+"/refresh", "", `{}`, 400, "M_MISSING_PARAM")
	})
}

func TestPasswords(t *testing.T) {
	for name, options := range map[string]accounts.PasswordOptions{"argon2id": cheap, "bcrypt": {Bcrypt: true, BcryptCost: 4}} {
		t.Run(name, func(t *testing.T) {
			s := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) { o.Passwords = options })
			long := strings.Repeat("0123456789", 9)
			for _, password := range []string{"übers3kr1t", long} {
				user := matrix.UserID("@u" + password[len(password)-4:] + ":hs.example")
				if _, err := s.accounts.Register(t.Context(), accounts.Registration{Username: user.Localpart(), Password: password}); err != nil {
					t.Fatal(err)
				}
				for given, want := range map[string]int{password: 200, password + "x": 403, password[:len(password)-1]: 403, "": 403} {
					if r := s.do("POST", v3+"/login", "", `{"type":"m.login.password","user":"`+string(user)+`","password":"`+given+`"}`); r.status != want {
						t.Errorf("%s with %q: %d %s", user, given, r.status, r.body)
					}
				}
			}
		})
	}
}

func TestChangePassword(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	mine, other := s.register("alice"), s.logIn("alice", "OTHER")
	change := func(auth, more string) reply {
		return s.do("POST", v3+"/account/password", mine, `{"new_password":"battery staple"`+more+`,"auth":`+auth+`}`)
	}
	challenge := s.do("POST", v3+"/account/password", mine, `{"new_password":"battery staple"}`)
	if challenge.status != 401 || challenge.field("flows") != `[{"stages":["m.login.password"]}]` {
		t.Errorf("without auth: %d %s", challenge.status, challenge.body)
	}
	if r := change(passwordAuth("alice", "wrong"), ""); r.status != 401 || r.field("errcode") != "M_FORBIDDEN" || r.field("session") == "" {
		t.Errorf("with the wrong password: %d %s", r.status, r.body)
	}
	if r := change(passwordAuth("alice", password), ""); r.status != 200 {
		t.Fatalf("with the right password: %d %s", r.status, r.body)
	}
	s.must("GET", v3+"/account/whoami", mine, "")
	s.refused("GET", v3+"/account/whoami", other, "", 401, "M_UNKNOWN_TOKEN")
	s.refused("POST", v3+"/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`"}`, 403, "M_FORBIDDEN")
	kept := s.must("POST", v3+"/login", "", `{"type":"m.login.password","user":"alice","password":"battery staple"}`).field("access_token")
	if r := change(passwordAuth("alice", "battery staple"), `,"logout_devices":false`); r.status != 200 {
		t.Errorf("keeping devices: %d %s", r.status, r.body)
	}
	s.must("GET", v3+"/account/whoami", kept, "")
	s.refused("POST", v3+"/account/password", mine, `{}`, 400, "M_MISSING_PARAM")
	s.refused("POST", v3+"/account/password", mine, `{"new_password":"short"}`, 400, "M_WEAK_PASSWORD")
	s.refused("POST", v3+"/account/password", mine, `{"new_password":8}`, 400, "M_BAD_JSON")
}

func TestDeactivate(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		token := s.register("alice")
		s.must("PUT", v3+"/user/@alice:hs.example/account_data/x", token, `{"a":1}`)
		if r := s.do("POST", v3+"/account/deactivate", token, `{}`); r.status != 401 || !strings.Contains(r.body, "m.login.password") {
			t.Errorf("without auth: %d %s", r.status, r.body)
		}
		if r := s.do("POST", v3+"/account/deactivate", token, `{"auth":`+passwordAuth("alice", "wrong")+`}`); r.status != 401 || r.field("errcode") != "M_FORBIDDEN" {
			t.Errorf("with the wrong password: %d %s", r.status, r.body)
		}
		if r := s.must("POST", v3+"/account/deactivate", token, `{"erase":true,"auth":`+passwordAuth("alice", password)+`}`); r.body != `{"id_server_unbind_result":"success"}` {
			t.Errorf("answer: %s", r.body)
		}
		s.refused("GET", v3+"/account/whoami", token, "", 401, "M_UNKNOWN_TOKEN")
		s.refused("POST", v3+"/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`"}`, 403, "M_USER_DEACTIVATED")
		s.refused("GET", v3+"/register/available?username=alice", "", "", 400, "M_USER_IN_USE")
		s.refused("GET", v3+"/profile/@alice:hs.example", "", "", 404, "M_NOT_FOUND")
		if !slices.Equal(s.changes.deactivated, []string{"@alice:hs.example erase"}) {
			t.Errorf("observers were told %q", s.changes.deactivated)
		}
		data, err := s.accounts.AccountData(t.Context(), "@alice:hs.example", "", "x")
		if matrix.Code(err) != "M_NOT_FOUND" {
			t.Errorf("account data after erasure: %s, %v", data, err)
		}
	})
}

// attempts is a limiter that allows a number of attempts.
type attempts map[string]int

func (a attempts) AllowKey(bucket, key string) error {
	a[bucket+" "+key]++
	if a[bucket+" "+key] > 3 {
		return matrix.LimitExceeded(time.Second)
	}
	return nil
}

func (a attempts) Network(address string) string { return address }

func (a attempts) GiveBack(bucket, key string) { a[bucket+" "+key]-- }

func TestPasswordGuessingIsLimited(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) { o.Limiter = attempts{} })
	s.register("alice")
	guess := `{"type":"m.login.password","user":"alice","password":"guess"}`
	for range 5 {
		s.logIn("alice", "FIRST") // right ones do not count
	}
	token := s.logIn("alice", "FIRST")
	for range 2 {
		s.refused("POST", v3+"/login", "", guess, 403, "M_FORBIDDEN")
	}
	s.do("DELETE", v3+"/devices/FIRST", token, `{"auth":`+passwordAuth("alice", "guess")+`}`)
	s.refused("POST", v3+"/login", "", guess, 429, "M_LIMIT_EXCEEDED")
	s.refused("DELETE", v3+"/devices/FIRST", token, `{"auth":`+passwordAuth("alice", password)+`}`, 429, "M_LIMIT_EXCEEDED")
}

// A session of user-interactive authentication is good for the operation and
// the user that it was made for, and not forever.
func TestStagesInOrder(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) { o.RegistrationTokens = []string{"sesame"} })
	op := accounts.Operation{Name: "test", Flows: [][]string{
		{accounts.StageRegistrationToken, accounts.StageDummy},
	}}
	confirm := func(op accounts.Operation, auth string) (*accounts.Challenge, error) {
		err := s.accounts.Confirm(t.Context(), op, []byte(auth))
		var c *accounts.Challenge
		errors.As(err, &c)
		return c, err
	}
	first, _ := confirm(op, `null`)
	session := `"session":"` + first.Session + `"`
	if c, _ := confirm(op, `{"type":"m.login.dummy",`+session+`}`); c == nil || c.Code != "M_FORBIDDEN" || len(c.Completed) != 0 {
		t.Errorf("second stage first: %+v", c)
	}
	if c, _ := confirm(op, `{"type":"m.login.registration_token","token":"guess",`+session+`}`); c == nil || c.Code != "M_UNAUTHORIZED" {
		t.Errorf("failed stage: %+v", c)
	}
	if c, _ := confirm(op, `{"type":"m.login.registration_token","token":"sesame",`+session+`}`); c == nil || c.Code != "" || !slices.Equal(c.Completed, []string{"m.login.registration_token"}) || c.Session != first.Session {
		t.Errorf("first stage: %+v", c)
	}
	if c, _ := confirm(op, `{`+session+`}`); c == nil || len(c.Completed) != 1 {
		t.Errorf("asking again: %+v", c)
	}
	other := op
	other.Name = "other"
	if c, _ := confirm(other, `{"type":"m.login.dummy",`+session+`}`); c == nil || len(c.Completed) != 0 {
		t.Errorf("a session of another operation: %+v", c)
	}
	if _, err := confirm(op, `{"type":"m.login.dummy",`+session+`}`); err != nil {
		t.Errorf("last stage: %v", err)
	}
	if c, _ := confirm(op, `{`+session+`}`); c == nil || len(c.Completed) != 0 {
		t.Errorf("a session that was used up: %+v", c)
	}
	confirm(op, `{"type":"m.login.registration_token","token":"sesame",`+session+`}`)
	s.wait(25 * time.Hour)
	if c, _ := confirm(op, `{"type":"m.login.dummy",`+session+`}`); c == nil || len(c.Completed) != 0 {
		t.Errorf("a session of yesterday: %+v", c)
	}
}

// Tokens that nobody has cost a stranger a lookup each, and not many. They keep
// nobody else out, and each is looked up once.
func TestGuessedTokensAreLimited(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		const whoami = v3 + "/account/whoami"
		s := newAccountServer(t, databaseURL, func(o *accounts.Options) { o.Limiter, o.Secret = attempts{}, []byte("one") })
		alice, ended := s.register("alice"), s.logIn("alice", "ENDED")
		s.must("POST", v3+"/logout", ended, "")
		for i := range 3 {
			for range 5 {
				s.refused("GET", whoami, fmt.Sprint("guess", i), "", 401, "M_UNKNOWN_TOKEN")
			}
		}
		forged := alice[:len(alice)-1] + "_"
		for _, guess := range []string{"guess3", "trestle_at_", strings.Repeat("a", 63), forged} {
			s.refused("GET", whoami, guess, "", 429, "M_LIMIT_EXCEEDED")
		}
		s.refused("GET", whoami, "guess0", "", 401, "M_UNKNOWN_TOKEN")
		s.refused("GET", whoami, ended, "", 401, "M_UNKNOWN_TOKEN")
		s.must("GET", whoami, alice, "")
		s.accounts.Forget(aliceID)
		s.must("GET", whoami, alice, "")
		s.must("GET", whoami, s.logIn("alice", "NEW"), "") // at once

		// Tokens of another secret are looked up as guesses are, and do not count.
		other := newAccountServer(t, databaseURL, func(o *accounts.Options) { o.Limiter, o.Secret = attempts{}, []byte("two") })
		for range 5 {
			other.accounts.Forget(aliceID)
			other.must("GET", whoami, alice, "")
		}
	})
}
