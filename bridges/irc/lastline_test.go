package irc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// What the kernel had of a line when the bridge was killed, and nobody had seen, may never have been read: the
// server may have died as well. It is not said again, and people are told.
func TestALineThatNobodyHasSeenIsInDoubt(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	p := startProcess(t, h, server.Addr)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	h.Say(room, alice, "seen")
	bob.Expect(":alice!", "seen")

	usual := server.Command("PRIVMSG")
	arrived, died := make(chan struct{}, 1), make(chan struct{})
	server.Handle("PRIVMSG", func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) {
		if m.Param(1) != "unseen" {
			usual(s, c, m)
			return
		}
		arrived <- struct{}{}
		<-died
	})
	h.Say(room, alice, "unseen")
	select {
	case <-arrived:
	case <-time.After(2 * time.Minute):
		t.Error("the line does not arrive")
	}
	p.kill()
	close(died)
	server.Handle("PRIVMSG", usual)
	p.start()
	told(h, room, "“unseen”")
	h.Say(room, alice, "afterwards")
	bob.Expect(":alice!", "afterwards")
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == bot }) {
		if !strings.Contains(e.Body(), "unseen") {
			t.Errorf("the bridge says %s", e.Content)
		}
	}
}

// Whoever is on their way out has been heard: a restart that nobody forces says nothing twice, loses nothing, and
// leaves nothing in doubt.
func TestARestartAmidTalk(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	c := config(h, server.Addr, t.TempDir())
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	_, stop := start(t, h, c)
	room := join(t, h, alice, "alice", bob)
	const lines, restarts = 120, 4
	for i := range lines {
		if i%(lines/restarts) == lines/restarts/2 {
			stop()
			_, stop = start(t, h, c)
		}
		h.Say(room, alice, fmt.Sprintf("line %d.", i))
	}
	for i := range lines { // in order, and none twice
		if got := bob.Expect(":alice!", "PRIVMSG #trestle :line "); !strings.Contains(got, fmt.Sprintf(":line %d.", i)) {
			t.Fatalf("line %d is %q", i, got)
		}
	}
	h.Say(room, alice, "the end")
	bob.Expect(":alice!", "the end")
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == bot }) {
		t.Errorf("the bridge says %s", e.Content)
	}
}
