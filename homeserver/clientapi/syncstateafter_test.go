package clientapi_test

import (
	"testing"

	"trestle/internal/testkit"
)

// A client finds the state under the name by which it asked for it, and never
// under both.
func TestStateAfterTheTimeline(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		server := newWholeServer(t, url)
		alice := server.person("alice")
		room := alice.must("POST", v3+"/createRoom", map[string]string{"preset": "public_chat"}).field("room_id")
		const stable, proposed = "state_after", "org.matrix.msc4222.state_after"
		for _, c := range []struct{ param, field string }{
			{"use_" + stable, stable},
			{"org.matrix.msc4222.use_" + stable, proposed},
			{"full_state", "state"},
		} {
			alice.since = ""
			joined, _ := alice.sync(c.param, "true", "filter", `{"room":{"timeline":{"limit":1}}}`).at("rooms", "join", room).(map[string]any)
			for _, field := range []string{stable, proposed, "state"} {
				if _, there := joined[field]; there != (field == c.field) {
					t.Errorf("%s: %s is there: %t", c.param, field, there)
				}
			}
		}
	})
}
