package wire_test

import (
	"fmt"
	"sync"
	"testing"

	"trestle/bridges/irc/wire"
	"trestle/internal/testkit/ircv3"
)

// A channel is joined for several reasons at once, and the server answers only the first to ask: nobody waits for
// an answer that has just come.
func TestJoiningForSeveralReasonsAtOnce(t *testing.T) {
	server := ircv3.Start(t, ircv3.Options{})
	c, _ := dial(t, wire.Options{Addr: server.Addr, Nick: "bot", Flood: &wire.Flood{Burst: 10000}})
	ctx := withTimeout(t)
	for i := range 300 {
		channel := fmt.Sprint("#c", i)
		if err := c.Send(ctx, wire.NewMessage("JOIN", channel)); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := c.JoinChannel(ctx, channel, ""); err != nil {
					t.Errorf("%s: %v", channel, err)
				}
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
	}
}
