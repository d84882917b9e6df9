package irc_test

import (
	"strings"
	"testing"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// Who has the power to open a room to all readers does not open the channel: nothing more is said there before only those
// may read it who are in the channel.
func TestNobodyOpensAChannelToReaders(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].History = irc.HistoryJoined
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room, empty := join(t, h, alice, "alice", bob), ""
	bob.Say("#trestle", "before")
	h.WaitBody(room, ghost("bob"), "before")
	h.Send(room, alice, "m.room.history_visibility", &empty, `{"history_visibility":"world_readable"}`)
	h.Told()
	bob.Say("#trestle", "after")
	h.WaitBody(room, ghost("bob"), "after")
	visibility := ""
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return e.Type == "m.room.history_visibility" || e.Body() != "" }) {
		if e.Type == "m.room.history_visibility" {
			visibility = string(e.Content)
		} else if e.Body() == "after" && !strings.Contains(visibility, `"joined"`) {
			t.Errorf("what is said is for readers of %s", visibility)
		}
	}
}
