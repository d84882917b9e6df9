package homeserver_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/testkit"
)

// settings are for a homeserver on a database.
func settings(t testing.TB, url string, change func(*config.Config)) *config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.ServerName = "test"
	cfg.Data = t.TempDir()
	cfg.Media.Path = filepath.Join(cfg.Data, "media")
	cfg.Database = config.Secret(url)
	cfg.SigningKey = filepath.Join(cfg.Data, "signing.key")
	cfg.AppServices = []string{filepath.Join(cfg.Data, "appservices")}
	cfg.OpenRegistration, cfg.NoRateLimits = true, true
	cfg.Passwords.Hash, cfg.Passwords.BcryptCost = "bcrypt", 4
	if change != nil {
		change(cfg)
	}
	return cfg
}

// open makes a homeserver on a database.
func open(t testing.TB, url string, change func(*config.Config)) *homeserver.Server {
	t.Helper()
	cfg := settings(t, url, change)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	server, err := homeserver.Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

// start serves a homeserver and returns its base URL.
func start(t *testing.T, url string, change func(*config.Config)) string {
	t.Helper()
	listener := httptest.NewServer(open(t, url, change).Handler())
	t.Cleanup(listener.Close)
	return listener.URL
}

func decode(t testing.TB, raw []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
}

// login registers a user and returns a client, by a library that this project did not write.
func login(t *testing.T, base, name string) *mautrix.Client {
	t.Helper()
	client, err := mautrix.NewClient(base, "", "")
	if err != nil {
		t.Fatal(err)
	}
	client.Client.Transport = testkit.SpecTransport(t, http.DefaultTransport)
	res, err := client.RegisterDummy(t.Context(), &mautrix.ReqRegister{Username: name, Password: "correct horse"})
	if err != nil {
		t.Fatal(err)
	}
	client.UserID, client.AccessToken, client.DeviceID = res.UserID, res.AccessToken, res.DeviceID
	return client
}

// syncUntil syncs until done answers true.
func syncUntil(t *testing.T, client *mautrix.Client, since string, done func(*mautrix.RespSync) bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		res, err := client.FullSyncRequest(ctx, mautrix.ReqSync{Since: since, Timeout: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		since = res.NextBatch
		if done(res) {
			return since
		}
	}
}

func messages(res *mautrix.RespSync, room id.RoomID) []string {
	joined := res.Rooms.Join[room]
	if joined == nil {
		return nil
	}
	var list []string
	for _, e := range joined.Timeline.Events {
		if e.Type == event.EventMessage || e.Type.Type == "m.room.message" {
			body, _ := e.Content.Raw["body"].(string)
			list = append(list, body)
		}
	}
	return list
}

func TestTwoPeopleTalk(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		base := start(t, url, nil)
		ctx := t.Context()
		alice, bob := login(t, base, "alice"), login(t, base, "bob")
		room, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Preset: "private_chat", Name: "Talk", Invite: []id.UserID{bob.UserID}})
		if err != nil {
			t.Fatal(err)
		}
		since := syncUntil(t, bob, "", func(res *mautrix.RespSync) bool { return res.Rooms.Invite[room.RoomID] != nil })
		if _, err := bob.JoinRoomByID(ctx, room.RoomID); err != nil {
			t.Fatal(err)
		}
		since = syncUntil(t, bob, since, func(res *mautrix.RespSync) bool {
			joined := res.Rooms.Join[room.RoomID]
			return joined != nil && len(joined.State.Events)+len(joined.Timeline.Events) >= 8
		})
		heard := make(chan string, 1)
		go func() {
			syncUntil(t, bob, since, func(res *mautrix.RespSync) bool {
				said := messages(res, room.RoomID)
				if len(said) > 0 {
					heard <- said[0]
				}
				return len(said) > 0
			})
		}()
		if _, err := alice.SendText(ctx, room.RoomID, "hello, bob"); err != nil {
			t.Fatal(err)
		}
		if said := <-heard; said != "hello, bob" {
			t.Errorf("bob heard %q", said)
		}
		history, err := bob.Messages(ctx, room.RoomID, "", "", mautrix.DirectionBackward, nil, 100)
		if err != nil || len(history.Chunk) != 10 {
			t.Errorf("%d events of history, %v", len(history.Chunk), err)
		}
	})
}
