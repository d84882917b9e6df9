package homeserver_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/registration"
)

// A bridge to a network makes its users in bulk and logs them in, whatever its
// registration says of rate limits; people, and who has no valid token, do not.
func TestServicesRegisterAndLogInAsOftenAsTheyLike(t *testing.T) {
	limited := newService(t, "limited", func(r *registration.Registration) { r.RateLimited = true })
	unlimited := newService(t, "free", func(r *registration.Registration) { r.RateLimited = false })
	withServices(t, filepath.Join(t.TempDir(), "test.db"), func(cfg *config.Config) {
		cfg.NoRateLimits = false
		cfg.RateLimits["register"] = config.RateLimit{PerSecond: 0.01, Burst: 3}
		cfg.RateLimits["login"] = config.RateLimit{PerSecond: 0.01, Burst: 3}
	}, limited, unlimited)
	const v3, kind = "/_matrix/client/v3", "m.login.application_service"
	post := func(s *service, token, path string, body map[string]any) (int, any) {
		client := s.as("")
		client.SetAppServiceUserID, client.AccessToken = false, token
		status, members := request(t, client, "POST", v3+path, nil, body)
		return status, members["errcode"]
	}
	for _, s := range []*service{limited, unlimited} {
		token := s.registration.ASToken
		for i := range 10 {
			name := fmt.Sprintf("%s_%d", s.registration.ID, i)
			if status, code := post(s, token, "/register", map[string]any{"type": kind, "username": name, "inhibit_login": true}); status != http.StatusOK {
				t.Fatalf("registering %s: %d %v", name, status, code)
			}
			login := map[string]any{"type": kind, "identifier": map[string]string{"type": "m.id.user", "user": name}}
			if status, code := post(s, token, "/login", login); status != http.StatusOK {
				t.Fatalf("logging %s in: %d %v", name, status, code)
			}
		}
	}
	for _, path := range []string{"/register", "/login"} {
		var last any
		for range 4 {
			_, last = post(limited, "somebody's guess", path, map[string]any{"type": kind, "username": "limited_x", "identifier": map[string]string{"type": "m.id.user", "user": "limited_1"}})
		}
		if last != "M_LIMIT_EXCEEDED" {
			t.Errorf("who guesses tokens at %s is told %v at last", path, last)
		}
	}
}

// The limits of a service that has them are those of each of its users, so that
// one ghost who talks much does not silence the others.
func TestGhostsAreLimitedOneByOne(t *testing.T) {
	s := newService(t, "irc", func(r *registration.Registration) { r.RateLimited = true })
	withServices(t, filepath.Join(t.TempDir(), "test.db"), func(cfg *config.Config) {
		cfg.NoRateLimits = false
		cfg.RateLimits["send"] = config.RateLimit{PerSecond: 0.01, Burst: 3}
	}, s)
	bob, carol := s.register("irc_bob"), s.register("irc_carol")
	made, err := bob.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := carol.JoinRoomByID(t.Context(), made.RoomID); err != nil {
		t.Fatal(err)
	}
	text := map[string]string{"msgtype": "m.text", "body": "x"}
	var refused int
	for i := range 5 {
		path := fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/m.room.message/%d", made.RoomID, i)
		if status, _ := request(t, bob, "PUT", path, nil, text); status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 2 {
		t.Errorf("%d of 5 messages are refused, not 2", refused)
	}
	if status, members := request(t, carol, "PUT", "/_matrix/client/v3/rooms/"+string(made.RoomID)+"/send/m.room.message/1", nil, text); status != http.StatusOK {
		t.Errorf("another ghost: %d %v", status, members)
	}
}

// Who watches names, as a moderator's bot does, can make none of those that
// another service has for itself, and does not keep it from making them.
func TestWatchingANameIsNotOwningIt(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		irc := newService(t, "irc")
		watcher := newService(t, "watcher", func(r *registration.Registration) {
			for regex, space := range map[string]*[]registration.Namespace{`@.*:test`: &r.Namespaces.Users, `#.*:test`: &r.Namespaces.Aliases} {
				everything, err := registration.NewNamespace(regex, false)
				if err != nil {
					t.Fatal(err)
				}
				*space = append(*space, everything)
			}
		})
		withServices(t, database, nil, irc, watcher)
		bot, bob := watcher.register("watcherbot"), irc.register("irc_bob")
		for _, tt := range []struct {
			name, path string
			body       map[string]any
		}{
			{"a user", "/register", map[string]any{"type": "m.login.application_service", "username": "irc_eve"}},
			{"an alias", "/createRoom", map[string]any{"room_alias_name": "irc_tea"}},
		} {
			status, members := request(t, bot, "POST", "/_matrix/client/v3"+tt.path, nil, tt.body)
			wantRefusal(t, tt.name+" of the other", status, members, 400, "M_EXCLUSIVE")
		}
		if _, err := bob.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{RoomAliasName: "irc_tea"}); err != nil {
			t.Errorf("the owner's alias: %v", err)
		}
		if _, err := watcher.register("anybody").JoinedRooms(t.Context()); err != nil {
			t.Errorf("a name that nobody has for himself: %v", err)
		}
		// Who is there can be puppeted by any service that has registered for it.
		if _, err := watcher.as(bob.UserID).JoinedRooms(t.Context()); err != nil {
			t.Errorf("acting as the other's user: %v", err)
		}
	})
}

// A time may be chosen for what is sent, and not for what is done.
func TestMembershipsAndRoomsHaveNoChosenTime(t *testing.T) {
	s := withService(t, filepath.Join(t.TempDir(), "test.db"))
	alice := login(t, s.base, "alice")
	bob, carol := s.register("irc_bob"), s.register("irc_carol")
	do := func(client *mautrix.Client, path string, body any) map[string]any {
		t.Helper()
		status, members := request(t, unjudged(t, client), "POST", "/_matrix/client/v3"+path, url.Values{"ts": {"1421416883133"}, "user_id": {string(client.UserID)}}, body)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %v", path, status, members)
		}
		return members
	}
	room, _ := do(bob, "/createRoom", map[string]any{"preset": "public_chat"})["room_id"].(string)
	do(bob, "/rooms/"+room+"/invite", map[string]any{"user_id": carol.UserID})
	do(carol, "/rooms/"+room+"/join", map[string]any{})
	if _, err := alice.JoinRoomByID(t.Context(), id.RoomID(room)); err != nil {
		t.Fatal(err)
	}
	page, err := alice.Messages(t.Context(), id.RoomID(room), "", "", mautrix.DirectionBackward, nil, 50)
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Chunk) < 8 {
		t.Errorf("the room has %d events", len(page.Chunk))
	}
	for _, e := range page.Chunk {
		if e.Timestamp == 1421416883133 {
			t.Errorf("%s has a chosen time", e.Type.Type)
		}
	}
}

// Each look-up at other networks is a question to every service of that protocol, and
// nobody asks them as fast as the network is.
func TestLookUpsAtOtherNetworksAreLimited(t *testing.T) {
	s := newService(t, "irc", bridges("irc"))
	withServices(t, filepath.Join(t.TempDir(), "test.db"), func(cfg *config.Config) {
		cfg.NoRateLimits = false
		cfg.RateLimits["search"] = config.RateLimit{PerSecond: 0.01, Burst: 8}
	}, s)
	alice := login(t, s.base, "alice")
	for _, path := range []string{
		"/_matrix/client/v3/thirdparty/protocols", "/_matrix/client/v3/thirdparty/protocol/irc", "/_matrix/client/v3/thirdparty/user/irc?nick=x",
		"/_matrix/client/v3/thirdparty/location/irc?channel=x", "/_matrix/client/v3/thirdparty/user?userid=@irc_x:test",
		"/_matrix/client/v3/thirdparty/location?alias=%23irc_x:test", "/_matrix/app/v1/user?uri=irc://x/y", "/_matrix/app/v1/alias?uri=irc://x/y",
	} {
		where, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if status, raw := requestRaw(t, unjudged(t, alice), "GET", where.Path, where.Query(), nil); status == http.StatusTooManyRequests {
			t.Errorf("%s: %s", path, raw)
		}
	}
	for range 2 {
		status, members := request(t, unjudged(t, alice), "GET", "/_matrix/client/v3/thirdparty/protocols", nil, nil)
		wantRefusal(t, "one look-up more", status, members, 429, "M_LIMIT_EXCEEDED")
	}
}
