package irc_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// What the bot says for somebody survives kill -9 as what puppets say does: each line once, but for
// the one that was just being handed over, of which the room is told.
func TestKillingTheBridgeThatSpeaksForAlice(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		const numbers, killEvery = 160, 50
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		p := startProcess(t, h, server.Addr, func(args *childArgs) { args.Relay = irc.RelayOnly })
		bob.Expect(":trestle!", "JOIN")
		room := relayed(t, h, alice, "alice")
		var said, heard []int
		for i := 1; i <= numbers; i++ {
			h.Say(room, alice, fmt.Sprint(i))
			said = append(said, i)
			if i%killEvery == 0 {
				p.kill()
				p.start()
			}
			time.Sleep(2 * time.Millisecond) // a pace, not a wait for something
		}
		h.Say(room, alice, "the end")
		bob.ExpectFunc("the end", func(line string) bool {
			_, text, ok := strings.Cut(line, "PRIVMSG #trestle :<alice> ")
			if n, err := strconv.Atoi(text); ok && err == nil {
				heard = append(heard, n)
			}
			return text == "the end"
		})
		marked := len(h.Events(room, func(e fakehomeserver.Event) bool {
			return e.Sender == bot && isMessage(e) && (strings.Contains(e.Body(), "may not be there") || strings.Contains(e.Body(), "may be there twice"))
		}))
		tally := testkit.TallyNumbers(heard, said)
		t.Logf("%v, %d marked", tally, marked)
		if tally.Lost+tally.Doubled > marked || tally.Disordered > 0 {
			t.Errorf("%v", tally.Where)
		}
	})
}
