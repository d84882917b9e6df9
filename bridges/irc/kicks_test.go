package irc_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit/ircv3"
)

// Who is kicked while the own connection breaks, and never hears of it, does not come back by themselves.
func TestAKickThatTheConnectionDoesNotHear(t *testing.T) {
	t.Parallel()
	m := startModern(t, ircv3.Options{}, nil)
	var ours, alices *ircv3.Client
	texts, notices := m.server.Command("PRIVMSG"), m.server.Command("NOTICE")
	m.server.Handle("PRIVMSG", func(s *ircv3.Server, c *ircv3.Client, message *ircv3.Message) {
		if c.Nick() == "alice" {
			alices = c
		}
		texts(s, c, message)
	})
	m.server.Handle("NOTICE", func(s *ircv3.Server, c *ircv3.Client, message *ircv3.Message) {
		if c.Nick() == "trestle" {
			ours = c
		}
		notices(s, c, message)
	})
	m.server.Handle("KICK", func(_ *ircv3.Server, _ *ircv3.Client, message *ircv3.Message) {
		ours.Send(ircv3.NewMessage("bob!bob@irc.test", "KICK", "#trestle", "alice", "enough"))
		alices.Break()
	})
	m.Say(m.room, alice, "blah")
	m.bob.Expect(":alice!", ":blah")
	stored(t, m.bob)
	m.bob.Send("KICK #trestle alice :enough")
	if e := m.WaitMembership(m.room, alice, "leave"); !strings.Contains(e.Reason(), "enough") {
		t.Errorf("alice is removed with %s", e.Content)
	}
}
