package irc_test

import (
	"slices"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// While the bridge says goodbye nobody comes back: who did would stay when it is gone.
func TestNobodyIsLeftBehind(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	quit := server.Command("QUIT")
	server.Handle("QUIT", func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) {
		if c.Nick() != "trestle" { // who is let go late
			quit(s, c, m)
		}
	})
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Reconnect = irc.Backoff{First: time.Second, Max: time.Second}
	_, stop := start(t, h, c)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	join(t, h, alice, "alice", bob)
	server.Disconnect("alice")
	bob.Expect(":alice!", "QUIT")
	stop()
	deadline := time.Now().Add(2 * time.Minute)
	for !slices.Equal(server.Nicks(), []string{"bob"}) {
		if time.Now().After(deadline) {
			t.Fatalf("on IRC there are %v", server.Nicks())
		}
		time.Sleep(5 * time.Millisecond)
	}
}
