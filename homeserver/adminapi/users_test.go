package adminapi_test

import (
	"testing"
	"time"

	"trestle/internal/testkit"
)

func TestUsers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root, alice := s.admin(), s.person("alice")
		made := root.do("PUT", v2+"/users/@bob:hs.example", map[string]any{
			"password": password, "displayname": "Bob", "avatar_url": "mxc://hs.example/bob", "admin": false,
		})
		if made.status != 201 || made.text("displayname") != "Bob" || made.text("avatar_url") != "mxc://hs.example/bob" {
			t.Fatalf("%d %s", made.status, made.body)
		}
		bob := s.login("bob", password)
		list := root.must("GET", v2+"/users?limit=2", nil)
		if list.at("total") != 3.0 || list.text("next_token") != "2" || len(list.at("users").([]any)) != 2 {
			t.Error(list.body)
		}
		if list := root.must("GET", v2+"/users?from=2", nil); list.at("next_token") != nil || len(list.at("users").([]any)) != 1 {
			t.Error(list.body)
		}
		for query, want := range map[string]float64{"name=BO": 1, "admins=true": 1, "admins=false": 2, "name=%25": 0, "deactivated=true": 3,
			"name=hs": 0, "user_id=hs": 3, "user_id=BO": 1, "name=al&user_id=bo": 0} {
			if list := root.must("GET", v2+"/users?"+query, nil); list.at("total") != want {
				t.Errorf("%s: %s", query, list.body)
			}
		}
		root.refused("GET", v2+"/users?limit=0", nil, 400, "M_INVALID_PARAM")

		r := root.do("PUT", v2+"/users/@bob:hs.example", map[string]any{"password": "another long one", "displayname": "Robert"})
		if r.status != 200 || r.text("displayname") != "Robert" {
			t.Errorf("%d %s", r.status, r.body)
		}
		if list := root.must("GET", v2+"/users?name=rOBER", nil); list.at("total") != 1.0 {
			t.Errorf("by a display name: %s", list.body)
		}
		bob.refused("GET", v3+"/account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
		bob = s.login("bob", "another long one")
		root.must("POST", v1+"/reset_password/@bob:hs.example", map[string]any{"new_password": password, "logout_devices": false})
		bob.must("GET", v3+"/account/whoami", nil)
		root.refused("POST", v1+"/reset_password/@bob:hs.example", map[string]any{"new_password": "short"}, 400, "M_WEAK_PASSWORD")
		root.refused("POST", v1+"/reset_password/@none:hs.example", map[string]any{"new_password": password}, 404, "M_NOT_FOUND")
		root.refused("GET", v2+"/users/@x:elsewhere.example", nil, 400, "M_INVALID_PARAM")

		root.must("PUT", v1+"/users/@bob:hs.example/admin", map[string]bool{"admin": true})
		bob.must("GET", v2+"/users", nil)
		root.must("PUT", v2+"/users/@bob:hs.example", map[string]bool{"admin": false})
		bob.refused("GET", v2+"/users", nil, 403, "M_FORBIDDEN")
		root.refused("PUT", v1+"/users/"+root.user+"/admin", map[string]bool{"admin": false}, 400, "M_INVALID_PARAM")
		if r := root.must("GET", v1+"/users/@root:hs.example/admin", nil); r.at("admin") != true {
			t.Error(r.body)
		}

		as := &person{server: s, user: alice.user, token: root.must("POST", v1+"/users/@alice:hs.example/login", map[string]any{}).text("access_token")}
		if r := as.must("GET", v3+"/account/whoami", nil); r.text("user_id") != alice.user {
			t.Error(r.body)
		}
		devices := root.must("GET", v2+"/users/@alice:hs.example/devices", nil)
		if devices.at("total") != 2.0 {
			t.Error(devices.body)
		}
		device := as.must("GET", v3+"/account/whoami", nil).text("device_id")
		root.must("PUT", v2+"/users/@alice:hs.example/devices/"+device, map[string]string{"display_name": "Spy"})
		if r := root.must("GET", v2+"/users/@alice:hs.example/devices/"+device, nil); r.text("display_name") != "Spy" {
			t.Error(r.body)
		}
		root.must("DELETE", v2+"/users/@alice:hs.example/devices/"+device, nil)
		as.refused("GET", v3+"/account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
		if r := root.must("GET", v1+"/whois/@alice:hs.example", nil); len(r.at("devices").(map[string]any)) != 1 {
			t.Error(r.body)
		}

		room := alice.room("public_chat", "R")
		if r := root.must("GET", v1+"/users/@alice:hs.example/joined_rooms", nil); r.at("total") != 1.0 || r.at("joined_rooms").([]any)[0] != room {
			t.Error(r.body)
		}
		root.must("POST", v1+"/deactivate/@alice:hs.example", map[string]bool{"erase": true})
		alice.refused("GET", v3+"/account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
		if r := root.must("GET", v2+"/users/@alice:hs.example", nil); r.at("deactivated") != true {
			t.Error(r.body)
		}
		root.refused("PUT", v2+"/users/@alice:hs.example", map[string]any{"deactivated": false}, 400, "M_INVALID_PARAM")
		root.must("PUT", v2+"/users/@alice:hs.example", map[string]any{"deactivated": false, "password": password})
		s.login("alice", password)

		if r := root.must("GET", v1+"/username_available?username=carol", nil); r.at("available") != true {
			t.Error(r.body)
		}
		root.refused("GET", v1+"/username_available?username=bob", nil, 400, "M_USER_IN_USE")
		root.refused("GET", v1+"/username_available?username=_server", nil, 400, "M_EXCLUSIVE")
	})
}

func TestRegistrationTokens(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		s.cfg.OpenRegistration = false
		root := s.admin()
		nobody := &person{server: s}
		register := func(name, token string) reply {
			return nobody.do("POST", v3+"/register", map[string]any{
				"username": name, "password": password, "auth": map[string]string{"type": "m.login.registration_token", "token": token},
			})
		}
		made := root.must("POST", v1+"/registration_tokens/new", map[string]any{"token": "twice", "uses_allowed": 2})
		if made.text("token") != "twice" || made.at("uses_allowed") != 2.0 || made.at("completed") != 0.0 || made.at("expiry_time") != nil {
			t.Error(made.body)
		}
		root.refused("POST", v1+"/registration_tokens/new", map[string]any{"token": "twice"}, 400, "M_INVALID_PARAM")
		root.refused("POST", v1+"/registration_tokens/new", map[string]any{"token": "no spaces"}, 400, "M_INVALID_PARAM")
		root.refused("POST", v1+"/registration_tokens/new", map[string]any{"expiry_time": 1}, 400, "M_INVALID_PARAM")
		root.refused("POST", v1+"/registration_tokens/new", map[string]any{"uses_allowed": -1}, 400, "M_INVALID_PARAM")
		if r := root.must("POST", v1+"/registration_tokens/new", map[string]any{"length": 20, "expiry_time": time.Now().Add(time.Hour).UnixMilli()}); len(r.text("token")) != 20 {
			t.Error(r.body)
		}
		valid := func(token string) any {
			return nobody.must("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token="+token, nil).at("valid")
		}
		if valid("twice") != true || valid("none") != false {
			t.Error("validity")
		}
		for i, name := range []string{"one", "two", "three"} {
			if r := register(name, "twice"); (r.status == 200) != (i < 2) {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
		if r := root.must("GET", v1+"/registration_tokens/twice", nil); r.at("completed") != 2.0 {
			t.Error(r.body)
		}
		if valid("twice") != false {
			t.Error("a used token is valid")
		}
		if r := root.must("GET", v1+"/registration_tokens?valid=false", nil); len(r.at("registration_tokens").([]any)) != 1 {
			t.Error(r.body)
		}
		if r := root.must("PUT", v1+"/registration_tokens/twice", map[string]any{"uses_allowed": nil}); r.at("uses_allowed") != nil {
			t.Error(r.body)
		}
		if r := register("three", "twice"); r.status != 200 {
			t.Errorf("%d %s", r.status, r.body)
		}
		root.must("DELETE", v1+"/registration_tokens/twice", nil)
		root.refused("DELETE", v1+"/registration_tokens/twice", nil, 404, "M_NOT_FOUND")
		root.refused("GET", v1+"/registration_tokens/twice", nil, 404, "M_NOT_FOUND")
	})
}
