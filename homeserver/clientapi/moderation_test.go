package clientapi_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/clientapi"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

const (
	lockPath    = "/_matrix/client/v1/admin/lock/"
	suspendPath = "/_matrix/client/v1/admin/suspend/"
)

func (s *accountServer) admin(name string) string {
	s.t.Helper()
	token := s.register(name)
	if err := s.accounts.SetAdmin(s.t.Context(), matrix.NewUserID(name, "hs.example"), true); err != nil {
		s.t.Fatal(err)
	}
	return token
}

// administrator makes a user as the operator's scripts do.
func (s *wholeServer) administrator(name string) *device {
	s.t.Helper()
	d := &device{wholeServer: s, user: "@" + name + ":hs.example"}
	const path = "/_synapse/admin/v1/register"
	nonce := d.must("GET", path, nil).field("nonce")
	mac := hmac.New(sha1.New, []byte("shared"))
	fmt.Fprintf(mac, "%s\x00%s\x00%s\x00admin", nonce, name, password)
	res := d.must("POST", path, map[string]any{
		"nonce": nonce, "username": name, "password": password, "admin": true, "mac": hex.EncodeToString(mac.Sum(nil)),
	})
	d.id, d.token = res.field("device_id"), res.field("access_token")
	return d
}

func TestLock(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		admin, alice := s.admin("root"), s.register("alice")
		login := s.must("POST", v3+"/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`","refresh_token":true}`)
		token := s.getToken(alice)
		if r := s.must("GET", lockPath+aliceID, admin, ""); r.body != `{"locked":false}` {
			t.Errorf("before: %s", r.body)
		}
		if r := s.must("PUT", lockPath+aliceID, admin, `{"locked":true}`); r.body != `{"locked":true}` {
			t.Errorf("locking: %s", r.body)
		}
		if r := s.must("GET", lockPath+aliceID, admin, ""); r.body != `{"locked":true}` {
			t.Errorf("after: %s", r.body)
		}
		for _, path := range []string{"/account/whoami", "/devices", "/profile/" + aliceID + "/displayname"} {
			method := "GET"
			if path[1] == 'p' {
				method = "PUT"
			}
			if r := s.do(method, v3+path, alice, ""); r.status != 401 || r.field("errcode") != "M_USER_LOCKED" || r.field("soft_logout") != "true" {
				t.Errorf("%s of a locked user: %d %s", path, r.status, r.body)
			}
		}
		s.refused("POST", v3+"/login", "", `{"type":"m.login.password","user":"alice","password":"`+password+`"}`, 401, "M_USER_LOCKED")
		s.refused("POST", v3+"/refresh", "", `{"refresh_token":"`+login.field("refresh_token")+`"}`, 401, "M_USER_LOCKED")
		s.refused("POST", v3+"/login", "", byToken(token), 401, "M_USER_LOCKED")
		s.must("POST", v3+"/logout", login.field("access_token"), "")
		s.must("PUT", lockPath+aliceID, admin, `{"locked":false}`)
		s.must("POST", v3+"/login", "", byToken(token))
		s.must("GET", v3+"/account/whoami", alice, "")
		s.must("PUT", lockPath+aliceID, admin, `{"locked":true}`)
		s.must("POST", v3+"/logout/all", alice, "")
	})
}

func TestModerationRefuses(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	admin, alice := s.admin("root"), s.register("alice")
	s.admin("boss")
	s.register("gone")
	if err := s.accounts.Deactivate(t.Context(), "@gone:hs.example", false); err != nil {
		t.Fatal(err)
	}
	for path, member := range map[string]string{lockPath: "locked", suspendPath: "suspended"} {
		body := `{"` + member + `":true}`
		for _, tt := range []struct {
			method, user, token, body string
			status                    int
			code                      string
		}{
			{"PUT", aliceID, alice, body, 403, "M_FORBIDDEN"},
			{"PUT", "@nobody:hs.example", alice, body, 403, "M_FORBIDDEN"},
			{"PUT", "@nobody:hs.example", admin, body, 404, "M_NOT_FOUND"},
			{"PUT", "@gone:hs.example", admin, body, 404, "M_NOT_FOUND"},
			{"PUT", "@alice:elsewhere.example", admin, body, 400, "M_INVALID_PARAM"},
			{"PUT", "@boss:hs.example", admin, body, 403, "M_FORBIDDEN"},
			{"PUT", "@root:hs.example", admin, body, 403, "M_FORBIDDEN"},
			{"PUT", aliceID, admin, `{}`, 400, "M_MISSING_PARAM"},
			{"PUT", aliceID, admin, `{"` + member + `":1}`, 400, "M_BAD_JSON"},
			{"PUT", aliceID, admin, `{`, 400, "M_NOT_JSON"},
			{"PUT", "alice", admin, body, 400, "M_INVALID_PARAM"},
			{"GET", aliceID, alice, "", 403, "M_FORBIDDEN"},
			{"GET", "@nobody:hs.example", admin, "", 404, "M_NOT_FOUND"},
			{"GET", "@boss:hs.example", admin, "", 403, "M_FORBIDDEN"},
			{"GET", "@alice:elsewhere.example", admin, "", 400, "M_INVALID_PARAM"},
		} {
			s.refused(tt.method, path+tt.user, tt.token, tt.body, tt.status, tt.code)
		}
	}
	s.must("GET", v3+"/account/whoami", alice, "")
	capable := s.must("GET", v3+"/capabilities", admin, "")
	if got := capable.at("capabilities", "m.account_moderation"); !same(got, map[string]bool{"lock": true, "suspend": true}) {
		t.Errorf("capabilities of an administrator: %v", got)
	}
	if got := s.must("GET", v3+"/capabilities", alice, "").at("capabilities", "m.account_moderation"); got != nil {
		t.Errorf("capabilities of others: %v", got)
	}
}

// A suspended user reads, leaves and withdraws, and does nothing to others.
func TestSuspend(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		root, alice, bob := s.administrator("root"), s.person("alice"), s.person("bob")
		room, other := bob.room(alice), bob.room(alice)
		bob.must("PUT", v3+"/rooms/"+room+"/state/m.room.power_levels/", map[string]any{"users": map[string]int{alice.user: 50}})
		mine, theirs := alice.say(room, "mine"), bob.say(room, "theirs")
		closed := bob.room()
		root.must("PUT", suspendPath+alice.user, `{"suspended":true}`)
		if r := root.must("GET", suspendPath+alice.user, nil); r.body != `{"suspended":true}` {
			t.Errorf("suspended: %s", r.body)
		}
		message := map[string]string{"msgtype": "m.text", "body": "x"}
		for _, tt := range []struct {
			method, path string
			body         any
		}{
			{"PUT", "/rooms/" + room + "/send/m.room.message/1", message},
			{"PUT", "/rooms/" + room + "/state/m.room.topic/", map[string]string{"topic": "x"}},
			{"POST", "/rooms/" + closed + "/join", "{}"},
			{"POST", "/knock/" + closed, "{}"},
			{"POST", "/rooms/" + room + "/invite", map[string]string{"user_id": root.user}},
			{"POST", "/createRoom", "{}"},
			{"PUT", "/profile/" + alice.user + "/displayname", map[string]string{"displayname": "x"}},
			{"PUT", "/rooms/" + room + "/redact/" + theirs + "/1", "{}"},
			{"PUT", "/rooms/" + room + "/typing/" + alice.user, map[string]bool{"typing": false}},
		} {
			alice.refused(tt.method, v3+tt.path, tt.body, http.StatusForbidden, "M_USER_SUSPENDED")
		}
		alice.sync()
		alice.must("GET", v3+"/rooms/"+room+"/messages?dir=b", nil)
		alice.must("POST", v3+"/user_directory/search", map[string]string{"search_term": "bob"})
		alice.must("PUT", v3+"/rooms/"+room+"/redact/"+mine+"/2", "{}")
		alice.leave(other)
		alice.another("NEW")
		root.must("PUT", suspendPath+alice.user, `{"suspended":false}`)
		alice.join(closed)
	})
}

func TestWhois(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		admin, alice := s.admin("root"), s.register("alice")
		bob := s.register("bob")
		path := v3 + "/admin/whois/"
		seen := func(r reply) bool {
			return r.at("user_id") == aliceID && r.at("devices", "FIRST", "sessions") != nil && same(r.at("devices", "FIRST", "sessions"), []any{map[string]any{
				"connections": []any{map[string]any{"ip": "127.0.0.1", "last_seen": s.time().UnixMilli(), "user_agent": "Go-http-client/1.1"}},
			}})
		}
		deadline := time.Now().Add(2 * time.Minute)
		for !seen(s.must("GET", path+aliceID, alice, "")) && time.Now().Before(deadline) {
			continue // last use is written down in the background
		}
		for who, token := range map[string]string{"herself": alice, "an administrator": admin} {
			if r := s.must("GET", path+aliceID, token, ""); !seen(r) {
				t.Errorf("to %s: %s", who, r.body)
			}
		}
		s.refused("GET", path+aliceID, bob, "", 403, "M_FORBIDDEN")
		s.refused("GET", path+"@nobody:hs.example", admin, "", 404, "M_NOT_FOUND")
		s.refused("GET", path+"@alice:elsewhere.example", admin, "", 404, "M_NOT_FOUND")
		s.refused("GET", path+"alice", admin, "", 400, "M_INVALID_PARAM")
	})
}

func TestOpenID(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		alice := s.register("alice")
		ask := func(body string) reply {
			return s.must("POST", v3+"/user/"+aliceID+"/openid/request_token", alice, body)
		}
		r := ask(`{}`)
		if r.at("token_type") != "Bearer" || r.at("matrix_server_name") != "hs.example" || r.at("expires_in") != 3600.0 {
			t.Errorf("token: %s", r.body)
		}
		token := r.field("access_token")
		federation := api.NewServer(api.Options{})
		federation.Handle(clientapi.OpenIDRoutes(s.accounts))
		listener := httptest.NewServer(federation.Handler())
		t.Cleanup(listener.Close)
		const path = "/_matrix/federation/v1/openid/userinfo"
		for _, base := range []string{s.url, listener.URL} {
			there := &accountServer{t: t, url: base, http: s.http}
			if r := there.must("GET", path+"?access_token="+token, "", ""); r.body != `{"sub":"`+aliceID+`"}` {
				t.Errorf("whose token: %s", r.body)
			}
			there.refused("GET", path+"?access_token=guess", "", "", 401, "M_UNKNOWN_TOKEN")
			there.refused("GET", path, "", "", 401, "M_MISSING_TOKEN")
		}
		for range 100 { // older ones go
			s.wait(time.Millisecond)
			ask("")
		}
		s.refused("GET", path+"?access_token="+token, "", "", 401, "M_UNKNOWN_TOKEN")
		token = ask("").field("access_token")
		s.refused("GET", v3+"/account/whoami", token, "", 401, "M_UNKNOWN_TOKEN")
		s.refused("POST", v3+"/user/@bob:hs.example/openid/request_token", alice, "{}", 403, "M_FORBIDDEN")
		s.refused("POST", v3+"/user/"+aliceID+"/openid/request_token", "", "{}", 401, "M_MISSING_TOKEN")
		s.refused("GET", path+"?access_token="+alice, "", "", 401, "M_UNKNOWN_TOKEN")
		s.wait(61 * time.Minute)
		s.refused("GET", path+"?access_token="+token, "", "", 401, "M_UNKNOWN_TOKEN")
		if err := s.accounts.Tidy(t.Context()); err != nil {
			t.Error(err)
		}
		last := ask("").field("access_token")
		if err := s.accounts.Deactivate(t.Context(), aliceID, false); err != nil {
			t.Fatal(err)
		}
		s.refused("GET", path+"?access_token="+last, "", "", 401, "M_UNKNOWN_TOKEN")
	})
}

func TestBoundsOfAccounts(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url, func(o *accounts.Options) { o.MaxDevices, o.MaxAccountData = 2, 2 })
		first := s.register("alice")
		s.wait(time.Minute)
		second := s.logIn("alice", "SECOND")
		s.wait(time.Minute)
		third := s.logIn("alice", "THIRD")
		s.refused("GET", v3+"/account/whoami", first, "", 401, "M_UNKNOWN_TOKEN")
		s.must("GET", v3+"/account/whoami", second, "")
		data := v3 + "/user/" + aliceID + "/account_data/"
		s.must("PUT", data+"a", third, `{}`)
		s.must("PUT", data+"b", third, `{}`)
		s.must("PUT", data+"b", third, `{"again":1}`)
		s.refused("PUT", data+"c", third, `{}`, 413, "M_TOO_LARGE")
		s.refused("PUT", v3+"/user/"+aliceID+"/rooms/!r:hs.example/tags/u.x", third, `{}`, 413, "M_TOO_LARGE")
	})
}
