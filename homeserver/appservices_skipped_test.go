package homeserver_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// A service of which a long backlog is skipped learns all the same whose keys it needs
// from then on: who has come in meanwhile, and has had keys since before.
func TestKeysOfThoseWhoCameWhileAllWasSkipped(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newService(t, "irc", keeper)
		var running config.Config
		withServices(t, database, func(cfg *config.Config) { running = *cfg }, s)
		root, alice, carol := s.administrator(&running), login(t, s.base, "alice"), login(t, s.base, "carol")
		uploadKeys(t, carol, 0, 1)
		room, ghost := s.room(alice)
		s.untilMember(t, ghost.UserID, room, true)
		const own = "/_trestle/admin/v1/appservices/irc"
		operate := func(method, path string, body any) members {
			t.Helper()
			status, answer := request(t, unjudged(t, root), method, own+path, nil, body)
			if status != 200 {
				t.Fatalf("%s: %d %v", path, status, answer)
			}
			return answer
		}
		flood := func(requests int, name string) {
			t.Helper()
			for n := range requests {
				var steps []members
				for i := range 100 {
					steps = append(steps, says("irc_bob", fmt.Sprint(name, n, i), fmt.Sprint(name, n, " ", i)))
				}
				sendSteps(t, ghost, room, true, steps...)
			}
		}
		operate("POST", "/pause", members{"reason": "a flood"})
		flood(20, "before")
		if _, err := carol.JoinRoomByID(t.Context(), room); err != nil {
			t.Fatal(err)
		}
		flood(2, "after")
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.After(2 * time.Minute); ; {
			if at := operate("GET", "", nil); at["live"] == false && at["backlog"] == 2201.0 {
				break
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("the service does not fall behind: %v", operate("GET", "", nil))
			}
		}
		skipped := operate("POST", "/skip_all", members{"reason": "a flood"})
		if skipped["dead_letter_events"].(float64) > 2000 || skipped["passed_events"].(float64) < 200 {
			t.Fatalf("carol's coming was frozen: %v", skipped)
		}
		operate("POST", "/resume", members{})
		s.UntilSeen(t, "carol's coming", func(txns []*appservice.Transaction) bool {
			changed, _ := lists(txns)
			return slices.Contains(changed, matrix.UserID("@carol:test"))
		})
		say(t, carol, room, "the first that is sent")
		s.untilBody("the first that is sent")
		if n := len(s.Events()); n > 10 {
			t.Errorf("%d events were sent", n)
		}
	})
}
