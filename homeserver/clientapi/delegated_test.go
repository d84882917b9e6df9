package clientapi_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/oauth"
	"trestle/internal/config"
	"trestle/internal/testkit"
)

// bridgeFiles registers the application services tea and milk.
func bridgeFiles(t *testing.T) func(*config.Config) {
	return func(cfg *config.Config) {
		if err := os.MkdirAll(cfg.AppServices[0], 0o700); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"tea", "milk"} {
			text := "id: " + id + "\nurl: null\nas_token: as-" + id + "\nhs_token: hs-" + id + "\nsender_localpart: " + id + "bot\nrate_limited: false\n" +
				"namespaces:\n  users:\n    - regex: '@" + id + "_.*:hs\\.example'\n      exclusive: true\n  aliases: []\n  rooms: []\n"
			if err := os.WriteFile(filepath.Join(cfg.AppServices[0], id+".yaml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// letAct has somebody who is signed in let a service act, and returns the token.
func (b *browser) letAct(service string) string {
	b.t.Helper()
	b.open(serviceOn("trestle.appservice_grant", service)).says(200, "Let "+service+" act for you?").send("days", "30").says(200, "urn:trestle:appservice:"+service)
	_, rest, found := strings.Cut(b.body, "trestle_ut_")
	if !found {
		b.t.Fatalf("no token: %s", b.body)
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return "trestle_ut_" + rest[:end]
}

func serviceOn(action, service string) string { return account(action, "appservice", service) }

// A user lets a bridge act, which then can what people do in rooms and nothing
// that is about the account, until the user ends it.
func TestServicesActForPeopleWhoLetThem(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database, bridgeFiles(t))
		alice, bob := s.person("alice"), s.person("bob")
		room := bob.room(alice)
		b := newBrowser(t, s.url)
		b.open(oauth.AccountPath).send("user", "alice", "password", password).says(200, "Bridges and bots")
		b.open(account("trestle.appservices")).says(200, "tea", "milk")
		b.open(serviceOn("trestle.appservice_grant", "coffee")).says(404)
		b.open(serviceOn("trestle.appservice_grant", "tea")).send("days", "3650").says(400)
		token := b.letAct("tea")
		b.open(account("trestle.appservices")).says(200, "may act for you until")

		as := &device{wholeServer: s, user: alice.user, token: "as-tea"}
		in := func(path string) string {
			if strings.Contains(path, "?") {
				return path + "&user_token=" + url.QueryEscape(token)
			}
			return path + "?user_token=" + url.QueryEscape(token)
		}
		if who := as.must("GET", in(v3+"/account/whoami"), nil); who.field("user_id") != alice.user {
			t.Errorf("the service is %s", who.body)
		}
		said := as.must("PUT", in(v3+"/rooms/"+room+"/send/m.room.message/1?ts=1421416883133"), `{"msgtype":"m.text","body":"from afar"}`).field("event_id")
		event := bob.must("GET", v3+"/rooms/"+room+"/event/"+said, nil)
		if event.field("sender") != alice.user || event.at("origin_server_ts") != 1421416883133.0 {
			t.Errorf("what it said is %s", event.body)
		}
		as.must("GET", in(v3+"/sync?timeout=0"), nil)
		as.must("PUT", in(v3+"/user/"+alice.user+"/account_data/m.direct"), `{}`)
		as.must("PUT", in(v3+"/user/"+alice.user+"/rooms/"+room+"/tags/m.favourite"), `{}`)
		as.cannotManage(in, alice.user)

		// A batch may have what she said elsewhere.
		batch := "/_matrix/client/unstable/com.beeper.backfill/rooms/" + room + "/batch_send"
		past := `{"forward":true,"events":[{"sender":"` + alice.user + `","type":"m.room.message","origin_server_ts":1000,"content":{"body":"before"}}]}`
		as.plainly().must("POST", in(batch), past)

		// The token is for one service and one user, and is no access token.
		milk := &device{wholeServer: s, user: alice.user, token: "as-milk"}
		milk.refused("GET", in(v3+"/sync?timeout=0"), nil, 403, "M_FORBIDDEN")
		as.refused("GET", in(v3+"/sync?timeout=0&user_id="+bob.user), nil, 403, "M_FORBIDDEN")
		as.refused("GET", in(v3+"/sync?timeout=0&device_id=ALICE"), nil, 403, "M_FORBIDDEN")
		as.refused("GET", v3+"/sync?timeout=0&user_id="+alice.user, nil, 403, "M_FORBIDDEN")
		thief := &device{wholeServer: s, token: token}
		thief.refused("GET", v3+"/sync?timeout=0", nil, 401, "M_UNKNOWN_TOKEN")

		// A new token ends the old one, and she ends it all.
		old := token
		token = b.letAct("tea")
		as.refused("GET", v3+"/account/whoami?user_token="+old, nil, 403, "M_FORBIDDEN")
		as.must("GET", in(v3+"/account/whoami"), nil)
		bob.say(room, "what was queued before this is stored")
		b.open(serviceOn("trestle.appservice_withdraw", "tea")).says(200, "End what tea may do?", "Last used").send().says(200, "not act for you any more")
		as.refused("GET", in(v3+"/account/whoami"), nil, 403, "M_FORBIDDEN")
		as.plainly().refused("POST", batch+"?user_id=@teabot:hs.example", past, 403, "M_FORBIDDEN")
		b.open(serviceOn("trestle.appservice_withdraw", "tea")).says(404)

		// Whoever signs out everywhere means services, too.
		token = b.letAct("tea")
		alice.must("POST", v3+"/logout/all", `{}`)
		as.refused("GET", in(v3+"/account/whoami"), nil, 403, "M_FORBIDDEN")
	})
}

// plainly is without the specification's judge, who does not know of drafts.
func (d *device) plainly() *device {
	return &device{wholeServer: d.plain(), user: d.user, token: d.token}
}

// cannotManage tries what is about the account itself.
func (d *device) cannotManage(in func(string) string, user string) {
	d.t.Helper()
	for path, body := range map[string]string{
		"POST /account/password":                                 `{"new_password":"another horse"}`,
		"POST /account/deactivate":                               `{}`,
		"POST /logout":                                           `{}`,
		"POST /logout/all":                                       `{}`,
		"POST /delete_devices":                                   `{"devices":["ALICE"]}`,
		"PUT /devices/ALICE":                                     `{"display_name":"x"}`,
		"POST /keys/upload":                                      `{}`,
		"POST /keys/device_signing/upload":                       `{}`,
		"POST /room_keys/version":                                `{"algorithm":"x","auth_data":{}}`,
		"PUT /profile/" + user + "/displayname":                  `{"displayname":"x"}`,
		"POST /pushers/set":                                      `{}`,
		"POST /user/" + user + "/openid/request_token":           `{}`,
		"PUT /sendToDevice/m.room.encrypted/1":                   `{"messages":{}}`,
		"PUT /user/" + user + "/account_data/m.identity_server":  `{}`,
		"PUT /user/" + user + "/account_data/m.secret_storage.x": `{}`,
	} {
		method, path, _ := strings.Cut(path, " ")
		d.refused(method, in(v3+path), body, 403, "M_FORBIDDEN")
	}
	d.refused("POST", in("/_matrix/client/v1/login/get_token"), `{}`, 403, "M_FORBIDDEN")
	d.refused("GET", in(v3+"/devices"), nil, 403, "M_FORBIDDEN")
	d.refused("GET", in("/_matrix/client/v3/admin/whois/"+user), nil, 403, "M_FORBIDDEN")
}

// A grant ends by itself, and with the account.
func TestGrantsExpire(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database)
		s.register("alice")
		whoami := func(token string) string { return v3 + "/account/whoami?user_token=" + token }
		month := 30 * 24 * time.Hour
		token, err := s.accounts.Grant(t.Context(), aliceID, "irc", month)
		if err != nil {
			t.Fatal(err)
		}
		s.must("GET", whoami(token), "as-token", "")
		s.wait(month + time.Minute)
		s.refused("GET", whoami(token), "as-token", "", 403, "M_FORBIDDEN")
		if err := s.accounts.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if token, err = s.accounts.Grant(t.Context(), aliceID, "irc", month); err != nil {
			t.Fatal(err)
		}
		s.must("GET", whoami(token), "as-token", "")
		if err := s.accounts.Deactivate(t.Context(), aliceID, false); err != nil {
			t.Fatal(err)
		}
		s.refused("GET", whoami(token), "as-token", "", 403, "M_FORBIDDEN")
		if _, err := s.accounts.Grant(t.Context(), aliceID, "nobody", month); err == nil {
			t.Error("there is no such service")
		}
	})
}
