package ircstory_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/internal/testkit"
)

// numbered is how many messages go each way: TEST_KILL_MESSAGES, or enough for
// several deaths.
func numbered(t *testing.T) int { return testkit.Size(t, "TEST_KILL_MESSAGES", 600) }

// kill ends the server with SIGKILL until done is closed, and starts it again
// each time: some five times while n messages are said, or every few hundred. How
// far they are decides when, not a clock, or a slow machine would do little else
// than start servers; then it is some random moment.
func kill(trestle *testkit.Trestle, random *rand.Rand, n int, said *atomic.Int64, done <-chan struct{}) (deaths int) {
	few := max(2, min(n/5, 300))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		next := said.Load() + int64(few/2+random.IntN(few))
		for moments := random.IntN(30); said.Load() < next || moments > 0; {
			select {
			case <-done:
				return deaths
			case <-tick.C:
				if said.Load() >= next {
					moments--
				}
			}
		}
		trestle.Kill()
		trestle.Start()
		deaths++
	}
}

// isTold checks that the bridge has said of a number that it may be lost: of
// the one line that it was writing when it was killed it cannot know.
func (p *person) isTold(number int) {
	p.t.Helper()
	p.until(fmt.Sprintf("that number %d is in doubt", number), func(e *event.Event) bool {
		body, _ := e.Content.Raw["body"].(string)
		return e.Sender == "@irc_bot:localhost" && strings.Contains(body, fmt.Sprintf("“number %d”", number))
	})
}

func TestNothingThatMatrixSaysIsLost(t *testing.T) {
	onBoth(t, func(t *testing.T, irc *testkit.IRCServer, trestle *testkit.Trestle) {
		bob := testkit.DialIRC(t, irc.Addr, "bob")
		bob.Join("#trestle")
		alice := newPerson(t, trestle, "alice")
		alice.joins(alias)
		alice.says("first", text("number 0"))
		bob.Expect(":alice", "PRIVMSG #trestle :number 0")

		n := numbered(t)
		done := make(chan struct{})
		var sending sync.WaitGroup
		var said atomic.Int64
		sending.Go(func() {
			defer close(done)
			for i := 1; i <= n; i++ {
				alice.says(strconv.Itoa(i), text(fmt.Sprint("number ", i)))
				said.Store(int64(i))
			}
		})
		deaths := kill(trestle, rand.New(rand.NewPCG(1, 2)), n, &said, done)
		sending.Wait()
		last := 0
		for last < n {
			line := bob.Expect(":alice", "PRIVMSG #trestle :number ")
			_, text, _ := strings.Cut(line, ":number ")
			i, err := strconv.Atoi(text)
			if err != nil || i <= last {
				t.Fatalf("after %d comes %q; the server has died %d times", last, line, deaths)
			}
			for missing := last + 1; missing < i; missing++ {
				alice.isTold(missing)
			}
			last = i
		}
		if deaths == 0 {
			t.Error("the server has never died")
		}
		t.Logf("%d messages from Matrix to IRC, %d deaths: none lost without a word, doubled or out of order", n, deaths)
	})
}

func TestTheChannelOutlivesItsServer(t *testing.T) {
	inTurn(t, func(t *testing.T, irc *testkit.IRCServer, trestle *testkit.Trestle) {
		bob := testkit.DialIRC(t, irc.Addr, "bob")
		bob.Join("#trestle")
		alice := newPerson(t, trestle, "alice")
		alice.joins(alias)
		alice.says("1", text("before"))
		bob.Expect(":alice", "PRIVMSG #trestle :before")
		irc.Kill()
		bob.Close()
		alice.says("2", text("into the void"))
		trestle.Freeze() // else alice may say it before bob is there to hear it
		irc.Restart()
		bob = testkit.DialIRC(t, irc.Addr, "bob")
		bob.Join("#trestle")
		trestle.Thaw()
		heard, watched := false, false
		bob.ExpectFunc("alice's message, and the bot in the channel", func(line string) bool {
			heard = heard || strings.HasPrefix(line, ":alice") && strings.Contains(line, "PRIVMSG #trestle :into the void")
			watched = watched || strings.HasPrefix(line, ":trestle!") && strings.Contains(line, " JOIN ")
			return heard && watched
		})
		bob.Say("#trestle", "back again")
		alice.hears(ghost, "m.text", "back again")
	})
}
