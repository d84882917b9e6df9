package clientapi_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
)

func TestDevices(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		mine := s.register("alice")
		s.logIn("alice", "SECOND")
		s.must("PUT", v3+"/devices/SECOND", mine, `{"display_name":"Second"}`)
		if r := s.must("GET", v3+"/devices/SECOND", mine, ""); r.body != `{"device_id":"SECOND","display_name":"Second"}` {
			t.Errorf("device: %s", r.body)
		}
		s.must("PUT", v3+"/devices/SECOND", mine, `{}`)
		if r := s.must("GET", v3+"/devices/SECOND", mine, ""); r.field("display_name") != "Second" {
			t.Errorf("device after an update of nothing: %s", r.body)
		}
		// When a device was used is written down without anybody waiting.
		for range 10_000 {
			if r := s.must("GET", v3+"/devices/FIRST", mine, ""); r.field("last_seen_ip") != "" {
				if r.field("last_seen_ip") != "127.0.0.1" || r.field("last_seen_ts") == "" {
					t.Errorf("device: %s", r.body)
				}
				break
			}
		}
		if r := s.must("GET", v3+"/devices", mine, ""); !strings.Contains(r.body, "FIRST") || !strings.Contains(r.body, "SECOND") || !strings.Contains(r.body, "last_seen_ip") {
			t.Errorf("devices: %s", r.body)
		}
		s.refused("GET", v3+"/devices/THIRD", mine, "", 404, "M_NOT_FOUND")
		s.refused("PUT", v3+"/devices/THIRD", mine, `{"display_name":"x"}`, 404, "M_NOT_FOUND")
		s.refused("PUT", v3+"/devices/FIRST", mine, `{"display_name":7}`, 400, "M_BAD_JSON")
		s.refused("PUT", v3+"/devices/FIRST", mine, `{"display_name":"`+strings.Repeat("x", 256)+`"}`, 400, "M_INVALID_PARAM")
	})
}

func TestDeleteDevice(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	mine := s.register("alice")
	s.register("bob")
	second := s.logIn("alice", "SECOND")
	challenge := s.do("DELETE", v3+"/devices/SECOND", mine, "")
	if challenge.status != 401 || challenge.field("session") == "" || challenge.field("params") != "{}" || challenge.field("errcode") != "" {
		t.Fatalf("without a body: %d %s", challenge.status, challenge.body)
	}
	wrong := s.do("DELETE", v3+"/devices/SECOND", mine, `{"auth":`+passwordAuth("@alice:hs.example", "wrong")+`}`)
	if wrong.status != 401 || wrong.field("errcode") != "M_FORBIDDEN" || wrong.field("error") == "" || wrong.field("flows") == "" {
		t.Errorf("with the wrong password: %d %s", wrong.status, wrong.body)
	}
	s.refused("DELETE", v3+"/devices/SECOND", mine, `{"auth":`+passwordAuth("@bob:hs.example", password)+`}`, 403, "M_FORBIDDEN")
	s.refused("DELETE", v3+"/devices/SECOND", mine, `{"auth":7}`, 400, "M_BAD_JSON")
	s.refused("DELETE", v3+"/devices/SECOND", mine, `{"auth":{"type":"m.login.password","identifier":{"type":"m.id.nobody"}}}`, 400, "M_UNKNOWN")
	s.must("GET", v3+"/account/whoami", second, "")
	s.must("DELETE", v3+"/devices/SECOND", mine, `{"auth":{"type":"m.login.password","user":"alice","password":"`+password+`","session":"`+challenge.field("session")+`"}}`)
	s.refused("GET", v3+"/devices/SECOND", mine, "", 404, "M_NOT_FOUND")
	s.refused("GET", v3+"/account/whoami", second, "", 401, "M_UNKNOWN_TOKEN")
	s.must("DELETE", v3+"/devices/NEVER", mine, `{"auth":`+passwordAuth("alice", password)+`}`)

	third, fourth := s.logIn("alice", "THIRD"), s.logIn("alice", "FOURTH")
	s.must("POST", v3+"/delete_devices", mine, `{"devices":["THIRD","FOURTH","NEVER"],"auth":`+passwordAuth("alice", password)+`}`)
	s.refused("GET", v3+"/account/whoami", third, "", 401, "M_UNKNOWN_TOKEN")
	s.refused("GET", v3+"/account/whoami", fourth, "", 401, "M_UNKNOWN_TOKEN")
	if r := s.do("POST", v3+"/delete_devices", mine, `{"devices":["FIRST"]}`); r.status != 401 || r.field("session") == "" {
		t.Errorf("without auth: %d %s", r.status, r.body)
	}
	s.refused("POST", v3+"/delete_devices", mine, `{}`, 400, "M_MISSING_PARAM")
	s.refused("POST", v3+"/delete_devices", mine, `{"devices":"FIRST"}`, 400, "M_BAD_JSON")
	s.refused("POST", v3+"/delete_devices", mine, `{"devices":[1]}`, 400, "M_BAD_JSON")
}

// Application services act as their users, and make and end their devices.
func TestIdentityAssertion(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		alice := s.register("alice")
		s.must("POST", v3+"/register", "as-token", `{"type":"m.login.application_service","username":"irc_a+b","inhibit_login":true}`)
		const whoami, bob = v3 + "/account/whoami", "user_id=@irc_a%2Bb:hs.example"
		for target, want := range map[string]string{
			whoami:                                   `{"user_id":"@ircbot:hs.example","is_guest":false}`,
			whoami + "?" + bob:                       `{"user_id":"@irc_a+b:hs.example","is_guest":false}`,
			whoami + "?access_token=as-token&" + bob: `{"user_id":"@irc_a+b:hs.example","is_guest":false}`,
		} {
			token := "as-token"
			if strings.Contains(target, "access_token") {
				token = ""
			}
			if r := s.must("GET", target, token, ""); r.body != want {
				t.Errorf("%s: %s, want %s", target, r.body, want)
			}
		}
		if r := s.must("GET", whoami+"?user_id=@alice:hs.example", "puppet-token", ""); r.field("user_id") != "@alice:hs.example" {
			t.Errorf("a namespace that is not exclusive: %s", r.body)
		}
		s.refused("GET", whoami+"?user_id=@alice:hs.example", "as-token", "", 403, "M_FORBIDDEN")
		s.refused("GET", whoami+"?user_id=@irc_x:elsewhere", "as-token", "", 403, "M_FORBIDDEN")
		s.refused("GET", whoami+"?user_id=nonsense", "as-token", "", 403, "M_FORBIDDEN")
		s.refused("GET", whoami+"?user_id=@irc_nobody:hs.example", "as-token", "", 403, "M_FORBIDDEN")
		s.refused("GET", whoami+"?"+bob+"&device_id=D1", "as-token", "", 400, "M_UNKNOWN_DEVICE")
		// A user's token asserts nothing.
		if r := s.must("GET", whoami+"?user_id=@irc_nobody:hs.example", alice, ""); r.field("user_id") != "@alice:hs.example" {
			t.Errorf("a user's token with user_id: %s", r.body)
		}

		if r := s.do("PUT", v3+"/devices/D1?"+bob, "as-token", `{"display_name":"Bridge"}`); r.status != 201 || r.body != "{}" {
			t.Errorf("making a device: %d %s", r.status, r.body)
		}
		if r := s.do("PUT", v3+"/devices/D1?"+bob, "as-token", `{"display_name":"Bridge 2"}`); r.status != 200 {
			t.Errorf("renaming it: %d %s", r.status, r.body)
		}
		for _, key := range []string{"device_id", "org.matrix.msc3202.device_id"} {
			if r := s.must("GET", whoami+"?"+bob+"&"+key+"=D1", "as-token", ""); r.field("device_id") != "D1" {
				t.Errorf("whoami with a device: %s", r.body)
			}
		}
		s.must("DELETE", v3+"/devices/D1?"+bob, "as-token", "")
		s.refused("GET", whoami+"?"+bob+"&device_id=D1", "as-token", "", 400, "M_UNKNOWN_DEVICE")
		s.refused("POST", v3+"/logout?"+bob, "as-token", "", 403, "M_FORBIDDEN")
		s.must("POST", v3+"/account/deactivate?"+bob, "as-token", "{}")
		s.refused("GET", whoami+"?"+bob, "as-token", "", 403, "M_USER_DEACTIVATED")
	})
}
