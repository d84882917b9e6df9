package homeserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/homeserver"
	"trestle/homeserver/storage"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// What was said before there was an index, or while nobody filled it, is found
// once the server runs; what is deleted is not.
func TestWordsAreStoredBehindTheStream(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		cfg := settings(t, url, func(cfg *config.Config) {
			cfg.Listen = []string{"127.0.0.1:0"}
			cfg.FederationListen, cfg.NoBridges = nil, true
		})
		log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
		const said = 250 // more than one batch
		room := talk(t, cfg, log, said)

		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- homeserver.Run(ctx, cfg, log, homeserver.Hooks{Ready: func(homeserver.Running) {}}) }()
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		store := storage.New(db)
		last, err := store.Position(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		deadline, tick := time.After(2*time.Minute), time.NewTicker(20*time.Millisecond)
		defer tick.Stop()
		for done := int64(0); done < last; {
			select {
			case <-tick.C:
			case err := <-ended:
				t.Fatalf("the server ended: %v", err)
			case <-deadline:
				t.Fatalf("stored up to %d of %d", done, last)
			}
			if done, err = store.Search.Progress(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}

		info, err := store.Rooms.Info(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		found := func(rooms ...int64) int {
			t.Helper()
			list, err := store.Search.Find(t.Context(), storage.WordQuery{Words: []string{"word"}, Rooms: rooms, UpTo: math.MaxInt64, Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		if n := found(info.NID); n != said-1 {
			t.Errorf("%d events are found, want %d", n, said-1)
		}
		many := []int64{info.NID}
		for i := range int64(1200) {
			many = append(many, info.NID+1000+i)
		}
		if n := found(many...); n != said-1 {
			t.Errorf("%d events are found among many rooms, want %d", n, said-1)
		}
		if _, err := store.Deletions.Purge(t.Context(), storage.Purge{NID: info.NID, Before: math.MaxInt64, Local: true, Server: "test"}); err != nil {
			t.Fatal(err)
		}
		if n := found(info.NID); n != 0 {
			t.Errorf("%d deleted events are found", n)
		}
	})
}

// talk has a user of a server that is then closed say something so many times,
// and redact the first of it.
func talk(t *testing.T, cfg *config.Config, log *slog.Logger, times int) matrix.RoomID {
	t.Helper()
	server, err := homeserver.Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	listener := httptest.NewServer(server.Handler())
	defer listener.Close()
	alice := login(t, listener.URL, "alice")
	created, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{})
	if err != nil {
		t.Fatal(err)
	}
	var first id.EventID
	for i := range times {
		sent, err := alice.SendText(t.Context(), created.RoomID, fmt.Sprint("word ", i))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = sent.EventID
		}
	}
	if _, err := alice.SendMessageEvent(t.Context(), created.RoomID, event.EventRedaction, map[string]any{"redacts": first}); err != nil {
		t.Fatal(err)
	}
	return matrix.RoomID(created.RoomID)
}

// Whoever has reported a lot waits until an operator has looked at it.
func TestReportsThatWait(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		alice := login(t, start(t, url, nil), "alice")
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		reports := storage.New(db).Reports
		err = db.Update(t.Context(), func(tx *database.Tx) error {
			for i := range int64(1000) {
				r := storage.Report{ID: 1_000_000 + i, Kind: "user", Reporter: "@alice:test", User: matrix.UserID(fmt.Sprintf("@%d:test", i))}
				if err := reports.Insert(t.Context(), tx, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		path := alice.BuildClientURL("v3", "users", "@alice:test", "report")
		_, err = alice.MakeRequest(t.Context(), "POST", path, map[string]string{"reason": "once more"}, nil)
		var refused mautrix.HTTPError
		if !errors.As(err, &refused) || refused.RespError == nil || refused.RespError.ErrCode != "M_LIMIT_EXCEEDED" {
			t.Errorf("error %v", err)
		}
	})
}

// A search takes what the reader has not come to, and a metric tells how much
// that is.
func TestSearchCatchesUp(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		base := start(t, url, nil)
		alice := login(t, base, "alice")
		created, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{})
		if err != nil {
			t.Fatal(err)
		}
		behind := func() string {
			t.Helper()
			response, err := http.Get(base + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			_, after, _ := strings.Cut(string(text), "\ntrestle_search_positions_behind ")
			figure, _, _ := strings.Cut(after, "\n")
			return figure
		}
		if _, err := alice.SendText(t.Context(), created.RoomID, "a needle"); err != nil {
			t.Fatal(err)
		}
		if figure := behind(); figure == "0" || figure == "" {
			t.Errorf("before anybody searched: %q", figure)
		}
		var found struct {
			Categories struct {
				RoomEvents struct {
					Count int `json:"count"`
				} `json:"room_events"`
			} `json:"search_categories"`
		}
		body := map[string]any{"search_categories": map[string]any{"room_events": map[string]any{"search_term": "needle"}}}
		if _, err := alice.MakeRequest(t.Context(), "POST", alice.BuildClientURL("v3", "search"), body, &found); err != nil {
			t.Fatal(err)
		}
		if figure := behind(); found.Categories.RoomEvents.Count != 1 || figure != "0" {
			t.Errorf("%d found, and %q behind", found.Categories.RoomEvents.Count, figure)
		}
	})
}

// What somebody said who wants to be forgotten is in no index any more.
func TestWordsOfTheForgotten(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		alice := login(t, start(t, url, nil), "alice")
		created, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Name: "needles"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := alice.SendText(t.Context(), created.RoomID, "a needle"); err != nil {
			t.Fatal(err)
		}
		body := map[string]any{"search_categories": map[string]any{"room_events": map[string]any{"search_term": "needle"}}}
		if _, err := alice.MakeRequest(t.Context(), "POST", alice.BuildClientURL("v3", "search"), body, nil); err != nil {
			t.Fatal(err)
		}
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		store := storage.New(db)
		known, err := store.Users.Lookup(t.Context(), []string{string(alice.UserID)})
		if err != nil {
			t.Fatal(err)
		}
		stored := func() int {
			t.Helper()
			list, err := store.Search.OfSender(t.Context(), known[string(alice.UserID)], 10)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		if n := stored(); n != 2 {
			t.Errorf("%d events before", n)
		}
		_, err = alice.MakeRequest(t.Context(), "POST", alice.BuildClientURL("v3", "account", "deactivate"), map[string]any{"erase": true, "auth": map[string]any{
			"type": "m.login.password", "identifier": map[string]string{"type": "m.id.user", "user": string(alice.UserID)}, "password": "correct horse",
		}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := stored(); n != 0 {
			t.Errorf("%d events are left", n)
		}
	})
}
