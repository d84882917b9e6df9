package irc_test

import (
	"fmt"
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// A server that takes less at once than the configuration says ends the connection of who says much. The bridge
// slows down, instead of coming back to say the rest as fast.
func TestTheBridgeSlowsDownForAServer(t *testing.T) {
	t.Parallel()
	server := testkit.Inspircd(t, testkit.IRCOptions{Strict: true})
	h := fakehomeserver.New(t)
	c := config(h, server.Addr, t.TempDir())
	start(t, h, c)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	room := join(t, h, alice, "alice", bob)
	const lines = 350
	for i := range lines {
		h.Say(room, alice, fmt.Sprint("number ", i+1))
	}
	ended, heard := 0, 0
	bob.ExpectFunc("the last of what alice says", func(line string) bool {
		switch {
		case !strings.HasPrefix(line, ":alice!"):
		case strings.Contains(line, " QUIT "):
			ended++
		case strings.Contains(line, " PRIVMSG "):
			heard++
		}
		return strings.HasSuffix(line, fmt.Sprint(":number ", lines))
	})
	t.Logf("%d lines of %d heard, %d connections ended", heard, lines, ended)
	if ended == 0 || ended > 5 {
		t.Errorf("%d connections were ended", ended)
	}
}
