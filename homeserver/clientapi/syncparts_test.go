package clientapi_test

import (
	"testing"
	"time"

	"trestle/internal/testkit"
)

// Clients of all ages read the parts of a room without asking whether they are
// there: somebody who types brings empty ones with it, and so does a left room.
func TestAllPartsOfARoomAreThere(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		has := func(res reply, section string, parts ...string) {
			t.Helper()
			for _, part := range parts {
				if _, ok := res.at("rooms", section, room, part, "events").([]any); !ok {
					t.Errorf("there is no %s in %s", part, res.body)
				}
			}
			if _, ok := res.at("rooms", section, room, "timeline", "prev_batch").(string); !ok {
				t.Errorf("there is no way back in %s", res.body)
			}
		}
		has(bob.sync(), "join", "state", "timeline", "ephemeral", "account_data")
		alice.must("PUT", v3+"/rooms/"+room+"/typing/"+alice.user, object{"typing": true, "timeout": 60_000})
		has(bob.syncFor(time.Minute), "join", "state", "timeline", "ephemeral", "account_data")
		alice.must("PUT", v3+"/rooms/"+room+"/typing/"+alice.user, object{"typing": false})
		res := bob.syncFor(time.Minute, "use_state_after", "true")
		has(res, "join", "state_after", "timeline", "ephemeral", "account_data")
		if res.at("rooms", "join", room, "state") != nil {
			t.Errorf("state, and state_after was asked for: %s", res.body)
		}
		bob.leave(room)
		has(bob.sync(), "leave", "state", "timeline", "account_data")
	})
}
