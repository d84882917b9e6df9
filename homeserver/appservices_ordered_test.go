package homeserver_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/registration"
)

type members = map[string]any

// says is a step in which a ghost says something.
func says(ghost, body, txn string) members {
	return members{
		"sender": "@" + ghost + ":test", "type": "m.room.message", "txn_id": txn, "content": members{"msgtype": "m.text", "body": body},
	}
}

// comes is a step in which a ghost joins, who is made if that is needed.
func comes(ghost, name string) members {
	return members{
		"sender": "@" + ghost + ":test", "type": "m.room.member", "state_key": "@" + ghost + ":test", "register": true, "displayname": name,
		"content": members{"membership": "join", "displayname": name},
	}
}

func orderedPath(room id.RoomID) string {
	return "/_matrix/client/unstable/org.trestle.ordered/rooms/" + url.PathEscape(string(room)) + "/send"
}

// ordered sends steps and returns the results: IDs, or codes.
func (i *importer) ordered(stop bool, steps ...members) (results []string, raw []members) {
	i.t.Helper()
	return sendSteps(i.t, i.bot, i.room, stop, steps...)
}

func sendSteps(t *testing.T, bot *mautrix.Client, room id.RoomID, stop bool, steps ...members) (results []string, raw []members) {
	t.Helper()
	status, answer := request(t, bot, "POST", orderedPath(room), nil, members{"steps": steps, "stop": stop})
	list, _ := answer["results"].([]any)
	if status != http.StatusOK || len(list) != len(steps) {
		t.Fatalf("%d %v", status, answer)
	}
	for _, each := range list {
		result := each.(members)
		raw = append(raw, result)
		if code, refused := result["errcode"].(string); refused {
			results = append(results, code)
		} else {
			results = append(results, result["event_id"].(string))
		}
	}
	return results, raw
}

// opened is an importer whose room everybody may join.
func opened(t *testing.T, database string) *importer {
	t.Helper()
	i := newImporter(t, database)
	i.ordered(true, members{"type": "m.room.join_rules", "state_key": "", "content": members{"join_rule": "public"}})
	return i
}

func TestABridgeSendsManyEventsAtOnce(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		i := opened(t, database)
		versions, err := i.bot.Versions(t.Context())
		if err != nil || !versions.UnstableFeatures["org.trestle.ordered"] {
			t.Errorf("bridges do not see that they can: %v", err)
		}
		steps := []members{comes("irc_bob", "Bob"), says("irc_bob", "one", "1"), comes("irc_new", "New"), says("irc_new", "two", "2"), says("irc_bob", "three", "3")}
		steps[3]["ts"] = 5000
		first, raw := i.ordered(false, steps...)
		i.wantHistory("create", "one", "two", "three")
		if _, made := raw[0]["registered"]; made || raw[2]["registered"] != true {
			t.Errorf("made are %v", raw)
		}
		if again, _ := i.ordered(false, steps...); !slices.Equal(again, first) {
			t.Errorf("a repeat is answered %q, the first was %q", again, first)
		}
		room := "/_matrix/client/v3/rooms/" + url.PathEscape(string(i.room))
		if _, e := request(t, i.alice, "GET", room+"/event/"+url.PathEscape(first[3]), nil, nil); e["origin_server_ts"] != 5000.0 || e["sender"] != "@irc_new:test" {
			t.Errorf("the second message is %v", e)
		}
		if profile, err := i.alice.GetProfile(t.Context(), "@irc_new:test"); err != nil || profile.DisplayName != "New" {
			t.Errorf("the new ghost is called %v, %v", profile, err)
		}
		// What was sent by a request of its own is found, and what was sent here is found there.
		bob := i.as("@irc_bob:test")
		text := members{"msgtype": "m.text", "body": "four"}
		_, alone := request(t, bob, "PUT", room+"/send/m.room.message/4", nil, text)
		later, _ := i.ordered(false, says("irc_bob", "three", "3"), says("irc_bob", "four", "4"), says("irc_bob", "five", "5"))
		_, after := request(t, bob, "PUT", room+"/send/m.room.message/5", nil, text)
		if later[0] != first[4] || later[1] != alone["event_id"] || after["event_id"] != later[2] {
			t.Errorf("%q, alone %v and %v", later, alone, after)
		}
		gone := comes("irc_new", "")
		gone["content"] = members{"membership": "leave", "reason": "Quit"}
		i.ordered(false, says("irc_new", "bye", "6"), gone, says("irc_bob", "he is gone", "7"))
		i.wantHistory("create", "one", "two", "three", "four", "five", "bye", "he is gone")
	})
}

func TestStepsThatAreRefused(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		i := opened(t, database)
		i.ordered(true, comes("irc_bob", "Bob"), comes("irc_eve", "Eve"))
		if _, err := i.bot.BanUser(t.Context(), i.room, &mautrix.ReqBanUser{UserID: "@irc_eve:test"}); err != nil {
			t.Fatal(err)
		}
		unknown, other := says("irc_unknown", "x", "1"), comes("mail_bob", "x")
		foreign, long := says("irc_bob", "x", "1"), says("irc_bob", strings.Repeat("x", 70_000), "2")
		foreign["sender"] = string(i.alice.UserID)
		capital, elsewhere := comes("irc_Bob", "x"), comes("irc_bob", "x")
		elsewhere["sender"] = "@irc_bob:elsewhere"
		reacts := says("irc_bob", "", "3")
		reacts["type"] = "m.reaction"
		reacts["content"] = members{"m.relates_to": members{"rel_type": "m.annotation", "event_id": "$x", "key": "+"}}
		again := says("irc_bob", "", "4")
		again["type"], again["content"] = "m.reaction", reacts["content"]
		results, _ := i.ordered(false, says("irc_bob", "one", "a"), says("irc_eve", "x", "b"), unknown, other, foreign, long,
			capital, elsewhere, reacts, again, says("irc_bob", "two", "c"))
		for at, want := range []string{
			"$", "M_FORBIDDEN", "M_FORBIDDEN", "M_EXCLUSIVE", "M_FORBIDDEN", "M_TOO_LARGE", "M_INVALID_USERNAME", "M_FORBIDDEN", "$", "M_DUPLICATE_ANNOTATION", "$",
		} {
			if !strings.HasPrefix(results[at], want) {
				t.Errorf("step %d is answered %s, want %s…", at, results[at], want)
			}
		}
		results, _ = i.ordered(true, says("irc_bob", "three", "d"), says("irc_eve", "x", "e"), says("irc_bob", "x", "f"))
		if results[0][0] != '$' || results[1] != "M_FORBIDDEN" || results[2] != "ORG.TRESTLE.NOT_TRIED" {
			t.Errorf("a request that ends at the first refusal is answered %q", results)
		}
		results, _ = i.ordered(true, unknown, says("irc_bob", "x", "g"))
		if results[0] != "M_FORBIDDEN" || results[1] != "ORG.TRESTLE.NOT_TRIED" {
			t.Errorf("a request that ends at the first step is answered %q", results)
		}
		i.wantHistory("create", "one", "two", "three")
	})
}

func TestWhoMayNotSendManyEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		i := opened(t, database)
		i.ordered(true, comes("irc_bob", "Bob"))
		refused := func(what string, client *mautrix.Client, room id.RoomID, steps any, wantStatus int, code string) {
			t.Helper()
			status, answer := request(t, client, "POST", orderedPath(room), nil, members{"steps": steps})
			wantRefusal(t, what, status, answer, wantStatus, code)
		}
		one := []members{says("irc_bob", "x", "1")}
		refused("a person", i.alice, i.room, one, 403, "M_FORBIDDEN")
		refused("a stranger", login(t, i.base, "bob"), i.room, one, 403, "M_FORBIDDEN")
		refused("an unknown room", i.bot, "!x:test", one, 403, "M_FORBIDDEN")
		refused("no steps", i.bot, i.room, nil, 400, "M_MISSING_PARAM")
		for what, change := range map[string]members{
			"no transaction": {"txn_id": ""}, "no type": {"type": ""}, "no content": {"content": nil}, "a text as content": {"content": "x"},
			"a NUL in a type": {"type": "x\x00"}, "a NUL in a sender": {"sender": "@irc_\x00:test"}, "a number as sender": {"sender": 1},
		} {
			step := says("irc_bob", "x", "1")
			for key, value := range change {
				step[key] = value
			}
			status, answer := request(t, i.bot, "POST", orderedPath(i.room), nil, members{"steps": []members{says("irc_bob", "x", "0"), step}})
			if status != 400 {
				t.Errorf("%s: %d %v", what, status, answer)
			}
		}
		var many []members
		for n := range 101 {
			many = append(many, says("irc_bob", "x", fmt.Sprint(n)))
		}
		refused("too many steps", i.bot, i.room, many, 413, "M_TOO_LARGE")
		i.wantHistory("create")
	})
}

// Each ghost has limits of its own, and the service waits for the one that has reached them: what is behind
// must not overtake.
func TestStepsAreLimited(t *testing.T) {
	s := newService(t, "irc", func(r *registration.Registration) { r.RateLimited = true })
	withServices(t, filepath.Join(t.TempDir(), "test.db"), func(cfg *config.Config) {
		cfg.NoRateLimits = false
		cfg.RateLimits["send"] = config.RateLimit{PerSecond: 0.01, Burst: 3}
	}, s)
	bob := s.register("irc_bob")
	made, err := bob.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	results, raw := sendSteps(t, s.as("@ircbot:test"), made.RoomID, false, says("irc_bob", "1", "1"), comes("irc_carol", "Carol"),
		says("irc_bob", "2", "2"), says("irc_bob", "3", "3"), says("irc_carol", "1", "1"), says("irc_bob", "4", "4"), says("irc_carol", "2", "2"))
	if last := results[5:]; last[0] != "M_LIMIT_EXCEEDED" || last[1] != "ORG.TRESTLE.NOT_TRIED" || results[4][0] != '$' {
		t.Errorf("%q", results)
	}
	if raw[5]["status"] != 429.0 || raw[5]["retry_after_ms"] == nil {
		t.Errorf("when to come again is not said: %v", raw[5])
	}
}

// administrator makes one of the homeserver that runs.
func (s *service) administrator(running *config.Config) *mautrix.Client {
	s.t.Helper()
	_, err := homeserver.CreateUser(s.t.Context(), running, slog.New(slog.DiscardHandler), homeserver.NewUser{
		Localpart: "root", Password: "correct horse battery", Admin: true,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	root, err := mautrix.NewClient(s.base, "", "")
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = root.Login(s.t.Context(), &mautrix.ReqLogin{
		Type: "m.login.password", Identifier: mautrix.UserIdentifier{Type: "m.id.user", User: "root"}, Password: "correct horse battery", StoreCredentials: true,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return root
}

// Nobody acts for a user who is suspended, locked or no more.
func TestStepsOfUsersWhoMayDoNothing(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newService(t, "irc")
		var running config.Config
		withServices(t, database, func(cfg *config.Config) { running = *cfg }, s)
		root := s.administrator(&running)
		bot := s.register("ircbot")
		made, err := bot.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		sendSteps(t, bot, made.RoomID, true, comes("irc_bob", "Bob"), comes("irc_carol", "Carol"), comes("irc_dan", "Dan"), comes("irc_eve", "Eve"))
		for path, body := range map[string]members{
			"/_matrix/client/v1/admin/suspend/@irc_bob:test": {"suspended": true},
			"/_matrix/client/v1/admin/lock/@irc_carol:test":  {"locked": true},
		} {
			if status, answer := request(t, root, "PUT", path, nil, body); status != 200 {
				t.Fatalf("%s: %d %v", path, status, answer)
			}
		}
		status, answer := request(t, root, "POST", "/_synapse/admin/v1/deactivate/@irc_dan:test", nil, members{})
		if status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
		results, _ := sendSteps(t, bot, made.RoomID, false, says("irc_bob", "x", "1"), says("irc_carol", "x", "2"), comes("irc_dan", "Dan"), says("irc_eve", "x", "3"))
		if results[0] != "M_USER_SUSPENDED" || results[1] != "M_USER_LOCKED" || results[2] != "M_USER_DEACTIVATED" || results[3][0] != '$' {
			t.Errorf("%q", results)
		}
	})
}
