package adminapi_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// A service that watches everybody may act as people, in rooms and for their devices.
// It has neither their powers over the server nor their accounts: what takes a
// person's password takes it from a service as well.
func TestServicesThatWatchPeopleDoNotOwnThem(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root, alice := s.admin(), s.person("alice")
		watcher := strings.Replace(teaBot, "users: [", "users: [{regex: '@.*:hs.example', exclusive: false}, ", 1)
		root.must("POST", services, map[string]any{"registration": watcher})
		as := func(user string) (*person, string) {
			return &person{server: s, user: user, token: "0123456789012345678901234567890123456789"}, "?user_id=" + user
		}

		bot, me := as(root.user)
		bot.must("GET", v3+"/account/whoami"+me, nil)
		bot.refused("GET", services+me, nil, 403, "M_FORBIDDEN")
		bot.refused("POST", services+"/tea/rotate_token"+me, map[string]any{}, 403, "M_FORBIDDEN")
		login := map[string]any{"type": "m.login.application_service", "identifier": map[string]string{"type": "m.id.user", "user": "root"}}
		bot.refused("POST", v3+"/login", login, 403, "M_FORBIDDEN")

		bot, me = as(alice.user)
		room := alice.room("private_chat", "x")
		bot.must("PUT", v3+"/rooms/"+room+"/send/m.room.message/1"+me, map[string]string{"msgtype": "m.text", "body": "I am alice"})
		bot.must("PUT", v3+"/devices/WATCHER"+me, map[string]any{})
		for path, body := range map[string]map[string]any{
			"POST /account/password":                             {"new_password": "another long one"},
			"POST /account/deactivate":                           {},
			"DELETE /devices/WATCHER":                            {},
			"POST /_matrix/client/v1/login/get_token":            {},
			"POST /_matrix/client/v3/keys/device_signing/upload": {"master_key": masterKey(alice.user)},
		} {
			method, path, _ := strings.Cut(path, " ")
			if !strings.HasPrefix(path, "/_matrix") {
				path = v3 + path
			}
			if r := bot.do(method, path+me, body); r.status != 401 && !(strings.Contains(path, "device_signing") && r.status == 200) {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
		}
		alice.must("GET", v3+"/account/whoami", nil)

		// Its own users are its own, and so is an administrator of its making.
		bot, me = as("@tea_cup:hs.example")
		bot.must("POST", v3+"/register", map[string]any{"type": "m.login.application_service", "username": "tea_cup", "inhibit_login": true})
		bot.must("PUT", v3+"/devices/POT"+me, map[string]any{})
		bot.must("DELETE", v3+"/devices/POT"+me, map[string]any{})
		bot.refused("GET", services+me, nil, 403, "M_FORBIDDEN")
		root.must("PUT", v2+"/users/@tea_cup:hs.example", map[string]any{"admin": true})
		bot.must("GET", services+me, nil)
		bot.must("POST", v3+"/account/deactivate"+me, map[string]any{})
	})
}

func masterKey(user string) map[string]any {
	return map[string]any{"user_id": user, "usage": []string{"master"}, "keys": map[string]string{"ed25519:nqOvzeuGWT/sRx3h7+MHoInYj3Uk2LD/unI9kDYcHwk": "nqOvzeuGWT/sRx3h7+MHoInYj3Uk2LD/unI9kDYcHwk"}}
}
