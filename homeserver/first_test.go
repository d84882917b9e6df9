package homeserver_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// slidingScreen asks for a screen of rooms, as clients for phones do at first.
const slidingScreen = `{"conn_id":"room-list","lists":{"all_rooms":{"ranges":[[0,19]],"timeline_limit":1,"filters":{"not_room_types":["m.space"]},
	"required_state":[["m.room.name",""],["m.room.encryption",""],["m.room.member","$LAZY"],["m.room.member","$ME"],["m.room.topic",""],
	["m.room.canonical_alias",""],["m.room.power_levels",""],["m.room.join_rules",""],["m.room.create",""],["m.room.tombstone",""]]}},
	"extensions":{"account_data":{"enabled":true},"receipts":{"enabled":true},"typing":{"enabled":true},"e2ee":{"enabled":true},"to_device":{"enabled":true}}}`

// A first answer after a start asks the database a number of things that does not
// depend on how many rooms it is about, and nothing that was not rehearsed. What
// is asked at the same time may want the same thing, the user's number for one,
// and then asks for it each for itself: it counts once.
func TestFirstAnswersAskLittle(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, where string) {
		server := open(t, where, nil)
		token := member(t, server.Handler(), 2, 24)
		server.Close()
		lazy := url.QueryEscape(`{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":20}}}`)
		for _, c := range []struct {
			name, method, path, body string
			most                     int
		}{
			{"sliding", http.MethodPost, "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", slidingScreen, 19},
			{"v3", http.MethodGet, "/_matrix/client/v3/sync?filter=" + lazy, "", 17},
		} {
			server := open(t, where, nil)
			ctx, trace := database.Traced(t.Context())
			req := httptest.NewRequestWithContext(ctx, c.method, c.path, strings.NewReader(c.body))
			req.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			server.Handler().ServeHTTP(w, req)
			server.Close()
			asked := trace.Statements()
			times := map[string]int{}
			for _, statement := range asked {
				if times[statement]++; times[statement] > sameAtOnce {
					t.Errorf("%s asks again and again: %s", c.name, statement)
				}
			}
			t.Logf("%s asks %d things in %d statements", c.name, len(times), len(asked))
			if w.Code != http.StatusOK || strings.Count(w.Body.String(), "hello there") < 20 {
				t.Errorf("%s: %d %.200s", c.name, w.Code, w.Body)
			}
			if len(times) == 0 || len(times) > c.most {
				t.Errorf("%s asks %d things, %d are allowed:\n%s", c.name, len(times), c.most, strings.Join(asked, "\n"))
			}
			known := rehearsed(t, where)
			for _, statement := range asked {
				if !slices.Contains(known, statement) {
					t.Errorf("%s asks what was not rehearsed: %s", c.name, statement)
				}
			}
		}
	})
}

// sameAtOnce is how often a first answer may ask the same, far from once a room.
const sameAtOnce = 4

// rehearsed is the statements that a start rehearses.
func rehearsed(t *testing.T, where string) []string {
	t.Helper()
	db, err := database.Open(t.Context(), where, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, trace := database.Traced(t.Context())
	until := make(chan struct{})
	close(until)
	if err := storage.Rehearse(ctx, db, until); err != nil {
		t.Fatal(err)
	}
	return trace.Statements()
}
