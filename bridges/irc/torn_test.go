package irc_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// A server that dies may have shown its last line to some and not to others: people are told. One that lives has
// shown it to all, whatever becomes of the connection of who said it.
func TestTheLastLineOfAServer(t *testing.T) {
	t.Parallel()
	h, server, service := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	room := join(t, h, alice, "alice", bob)
	h.Say(room, alice, "while it lives")
	bob.Expect(":alice!", "while it lives")
	server.Disconnect("alice")
	bob.Expect(":alice!", "QUIT")
	bob.Expect(":alice!", "JOIN")
	h.Say(room, alice, "and once more")
	bob.Expect(":alice!", "and once more")
	server.Disconnect("alice")
	bob.Expect(":alice!", "JOIN")
	last := h.Say(room, alice, "the last words")
	bob.Expect(":alice!", "the last words")
	eventually(t, "the bridge knowing that it was taken", func() bool { return service.Status(t.Context()).Networks[0].ToIRC == 0 })
	server.Close()
	told(h, room, "“the last words”")
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == bot }) {
		if strings.Contains(e.Body(), "Not everybody") && !strings.Contains(string(e.Content), last) {
			t.Errorf("the bridge says %s", e.Content)
		}
	}
}
