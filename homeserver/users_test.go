package homeserver_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/registration"
)

// The operator makes accounts beside a running server, also ones that the
// server was asked for before they were there.
func TestAnAccountThatTheServerWasAskedForBefore(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		var running config.Config
		base := start(t, url, func(cfg *config.Config) { running = *cfg })
		alice := login(t, base, "alice")
		late := id.UserID("@late:test")
		attempt := func() error {
			client, err := mautrix.NewClient(base, "", "")
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Login(t.Context(), &mautrix.ReqLogin{
				Type: "m.login.password", Identifier: mautrix.UserIdentifier{Type: "m.id.user", User: "late"}, Password: "correct horse battery",
			})
			return err
		}
		if _, err := alice.GetProfile(t.Context(), late); err == nil {
			t.Error("there is a profile before the account")
		}
		if err := attempt(); err == nil {
			t.Error("there is a login before the account")
		}
		if available, err := alice.RegisterAvailable(t.Context(), "late"); err != nil || !available.Available {
			t.Errorf("the name is not available: %v", err)
		}
		user, err := homeserver.CreateUser(t.Context(), &running, slog.New(slog.DiscardHandler), homeserver.NewUser{
			Localpart: "late", Password: "correct horse battery",
		})
		if err != nil || string(user) != string(late) {
			t.Fatal(user, err)
		}
		if err := attempt(); err != nil {
			t.Error(err)
		}
		if _, err := alice.GetProfile(t.Context(), late); err != nil {
			t.Error(err)
		}
		if available, err := alice.RegisterAvailable(t.Context(), "late"); err == nil && available.Available {
			t.Error("the name is available still")
		}
	})
}

// A database stays with the server whose users are in it.
func TestTheNameStaysOnceThereAreUsers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		log := slog.New(slog.DiscardHandler)
		named := func(name matrix.ServerName) (*homeserver.Server, *config.Config, error) {
			cfg := settings(t, url, func(c *config.Config) { c.ServerName = name })
			server, err := homeserver.Open(t.Context(), cfg, log)
			return server, cfg, err
		}
		create := func(cfg *config.Config, name string) error {
			_, err := homeserver.CreateUser(t.Context(), cfg, log, homeserver.NewUser{Localpart: name, Password: "correct horse battery"})
			return err
		}
		for _, name := range []matrix.ServerName{"first", "second"} {
			server, cfg, err := named(name)
			if err != nil {
				t.Fatalf("without users it cannot be called %s: %v", name, err)
			}
			server.Close()
			if name == "second" {
				if err := create(cfg, "alice"); err != nil {
					t.Fatal(err)
				}
			}
		}
		server, cfg, err := named("third")
		if err == nil {
			server.Close()
		}
		for who, err := range map[string]error{"the server": err, "the command": create(cfg, "bob")} {
			if err == nil || !strings.Contains(err.Error(), "@alice:second") || !strings.Contains(err.Error(), "server_name is third") {
				t.Errorf("%s takes a database of another server: %v", who, err)
			}
		}
		if server, _, err = named("second"); err != nil {
			t.Fatal(err)
		}
		server.Close()
	})
}

// Operators make people's accounts; the names of services and of the server are
// taken.
func TestAccountsOfServicesAreTheirs(t *testing.T) {
	cfg := settings(t, testkit.SQLite(t), nil)
	reg := registration.Generate("tea", "", "tea_bot")
	reg.Namespaces.Users = []registration.Namespace{{Regex: "@tea_.*", Exclusive: true}}
	if err := os.MkdirAll(cfg.AppServices[0], 0o700); err != nil {
		t.Fatal(err)
	}
	if err := reg.Write(filepath.Join(cfg.AppServices[0], "tea.yaml")); err != nil {
		t.Fatal(err)
	}
	for name, code := range map[string]string{"tea_bob": "M_EXCLUSIVE", "tea_bot": "M_EXCLUSIVE", "_server": "M_EXCLUSIVE", "bob": ""} {
		_, err := homeserver.CreateUser(t.Context(), cfg, slog.New(slog.DiscardHandler), homeserver.NewUser{Localpart: name, Password: "correct horse battery"})
		if matrix.Code(err) != code || code == "" && err != nil {
			t.Errorf("%s: %v, want %q", name, err, code)
		}
	}
}

// People are found by their names, as soon as they share a room.
func TestUserDirectory(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		base := start(t, url, nil)
		alice, bob, carol := login(t, base, "alice"), login(t, base, "bob"), login(t, base, "carol")
		find := func(who *mautrix.Client, term string) (found []id.UserID) {
			res, err := who.SearchUserDirectory(t.Context(), term, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range res.Results {
				found = append(found, u.UserID)
			}
			return found
		}
		room, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "private_chat", Invite: []id.UserID{bob.UserID}})
		if err != nil {
			t.Fatal(err)
		}
		if found := find(alice, "bob"); found != nil {
			t.Errorf("before bob has come, alice finds %v", found)
		}
		if _, err := bob.JoinRoomByID(t.Context(), room.RoomID); err != nil {
			t.Fatal(err)
		}
		if found := find(alice, "BOB"); len(found) != 1 || found[0] != bob.UserID {
			t.Errorf("alice finds %v", found)
		}
		if found := find(carol, "bob"); found != nil {
			t.Errorf("carol finds %v, who is in a private room", found)
		}
		if found := find(bob, "bob"); found != nil {
			t.Errorf("bob finds %v, himself, whom nobody else would", found)
		}
		open, err := carol.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		if found := append(find(carol, "carol"), find(alice, "carol")...); !slices.Equal(found, []id.UserID{carol.UserID, carol.UserID}) {
			t.Errorf("in a public room, carol and alice find %v", found)
		}
		if _, err := carol.LeaveRoom(t.Context(), open.RoomID); err != nil {
			t.Fatal(err)
		}
		if found := find(carol, "carol"); found != nil {
			t.Errorf("out of it, carol finds %v", found)
		}
		if err := bob.SetDisplayName(t.Context(), "Robert"); err != nil {
			t.Fatal(err)
		}
		if found := find(alice, "robert"); len(found) != 1 {
			t.Errorf("by the new name alice finds %v", found)
		}
	})
}
