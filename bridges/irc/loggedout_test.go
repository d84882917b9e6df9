package irc_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

func TestWhoIsLoggedOutLogsInAgain(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{Accounts: map[string]string{"al": secret}})
	c := config(h, server.Addr, t.TempDir())
	c.KeyFile = filepath.Join(t.TempDir(), "irc.keys")
	start(t, h, c)
	bob := testkit.DialIRC(t, server.Addr, "bob", "CAP REQ :account-tag message-tags")
	bob.Join("#trestle")
	room := join(t, h, alice, "alice", bob)
	server.LogOut("alice") // who never asked to be logged in has nothing to lose
	h.Say(room, alice, "as nobody")
	bob.Expect(":alice!", "as nobody")
	k := newTalk(t, h)
	k.says("username al")
	k.hears("is al.")
	k.says("storepass " + secret)
	k.hears("is kept, sealed")
	bob.Expect(":alice!", "JOIN")
	// The bridge has heard that she is logged out when it answers what the server says then, or is back already.
	// What she says before is nobody's.
	heard := make(chan string, 100_000)
	for _, command := range []string{"PONG", "AUTHENTICATE"} {
		next := server.Command(command)
		server.Handle(command, func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) {
			heard <- command + " " + m.Param(0)
			next(s, c, m)
		})
	}
	for i := range 3 {
		for len(heard) > 0 {
			<-heard
		}
		server.LogOut("alice")
		answered := false
		eventually(t, "the bridge hears that alice is logged out", func() bool {
			server.Inject("alice", fmt.Sprint("PING out", i))
			for len(heard) > 0 {
				got := <-heard
				answered = answered || got == fmt.Sprint("PONG out", i) || strings.HasPrefix(got, "AUTHENTICATE ")
			}
			return answered
		})
		text := fmt.Sprint("as al ", i)
		h.Say(room, alice, text)
		if line := bob.Expect(":alice!", "PRIVMSG #trestle :"+text); tag(line, "account") != "al" {
			t.Errorf("%q is said by %q", text, line)
		}
	}
}
