package homeserver_test

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"

	"trestle/homeserver"
	"trestle/homeserver/storage"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// A server that others can reach follows its stream for them, and notes at its end how far it has come. One that nobody can
// reach does neither.
func TestTheStreamIsReadForOthers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		for _, reached := range []bool{false, true} {
			server := open(t, url, func(c *config.Config) {
				if reached {
					c.FederationListen = []string{"127.0.0.1:0"}
				}
				c.Metrics.Enabled = true
			})
			listener := httptest.NewServer(server.Handler())
			name := "alice"
			if reached {
				name = "bob"
			}
			client := login(t, listener.URL, name)
			room, err := client.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.SendText(t.Context(), room.RoomID, "hello"); err != nil {
				t.Fatal(err)
			}
			if _, err := client.SendStateEvent(t.Context(), room.RoomID, event.StateTopic, "", map[string]string{"topic": "x"}); err != nil {
				t.Fatal(err)
			}
			answer := httptest.NewRecorder()
			request := httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil)
			request.RemoteAddr = "127.0.0.1:1"
			server.Handler().ServeHTTP(answer, request)
			if counted := strings.Contains(answer.Body.String(), "trestle_outbox_events_waiting 0"); counted != reached {
				t.Errorf("reached %v, counted %v:\n%s", reached, counted, answer.Body)
			}
			listener.Close()
			server.Close()
			db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
			if err != nil {
				t.Fatal(err)
			}
			store := storage.New(db)
			end, err := store.Position(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			const never = -1
			want := int64(never)
			if reached {
				want = end
			}
			if at, err := store.Outbox.Begin(t.Context(), never); err != nil || at != want {
				t.Errorf("reached %v: it has come to %d, not %d: %v", reached, at, want, err)
			}
			if !reached { // as if nobody had looked
				if err := db.Update(t.Context(), func(tx *database.Tx) error {
					return store.Outbox.Add(t.Context(), tx, nil, nil, 0)
				}); err != nil {
					t.Fatal(err)
				}
			}
			db.Close()
		}
	})
}

// A command that opens the database because no server runs sends nothing to others.
func TestCommandsTellNobody(t *testing.T) {
	url := testkit.SQLite(t)
	cfg := settings(t, url, func(c *config.Config) {
		c.FederationListen, c.Listen = []string{"127.0.0.1:0"}, []string{"127.0.0.1:1"}
	})
	operator, err := homeserver.NewOperator(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	operator.Close()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const never = -1
	if at, err := storage.New(db).Outbox.Begin(t.Context(), never); err != nil || at != never {
		t.Errorf("it has read up to %d: %v", at, err)
	}
}
