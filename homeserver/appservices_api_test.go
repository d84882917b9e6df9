package homeserver_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/registration"
)

// request makes a request as a client does it, and returns the answer's status
// and members.
func request(t *testing.T, client *mautrix.Client, method, path string, query url.Values, body any) (int, map[string]any) {
	t.Helper()
	status, raw := requestRaw(t, client, method, path, query, body)
	var members map[string]any
	_ = json.Unmarshal(raw, &members)
	return status, members
}

func requestRaw(t *testing.T, client *mautrix.Client, method, path string, query url.Values, body any) (int, []byte) {
	t.Helper()
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		content = strings.NewReader(string(raw))
	}
	if query == nil {
		query = url.Values{}
	}
	if client.SetAppServiceUserID {
		query.Set("user_id", string(client.UserID))
	}
	r, err := http.NewRequestWithContext(t.Context(), method, client.HomeserverURL.String()+path+"?"+query.Encode(), content)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+client.AccessToken)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := client.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, raw
}

// unjudged is the same login without the specification's judge, who knows
// neither drafts nor what redactions have in room version 11.
func unjudged(t *testing.T, client *mautrix.Client) *mautrix.Client {
	t.Helper()
	other, err := mautrix.NewClient(client.HomeserverURL.String(), client.UserID, client.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

func wantRefusal(t *testing.T, what string, status int, members map[string]any, wantStatus int, code string) {
	t.Helper()
	if status != wantStatus || members["errcode"] != code {
		t.Errorf("%s: %d %v, want %d %s", what, status, members, wantStatus, code)
	}
}

func TestServicesKeepOffEachOthersNames(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		irc, mail := newService(t, "irc"), newService(t, "mail")
		withServices(t, database, nil, irc, mail)
		bob := irc.register("irc_bob")
		postman := mail.register("mailbot")
		room, err := bob.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{RoomAliasName: "irc_tea"})
		if err != nil {
			t.Fatal(err)
		}
		const login = "m.login.application_service"
		who := func(user string) map[string]string { return map[string]string{"type": "m.id.user", "user": user} }
		stranger := mail.as("@irc_bob:test")
		for _, tt := range []struct {
			name, method, path string
			client             *mautrix.Client
			body               any
			status             int
			code               string
		}{
			{"register", "POST", "/register", postman, map[string]any{"type": login, "username": "irc_eve"}, 400, "M_EXCLUSIVE"},
			{"register the other's sender", "POST", "/register", postman, map[string]any{"type": login, "username": "ircbot"}, 400, "M_EXCLUSIVE"},
			{"log in", "POST", "/login", postman, map[string]any{"type": login, "identifier": who("irc_bob")}, 400, "M_EXCLUSIVE"},
			{"make an alias", "PUT", "/directory/room/%23irc_coffee:test", postman, map[string]any{"room_id": room.RoomID}, 400, "M_EXCLUSIVE"},
			{"make a room with an alias", "POST", "/createRoom", postman, map[string]any{"room_alias_name": "irc_coffee"}, 400, "M_EXCLUSIVE"},
			{"delete an alias", "DELETE", "/directory/room/%23irc_tea:test", postman, nil, 400, "M_EXCLUSIVE"},
			{"act", "GET", "/joined_rooms", stranger, nil, 403, "M_FORBIDDEN"},
		} {
			status, members := request(t, tt.client, tt.method, "/_matrix/client/v3"+tt.path, nil, tt.body)
			wantRefusal(t, tt.name, status, members, tt.status, tt.code)
		}
		if resolved, err := postman.ResolveAlias(t.Context(), "#irc_tea:test"); err != nil || resolved.RoomID != room.RoomID {
			t.Errorf("the alias leads to %+v, %v", resolved, err)
		}
	})
}

func TestPingsThatFail(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		gone := httptest.NewServer(nil)
		gone.Close()
		bad := newService(t, "bad")
		bad.Query = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"errcode":"M_FORBIDDEN"}`)
		}
		silent := newService(t, "silent", func(r *registration.Registration) { r.URL = "" })
		away := newService(t, "away", func(r *registration.Registration) { r.URL = gone.URL })
		withServices(t, database, nil, bad, silent, away)
		ping := func(s *service, id string) (int, map[string]any) {
			bot := s.register(s.registration.SenderLocalpart)
			return request(t, bot, "POST", "/_matrix/client/v1/appservice/"+id+"/ping", nil, map[string]string{"transaction_id": "meow"})
		}
		status, members := ping(bad, "bad")
		wantRefusal(t, "a bad status", status, members, 502, "M_BAD_STATUS")
		if members["status"] != 403.0 || members["body"] != `{"errcode":"M_FORBIDDEN"}` {
			t.Errorf("a bad status: %v", members)
		}
		status, members = ping(silent, "silent")
		wantRefusal(t, "no URL", status, members, 400, "M_URL_NOT_SET")
		status, members = ping(away, "away")
		wantRefusal(t, "nobody there", status, members, 502, "M_CONNECTION_FAILED")
		status, members = request(t, away.as("@awaybot:test"), "POST", "/_matrix/client/v1/appservice/bad/ping", nil, map[string]string{})
		wantRefusal(t, "another service", status, members, 403, "M_FORBIDDEN")
	})
}

func TestRateLimitsAreAsTheRegistrationSays(t *testing.T) {
	limited := newService(t, "limited", func(r *registration.Registration) { r.RateLimited = true })
	unlimited := newService(t, "free", func(r *registration.Registration) { r.RateLimited = false })
	withServices(t, filepath.Join(t.TempDir(), "test.db"), func(cfg *config.Config) {
		cfg.NoRateLimits = false
		cfg.RateLimits["keys"] = config.RateLimit{PerSecond: 0.01, Burst: 5}
	}, limited, unlimited)
	hammer := func(s *service) (refused bool) {
		bot := s.as(id.NewUserID(s.registration.SenderLocalpart, "test"))
		for range 20 {
			status, members := request(t, bot, "POST", "/_matrix/client/v3/keys/query", nil, map[string]any{"device_keys": map[string]any{}})
			if status == http.StatusTooManyRequests {
				return members["errcode"] == "M_LIMIT_EXCEEDED"
			}
		}
		return false
	}
	if hammer(unlimited) {
		t.Error("a service that is not rate limited was")
	}
	if !hammer(limited) {
		t.Error("a service that is rate limited was not")
	}
}

func TestTimesAreChosenByServicesOnEventsAndStateAlone(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database)
		alice := login(t, s.base, "alice")
		room, ghost := s.room(alice)
		const v3, chosen = "/_matrix/client/v3/rooms/", 1421416883133
		at := func(client *mautrix.Client, method, path string, body any) (id.EventID, int64) {
			t.Helper()
			status, members := request(t, client, method, v3+string(room)+path, url.Values{"ts": {fmt.Sprint(chosen)}}, body)
			event, _ := members["event_id"].(string)
			if status != http.StatusOK || event == "" {
				t.Fatalf("%s: %d %v", path, status, members)
			}
			found, err := unjudged(t, alice).GetEvent(t.Context(), room, id.EventID(event))
			if err != nil {
				t.Fatal(err)
			}
			return found.ID, found.Timestamp
		}
		text := map[string]string{"msgtype": "m.text", "body": "x"}
		said, ts := at(ghost, "PUT", "/send/m.room.message/1", text)
		if ts != chosen {
			t.Errorf("a message has the time %d", ts)
		}
		if _, ts := at(ghost, "PUT", "/state/m.room.member/@irc_bob:test", map[string]string{"membership": "join", "displayname": "Bob"}); ts != chosen {
			t.Errorf("state has the time %d", ts)
		}
		if _, ts := at(alice, "PUT", "/send/m.room.message/1", text); ts == chosen {
			t.Error("a person has chosen a time")
		}
		if _, ts := at(ghost, "PUT", "/redact/"+string(said)+"/2", map[string]string{}); ts == chosen {
			t.Error("a redaction has a chosen time")
		}
		for _, wrong := range []string{"-1", "soon", "9007199254740992"} {
			status, members := request(t, ghost, "PUT", v3+string(room)+"/send/m.room.message/3", url.Values{"ts": {wrong}}, text)
			wantRefusal(t, "ts="+wrong, status, members, 400, "M_INVALID_PARAM")
		}
	})
}

// answers is a service's look-ups: what it says by path and query.
func answers(by map[string]string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Path
		if r.URL.RawQuery != "" {
			key += "?" + r.URL.RawQuery
		}
		if body, ok := by[strings.TrimPrefix(key, "/_matrix/app/v1")]; ok {
			fmt.Fprint(w, body)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errcode":"M_NOT_FOUND"}`)
	}
}

func bridges(protocols ...string) func(*registration.Registration) {
	return func(r *registration.Registration) { r.Protocols = protocols }
}

func TestThirdPartyLookUpsAreMergedOverAllServices(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		irc, other := newService(t, "irc", bridges("irc")), newService(t, "other", bridges("irc", "xmpp"))
		irc.Query = answers(map[string]string{
			"/thirdparty/protocol/irc": `{"user_fields":["nick"],"location_fields":["channel"],"icon":"mxc://test/irc","field_types":{"nick":{"regexp":"[^ ]+","placeholder":"name"}},
				"instances":[{"network_id":"libera","desc":"Libera","fields":{"network":"libera"}}]}`,
			"/thirdparty/user/irc?nick=bob":                `[{"userid":"@irc_bob:test","protocol":"irc","fields":{"nick":"bob"}}]`,
			"/thirdparty/location/irc?channel=%23tea":      `[{"alias":"#irc_tea:test","protocol":"irc","fields":{"channel":"#tea"}}]`,
			"/thirdparty/user?userid=%40irc_bob%3Atest":    `[{"userid":"@irc_bob:test","protocol":"irc","fields":{"nick":"bob"}}]`,
			"/thirdparty/location?alias=%23irc_tea%3Atest": `[{"alias":"#irc_tea:test","protocol":"irc","fields":{"channel":"#tea"}}]`,
		})
		other.Query = answers(map[string]string{
			"/thirdparty/protocol/irc":      `{"user_fields":["nick"],"location_fields":[],"icon":"","field_types":{},"instances":[{"network_id":"oftc","desc":"OFTC","fields":{}}]}`,
			"/thirdparty/protocol/xmpp":     `{"user_fields":["jid"],"field_types":{"jid":5},"instances":[{"network_id":"jabber"},{}]}`,
			"/thirdparty/user/irc?nick=bob": `[{"userid":"@other_bob:test","protocol":"irc","fields":{"nick":"bob"}}]`,
		})
		withServices(t, database, nil, irc, other)
		alice := login(t, irc.base, "alice")
		const path = "/_matrix/client/v3/thirdparty/"
		_, protocols := request(t, alice, "GET", path+"protocols", nil, nil)
		_, single := request(t, alice, "GET", path+"protocol/irc", nil, nil)
		for _, p := range []any{protocols["irc"], single} {
			instances, _ := p.(map[string]any)["instances"].([]any)
			var names []string
			for _, i := range instances {
				names = append(names, fmt.Sprint(i.(map[string]any)["instance_id"]))
			}
			if !slices.Equal(names, []string{"irc|libera", "other|oftc"}) {
				t.Errorf("the instances of irc are %q", names)
			}
		}
		if len(protocols) != 2 {
			t.Errorf("the protocols are %v", protocols)
		}
		for _, tt := range []struct {
			path  string
			query url.Values
			found []string
		}{
			{"user/irc", url.Values{"nick": {"bob"}}, []string{"@irc_bob:test", "@other_bob:test"}},
			{"user/irc", url.Values{"nick": {"bob"}, "user_token": {"secret"}}, []string{"@irc_bob:test", "@other_bob:test"}},
			{"location/irc", url.Values{"channel": {"#tea"}}, []string{"#irc_tea:test"}},
			{"user", url.Values{"userid": {"@irc_bob:test"}}, []string{"@irc_bob:test"}},
			{"location", url.Values{"alias": {"#irc_tea:test"}}, []string{"#irc_tea:test"}},
			{"user/none", nil, nil},
			{"user", url.Values{"userid": {"@alice:test"}}, nil},
		} {
			status, raw := requestRaw(t, alice, "GET", path+tt.path, tt.query, nil)
			var list []struct{ UserID, Alias string }
			if err := json.Unmarshal(raw, &list); err != nil || status != http.StatusOK {
				t.Errorf("%s: %d %s", tt.path, status, raw)
			}
			var found []string
			for _, entry := range list {
				found = append(found, entry.UserID+entry.Alias)
			}
			if !slices.Equal(found, tt.found) {
				t.Errorf("%s found %s, want %q", tt.path, raw, tt.found)
			}
		}
		_, raw := requestRaw(t, unjudged(t, other.as("@otherbot:test")), "GET", path+"user/irc", url.Values{"nick": {"bob"}, "user_id": {"@otherbot:test"}}, nil)
		if !strings.Contains(string(raw), "@irc_bob:test") {
			t.Errorf("a service that asks as somebody is answered %s", raw)
		}
		status, members := request(t, alice, "GET", path+"protocol/none", nil, nil)
		wantRefusal(t, "a protocol that nobody knows", status, members, 404, "M_NOT_FOUND")
	})
}

func TestURIsOfOtherNetworks(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		irc, mail := newService(t, "irc", bridges("irc")), newService(t, "mail", bridges("email"))
		irc.Query = answers(map[string]string{
			"/user?uri=irc%3A%2F%2Flibera%2Fbob%2Cisnick": `{"user_id":"@irc_bob:test"}`,
			"/user?uri=irc%3A%2F%2Flibera%2Feve":          `{"user_id":"@alice:test"}`,
			"/alias?uri=ircs%3A%2F%2Flibera%2F%2523tea":   `{"alias":"#irc_tea:test"}`,
			"/alias?uri=irc%3A%2F%2Flibera%2F%2523liar":   `{"alias":"#mail_tea:test"}`,
		})
		mail.Query = answers(map[string]string{"/user?uri=mailto%3Abob%40example.org": `{"user_id":"@mail_bob:test"}`})
		withServices(t, database, nil, irc, mail)
		alice := unjudged(t, login(t, irc.base, "alice"))
		for _, tt := range []struct{ kind, uri, member, want string }{
			{"user", "irc://libera/bob,isnick", "user_id", "@irc_bob:test"},
			{"user", "mailto:bob@example.org", "user_id", "@mail_bob:test"},
			{"alias", "ircs://libera/%23tea", "alias", "#irc_tea:test"},
		} {
			status, members := request(t, alice, "GET", "/_matrix/app/v1/"+tt.kind, url.Values{"uri": {tt.uri}}, nil)
			if status != http.StatusOK || len(members) != 1 || members[tt.member] != tt.want {
				t.Errorf("%s: %d %v", tt.uri, status, members)
			}
		}
		for _, tt := range []struct {
			kind, uri string
			status    int
			code      string
		}{
			{"user", "irc://libera/eve", 404, "M_NOT_FOUND"}, // not the service's user
			{"alias", "irc://libera/%23liar", 404, "M_NOT_FOUND"},
			{"user", "irc://libera/nobody", 404, "M_NOT_FOUND"},
			{"user", "xmpp:bob@example.org", 404, "M_NOT_FOUND"},
			{"user", "bob", 400, "M_INVALID_PARAM"},
			{"user", "irc:", 400, "M_INVALID_PARAM"},
			{"alias", "irc://" + strings.Repeat("x", 3000), 400, "M_INVALID_PARAM"},
			{"alias", "", 400, "M_INVALID_PARAM"},
		} {
			status, members := request(t, alice, "GET", "/_matrix/app/v1/"+tt.kind, url.Values{"uri": {tt.uri}}, nil)
			wantRefusal(t, tt.uri, status, members, tt.status, tt.code)
		}
		status, members := request(t, alice, "GET", "/_matrix/app/v1/user", nil, nil)
		wantRefusal(t, "no URI", status, members, 400, "M_MISSING_PARAM")
	})
}
