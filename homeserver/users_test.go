package homeserver_test

import (
	"log/slog"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/testkit"
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
		if err := bob.SetDisplayName(t.Context(), "Robert"); err != nil {
			t.Fatal(err)
		}
		if found := find(alice, "robert"); len(found) != 1 {
			t.Errorf("by the new name alice finds %v", found)
		}
	})
}
