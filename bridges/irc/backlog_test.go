package irc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc/wire"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// Who says more than IRC takes from one connection holds up nobody else, is told so once, and what a moderator says to that is
// followed at once.
func TestWhoSaysTooMuchHoldsUpNobody(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Flood = &wire.Flood{Burst: 40, Interval: 250 * time.Millisecond}
	c.Networks[0].Backlog = time.Second
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	join(t, h, carol, "carol", bob)
	const many = 1100
	for i := range many {
		h.Say(room, alice, fmt.Sprintf("spam %d.", i))
	}
	h.Say(room, carol, "stop it")
	bob.Expect(":carol!", "PRIVMSG #trestle :stop it")
	h.Member(room, carol, alice, "leave", "spam")
	spam := 0
	bob.ExpectFunc("alice's PART", func(line string) bool {
		if strings.Contains(line, ":alice!") && strings.Contains(line, "spam ") && strings.Contains(line, "PRIVMSG") {
			spam++
		}
		return strings.HasPrefix(line, ":alice!") && strings.Contains(line, "PART #trestle")
	})
	if spam > 250 { // what waited when alice was removed is 500 of them
		t.Errorf("%d messages of alice came", spam)
	}
	complaints := h.Events(room, func(e fakehomeserver.Event) bool {
		return e.Sender == bot && isMessage(e) && strings.Contains(e.Body(), "did not reach IRC")
	})
	if len(complaints) != 1 || !strings.Contains(complaints[0].Body(), "waits to be said") {
		t.Errorf("alice is told %d times what did not reach IRC", len(complaints))
	}
	h.Say(room, carol, "thanks")
	bob.Expect(":carol!", "PRIVMSG #trestle :thanks")
}
