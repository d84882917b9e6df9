package adminapi_test

import (
	"encoding/json"
	"testing"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// Operators see which servers do not take what is sent to them.
func TestDestinations(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		path := v1 + "/federation/destinations"
		t.Run("without others", func(t *testing.T) {
			s := newServer(t, url)
			root, alice := s.admin(), s.person("alice")
			alice.must("POST", v3+"/createRoom", map[string]any{})
			if r := root.must("GET", path, nil); r.body != `{"destinations":[],"total":0}` {
				t.Errorf("%s", r.body)
			}
			root.refused("GET", path+"/127.0.0.1:1", nil, 404, "M_NOT_FOUND")
			alice.refused("GET", path, nil, 403, "M_FORBIDDEN")
		})
		// Two servers are to hear of an event, and nobody is there.
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		store := storage.New(db)
		events, _, err := store.Events.Page(t.Context(), 0, 1<<60, 1, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Outbox.Begin(t.Context(), 1<<60); err != nil {
			t.Fatal(err)
		}
		addressed := []storage.Addressed{{
			Position: events[0].Position, RoomNID: events[0].RoomNID, EventNID: events[0].NID, To: []matrix.ServerName{"127.0.0.1:1", "127.0.0.2:1"},
		}}
		if err := db.Update(t.Context(), func(tx *database.Tx) error {
			return store.Outbox.Add(t.Context(), tx, addressed, nil, 1<<60)
		}); err != nil {
			t.Fatal(err)
		}
		db.Close()

		s := newServer(t, url, func(c *config.Config) { c.FederationListen = []string{"127.0.0.1:0"} })
		root := s.login("root", password)
		type shown struct {
			Name    string `json:"destination"`
			Waiting int    `json:"events_waiting"`
			Failure *int64 `json:"failure_ts"`
			Success *int64 `json:"last_success_ts"`
			Error   string `json:"last_error"`
		}
		var page struct {
			List  []shown `json:"destinations"`
			Total int     `json:"total"`
			Next  string  `json:"next_token"`
		}
		get := func(query string) {
			t.Helper()
			page.List, page.Next = nil, ""
			if err := json.Unmarshal([]byte(root.must("GET", path+query, nil).body), &page); err != nil {
				t.Fatal(err)
			}
		}
		for deadline := time.Now().Add(30 * time.Second); ; {
			get("")
			if len(page.List) == 2 && page.List[0].Error != "" && page.List[1].Error != "" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("they do not fail: %+v", page)
			}
		}
		if one := page.List[0]; page.Total != 2 || one.Name != "127.0.0.1:1" || one.Waiting != 1 || one.Failure == nil || one.Success != nil || page.List[1].Name != "127.0.0.2:1" {
			t.Errorf("%+v", page)
		}
		if get("?limit=1&dir=b"); page.Total != 2 || len(page.List) != 1 || page.List[0].Name != "127.0.0.2:1" || page.Next != "1" {
			t.Errorf("a page backwards: %+v", page)
		}
		if get("?from=1&limit=1&dir=b"); len(page.List) != 1 || page.List[0].Name != "127.0.0.1:1" || page.Next != "" {
			t.Errorf("the next page: %+v", page)
		}
		if get("?destination=0.2"); page.Total != 1 {
			t.Errorf("a part of a name: %+v", page)
		}
		root.refused("GET", path+"?from=-1", nil, 400, "M_INVALID_PARAM")
		// One is tried again though it is to be left alone for longer and longer.
		one := path + "/127.0.0.1:1"
		before := root.must("GET", one, nil).at("last_error_ts").(float64)
		for tries, deadline := 0, time.Now().Add(30*time.Second); tries < 6; {
			if r := root.do("POST", one+"/reset_connection", nil); r.status != 200 && r.status != 400 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			r := root.must("GET", one, nil)
			if at, _ := r.at("last_error_ts").(float64); at > before {
				tries, before = tries+1, at
			}
			if time.Now().After(deadline) {
				t.Fatalf("it is not tried: %s", r.body)
			}
		}
		root.refused("POST", path+"/elsewhere.example/reset_connection", nil, 404, "M_NOT_FOUND")
	})
}
