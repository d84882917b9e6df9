package adminapi_test

import (
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// State outlasts a purge of history, and the redaction of it does not: what is left
// can be read by clients, and does not stand in the way of what services are sent.
func TestPurgedRedactions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		as := testkit.NewFakeAS(t, "9876543210987654321098765432109876543210")
		watcher := strings.NewReplacer("url: null", "url: "+as.URL, "rooms: []", "rooms: [{regex: '!.*', exclusive: false}]").Replace(teaBot)
		root, alice := s.admin(), s.person("alice")
		root.must("POST", services, map[string]any{"registration": watcher})
		root.must("DELETE", services+"/tea?reason=away", nil)

		room := alice.room("public_chat", "Talk")
		topic := alice.must("PUT", v3+"/rooms/"+room+"/state/m.room.topic/", map[string]string{"topic": "a secret"}).text("event_id")
		alice.must("PUT", v3+"/rooms/"+room+"/redact/"+topic+"/1", map[string]any{})
		alice.say(room, "before")
		alice.say(room, "after")
		purge := root.must("POST", v1+"/purge_history/"+room, map[string]any{"delete_local_events": true, "purge_up_to_ts": time.Now().Add(time.Hour).UnixMilli()}).text("purge_id")
		root.until(v1+"/purge_history_status/"+purge, func(r reply) bool { return r.text("status") == "complete" })

		for _, path := range []string{"/sync", "/rooms/" + room + "/messages?dir=b&limit=100", "/rooms/" + room + "/event/" + topic} {
			if r := alice.must("GET", v3+path, nil); !strings.Contains(r.body, topic) || strings.Contains(r.body, "a secret") {
				t.Errorf("%s: %s", path, r.body)
			}
		}
		root.must("POST", services, map[string]any{"registration": watcher})
		last := alice.say(room, "to everybody")
		for seen := 1; ; seen++ {
			as.Until(t, seen)
			events := as.Events()
			if strings.Contains(string(events[len(events)-1]), last) {
				break
			}
			seen = len(events)
		}
	})
}
