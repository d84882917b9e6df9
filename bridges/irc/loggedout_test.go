package irc_test

import (
	"fmt"
	"path/filepath"
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
	for i := range 3 {
		server.LogOut("alice")
		text := fmt.Sprint("as al ", i)
		h.Say(room, alice, text)
		if line := bob.Expect(":alice!", "PRIVMSG #trestle :"+text); tag(line, "account") != "al" {
			t.Errorf("%q is said by %q", text, line)
		}
	}
}
