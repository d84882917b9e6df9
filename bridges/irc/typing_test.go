package irc_test

import (
	"strings"
	"testing"

	"trestle/bridges/irc"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// While somebody in the room is not in the channel, the room does not learn who types there either.
func TestNobodySeesWhoTypesInAChannelThatTheyAreNotIn(t *testing.T) {
	t.Parallel()
	m := startModern(t, ircv3.Options{}, func(n *irc.Network) { n.History = irc.HistoryJoined })
	m.server.Refuse("#trestle", "437", "Not now")
	m.Register(carol, "carol")
	m.Member(m.room, carol, carol, "join", "")
	m.Say(m.room, alice, "carol is there") // behind carol's join
	m.bob.Expect(":alice!", "carol is there")
	m.bob.Send("@+typing=active TAGMSG #trestle")
	stored(t, m.bob)
	m.Member(m.room, carol, carol, "leave", "")
	m.bob.Say("#trestle", "carol is gone")
	m.WaitBody(m.room, ghost("bob"), "carol is gone")
	m.bob.Send("@+typing=active TAGMSG #trestle")
	typing := func(e fakehomeserver.Event) bool {
		return e.Type == "m.typing" && strings.Contains(string(e.Content), `"typing":true`)
	}
	gone := false
	m.Wait(m.room, "bob typing when carol is gone", func(e fakehomeserver.Event) bool {
		gone = gone || e.Body() == "carol is gone"
		return gone && typing(e)
	})
	if n := len(m.Events(m.room, typing)); n != 1 {
		t.Errorf("bob was shown to be typing %d times", n)
	}
}
