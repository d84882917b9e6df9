package irc

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// Who has a new name every second has not as many nicks, which everybody in the channels would see.
func TestNewNamesAreFewNicks(t *testing.T) {
	server := ircv3.Start(t, ircv3.Options{})
	h := fakehomeserver.New(t)
	h.Register("@alice:localhost", "alice")
	n, _ := listen(t, h, server.Addr)
	n.ask(t.Context(), func() {
		now := *n.now()
		now.templates.nick = "$DISPLAY"
		n.live.Store(&now)
	})
	portal, err := n.service.bridge.Portal(t.Context(), n.directKey("bob", "@alice:localhost"), "bob")
	if err != nil {
		t.Fatal(err)
	}
	has := func(nick string) bool { return slices.Contains(server.Nicks(), nick) }
	until := func(what string, happened func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !happened(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not: %s; the nicks are %v", what, server.Nicks())
			}
		}
	}
	var waits []func()
	n.ask(t.Context(), func() {
		n.puppet("@alice:localhost").display = "alice"
		n.reachable("@alice:localhost", portal)
	})
	until("alice connects", func() bool {
		up := false
		n.ask(t.Context(), func() {
			p := n.puppet("@alice:localhost")
			up = p.link != nil && p.link.conn != nil
		})
		return up
	})
	// Before the server has answered, the name is another one, twice: that is nobody else's doing.
	n.ask(t.Context(), func() {
		for _, display := range []string{"carol", "dave", "erin"} {
			n.personRenamed("@alice:localhost", display)
		}
	})
	until("the last name is the nick", func() bool { return has("erin") })
	n.ask(t.Context(), func() {
		p := n.puppet("@alice:localhost")
		if p.nick.taken > 0 {
			t.Errorf("IRC is said to have renamed her %d times", p.nick.taken)
		}
		p.renames = pace{config: renames}
	})
	n.ask(t.Context(), func() {
		n.timer = func(_ time.Duration, fn func()) *time.Timer {
			waits = append(waits, fn)
			return time.NewTimer(time.Hour)
		}
	})
	renamed := func(display string) {
		n.ask(t.Context(), func() { n.personRenamed("@alice:localhost", display) })
	}
	for i := range renames.Burst {
		renamed(fmt.Sprint("name", i))
		until("a new nick", func() bool { return has(fmt.Sprint("name", i)) })
	}
	for i := range 20 {
		renamed(fmt.Sprint("other", i))
	}
	n.ask(t.Context(), func() {})
	if len(waits) != 1 {
		t.Fatalf("%d new nicks wait", len(waits))
	}
	if last := fmt.Sprint("name", renames.Burst-1); !has(last) {
		t.Errorf("after %d nicks there are %v", renames.Burst, server.Nicks())
	}
	waits[0]()
	until("the last name is the nick", func() bool { return has("other19") })
}
