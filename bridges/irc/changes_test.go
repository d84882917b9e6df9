package irc_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// statusOf is what NAMES has before a nick.
func statusOf(t *testing.T, asker *testkit.IRCClient, nick string) (status string) {
	t.Helper()
	asker.Send("NAMES #trestle")
	line := asker.Expect(" 353 ")
	for _, name := range strings.Fields(line[strings.LastIndexByte(line, ':')+1:]) {
		if bare := strings.TrimLeft(name, "@%+"); bare == nick {
			status = strings.TrimSuffix(name, bare)
		}
	}
	asker.Expect(" 366 ")
	return status
}

// However quickly somebody changes their mind, what they have said last is what both sides have.
func TestTheLastOfManyChangesIsReached(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		dave := testkit.DialIRC(t, server.Addr, "dave")
		dave.Join("#trestle")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN")
		room := join(t, h, alice, "alice", bob)
		h.WaitMembership(room, ghost("dave"), "join")
		bob.Send("MODE #trestle +o alice")
		waitLevels(t, h, room, "alice's power", func(l levels) bool { return l.Users[alice] == 50 })
		for _, last := range []struct {
			level  int
			status string
		}{{1, "+"}, {0, ""}, {50, "@"}} {
			for _, level := range []int{50, 0, 1, 0, 50, last.level} {
				sendLevels(h, room, alice, map[string]int{ghost("dave"): level, "": level % 3})
			}
			eventually(t, "what alice said last", func() bool {
				l := lastLevels(h, room)
				return l.Users[ghost("dave")] == last.level && (l.Speak == 0) == (last.level%3 == 0) && statusOf(t, bob, "dave") == last.status
			})
		}
	})
}
