package clientapi_test

import (
	"net/url"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/internal/config"
	"trestle/internal/testkit"
)

func TestHumanIDs(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		s := newWholeServer(t, databaseURL, func(c *config.Config) { c.Registration.HumanIDs = true })
		alice := s.person("alice")
		room := alice.room()
		alias := func(name string) string { return v3 + "/directory/room/" + url.PathEscape("#"+name+":hs.example") }
		body := map[string]string{"room_id": room}
		alice.must("PUT", alias("общение"), body)
		alice.refused("PUT", alias("соmmunity"), body, 400, "M_FAILED_HUMAN_ID_CHECK")
		alice.refused("POST", v3+"/createRoom", map[string]string{"room_alias_name": "аррӏе"}, 400, "M_FAILED_HUMAN_ID_CHECK")
		nobody := &device{wholeServer: s}
		register := func(name string) any { return map[string]any{"username": name, "password": password} }
		nobody.refused("POST", v3+"/register", register("аlice"), 400, "M_FAILED_HUMAN_ID_CHECK")
		nobody.refused("POST", v3+"/register", register("алиса"), 400, "M_INVALID_USERNAME")
		nobody.refused("GET", v3+"/register/available?username="+url.QueryEscape("аlice"), nil, 400, "M_FAILED_HUMAN_ID_CHECK")

		off := newWholeServer(t, t.TempDir()+"/off.db").person("bob")
		off.must("PUT", alias("соmmunity"), map[string]string{"room_id": off.room()})
	})
}

// Whoever was there keeps what they have seen; who comes later sees that
// something was said, and not what.
func TestErasure(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		s := newWholeServer(t, databaseURL)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		secret := alice.say(room, "what was said")
		bob.say(room, "an answer")
		auth := map[string]any{"type": "m.login.password", "identifier": map[string]string{"type": "m.id.user", "user": alice.user}, "password": password}
		alice.must("POST", v3+"/account/deactivate", map[string]any{"erase": true, "auth": auth})
		carol := s.person("carol")
		carol.join(room)
		for _, path := range []string{"/messages?dir=b", "/event/" + secret, "/context/" + secret} {
			if r := bob.must("GET", v3+"/rooms/"+room+path, nil); !strings.Contains(r.body, `"what was said"`) {
				t.Errorf("bob, who was there: %s", r.body)
			}
			if r := carol.must("GET", v3+"/rooms/"+room+path, nil); strings.Contains(r.body, "what was said") || !strings.Contains(r.body, secret) {
				t.Errorf("carol, who came later: %s", r.body)
			}
		}
		if r := carol.sync(); strings.Contains(r.body, "what was said") || !strings.Contains(r.body, "an answer") {
			t.Errorf("carol's sync: %s", r.body)
		}
		bob.refused("GET", v3+"/profile/"+alice.user, nil, 404, "M_NOT_FOUND")
	})
}

func TestProfileFieldsOfAnyName(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		s := newAccountServer(t, databaseURL, func(o *accounts.Options) { o.Guests = true })
		alice, bob := s.register("alice"), s.register("bob")
		profile := v3 + "/profile/" + aliceID
		field := profile + "/org.example.mood"
		for _, value := range []string{`"glad"`, `null`, `{"deep":[1,2.5,true]}`, `7`} {
			s.must("PUT", field, alice, `{"org.example.mood":`+value+`}`)
			if r := s.must("GET", field, "", ""); r.body != `{"org.example.mood":`+value+`}` {
				t.Errorf("%s came back as %s", value, r.body)
			}
		}
		unstable := "/_matrix/client/unstable/uk.tcpip.msc4133/profile/" + aliceID + "/org.example.mood"
		if r, _ := s.browse(unstable, nil); r.body != `{"org.example.mood":7}` {
			t.Errorf("under the older name: %s", r.body)
		}
		s.must("PUT", profile+"/m.tz", alice, `{"m.tz":"Europe/Berlin"}`)
		if r := s.must("GET", profile, "", ""); !same(r.at(), map[string]any{"displayname": "alice", "m.tz": "Europe/Berlin", "org.example.mood": 7}) {
			t.Errorf("all: %s", r.body)
		}
		guest := s.must("POST", v3+"/register?kind=guest", "", `{}`)
		big := strings.Repeat("x", 64<<10)
		for _, tt := range []struct {
			method, path, token, body string
			status                    int
			code                      string
		}{
			{"PUT", field, "", `{}`, 401, "M_MISSING_TOKEN"},
			{"PUT", field, bob, `{"org.example.mood":1}`, 403, "M_FORBIDDEN"},
			{"DELETE", field, bob, ``, 403, "M_FORBIDDEN"},
			{"PUT", field, alice, `{}`, 400, "M_MISSING_PARAM"},
			{"PUT", field, alice, `{`, 400, "M_NOT_JSON"},
			{"PUT", field, alice, `[]`, 400, "M_BAD_JSON"},
			{"PUT", field, alice, `{"org.example.mood":"` + big + `"}`, 400, "M_PROFILE_TOO_LARGE"},
			{"PUT", profile + "/displayname", alice, `{"displayname":7}`, 400, "M_BAD_JSON"},
			{"PUT", profile + "/org.example." + strings.Repeat("x", 250), alice, `{}`, 400, "M_KEY_TOO_LARGE"},
			{"GET", profile + "/org.example." + strings.Repeat("x", 250), "", ``, 400, "M_KEY_TOO_LARGE"},
			{"PUT", profile + "/Mood", alice, `{"Mood":1}`, 400, "M_INVALID_PARAM"},
			{"GET", profile + "/org.example.none", "", ``, 404, "M_NOT_FOUND"},
			{"GET", v3 + "/profile/@nobody:hs.example/org.example.mood", "", ``, 404, "M_NOT_FOUND"},
			{"PUT", v3 + "/profile/" + guest.field("user_id") + "/org.example.mood", guest.field("access_token"), `{"org.example.mood":1}`, 403, "M_GUEST_ACCESS_FORBIDDEN"},
		} {
			s.refused(tt.method, tt.path, tt.token, tt.body, tt.status, tt.code)
		}
		s.must("DELETE", field, alice, "")
		s.must("DELETE", field, alice, "")
		s.refused("GET", field, "", "", 404, "M_NOT_FOUND")
	})
}

// What the server keeps itself is not account data for clients to set.
func TestAccountDataOfTheServer(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	alice := s.register("alice")
	for _, of := range []string{"", "/rooms/!r:hs.example"} {
		for _, kind := range []string{"m.push_rules", "m.fully_read"} {
			s.refused("PUT", v3+"/user/"+aliceID+of+"/account_data/"+kind, alice, `{}`, 405, "M_BAD_JSON")
		}
		s.refused("PUT", v3+"/user/@bob:hs.example"+of+"/account_data/x", alice, `{}`, 403, "M_FORBIDDEN")
	}
}
