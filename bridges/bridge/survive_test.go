package bridge_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit/fakehomeserver"
)

// An event that nobody has reckoned with ends neither the bridge nor what comes behind it, and is not there again after a
// restart. The room is told.
func TestAnEventThatBreaksTheBridgeIsLeft(t *testing.T) {
	h, url := fakehomeserver.New(t), t.TempDir()+"/bridge.db"
	n, stop := start(t, h, url)
	room := join(t, h, "@alice:localhost")
	h.Say(room, "@alice:localhost", poison)
	h.Say(room, "@alice:localhost", "healthy")
	h.Wait(room, "a word about it", func(e fakehomeserver.Event) bool {
		return e.Sender == bot && strings.Contains(string(e.Content), "could not work this off")
	})
	hears(t, n, "healthy")
	stop()
	n, _ = start(t, h, url)
	h.Say(room, "@alice:localhost", "later")
	for _, text := range hears(t, n, "later") {
		if text == "healthy" {
			t.Error("what was behind it is worked off again")
		}
	}
	told := h.Events(room, func(e fakehomeserver.Event) bool {
		return strings.Contains(string(e.Content), "could not work this off")
	})
	if len(told) != 1 {
		t.Errorf("the room is told %d times", len(told))
	}
}

// hears is what the network hears up to a text.
func hears(t *testing.T, n *net, last string) (all []string) {
	t.Helper()
	for e := range n.events {
		text, _ := e.Content.Raw["body"].(string)
		if all = append(all, text); text == last {
			break
		}
	}
	return all
}
