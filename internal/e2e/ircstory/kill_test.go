package ircstory_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/internal/testkit"
)

// numbered is how many messages go each way: TEST_KILL_MESSAGES, or enough for
// several deaths.
func numbered(t *testing.T) int { return testkit.Size(t, "TEST_KILL_MESSAGES", 600) }

// kill ends the server with SIGKILL at random moments until done is closed,
// and starts it again each time.
func kill(trestle *testkit.Trestle, random *rand.Rand, done <-chan struct{}) (deaths int) {
	for {
		wait := time.NewTimer(time.Duration(100+random.IntN(600)) * time.Millisecond)
		select {
		case <-done:
			return deaths
		case <-wait.C:
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
		sending.Go(func() {
			defer close(done)
			for i := 1; i <= n; i++ {
				alice.says(strconv.Itoa(i), text(fmt.Sprint("number ", i)))
			}
		})
		deaths := kill(trestle, rand.New(rand.NewPCG(1, 2)), done)
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

func TestNothingThatIRCSaysIsLost(t *testing.T) {
	onBoth(t, func(t *testing.T, irc *testkit.IRCServer, trestle *testkit.Trestle) {
		bob := testkit.DialIRC(t, irc.Addr, "bob")
		bob.Join("#trestle")
		alice := newPerson(t, trestle, "alice")
		alice.joins(alias)
		bob.Say("#trestle", "number 0")
		alice.hears(ghost, "m.text", "number 0")

		n, burst, deaths := numbered(t), 20, 0
		random := rand.New(rand.NewPCG(3, 4))
		for from := 1; from <= n; from += burst {
			for i := from; i < from+burst; i++ {
				bob.Say("#trestle", fmt.Sprint("number ", i))
			}
			// The bridge's answer says that all of it is stored.
			bob.Send(fmt.Sprintf("PRIVMSG trestle :\x01PING %d\x01", from))
			bob.Expect("NOTICE bob", fmt.Sprintf("PING %d\x01", from))
			if random.IntN(12) == 0 {
				trestle.Kill()
				bob.ExpectFunc("the bot going away", func(line string) bool {
					return strings.HasPrefix(line, ":trestle!") && strings.Contains(line, " QUIT ")
				})
				trestle.Start()
				bob.ExpectFunc("the bot coming back", func(line string) bool {
					return strings.HasPrefix(line, ":trestle!") && strings.Contains(line, " JOIN ")
				})
				deaths++
			}
		}
		final := fmt.Sprint("number ", n)
		alice.until(final, func(e *event.Event) bool { return e.Content.Raw["body"] == final })
		alice.mu.Lock()
		defer alice.mu.Unlock()
		last := 0
		for _, e := range alice.seen {
			body, _ := e.Content.Raw["body"].(string)
			text, found := strings.CutPrefix(body, "number ")
			if i, err := strconv.Atoi(text); found && i > 0 {
				if err != nil || i != last+1 {
					t.Fatalf("after %d comes %q; the server has died %d times", last, body, deaths)
				}
				last = i
			}
		}
		t.Logf("%d messages from IRC to Matrix, %d deaths: none lost, doubled or out of order", n, deaths)
	})
}

func TestTheChannelOutlivesItsServer(t *testing.T) {
	onBoth(t, func(t *testing.T, irc *testkit.IRCServer, trestle *testkit.Trestle) {
		bob := testkit.DialIRC(t, irc.Addr, "bob")
		bob.Join("#trestle")
		alice := newPerson(t, trestle, "alice")
		alice.joins(alias)
		alice.says("1", text("before"))
		bob.Expect(":alice", "PRIVMSG #trestle :before")
		irc.Kill()
		bob.Close()
		alice.says("2", text("into the void"))
		irc.Restart()
		bob = testkit.DialIRC(t, irc.Addr, "bob")
		bob.Send("JOIN #trestle")
		heard, watched := false, false
		bob.ExpectFunc("alice's message, and the bot in the channel", func(line string) bool {
			heard = heard || strings.HasPrefix(line, ":alice") && strings.Contains(line, "PRIVMSG #trestle :into the void")
			watched = watched || strings.HasPrefix(line, ":trestle!") && strings.Contains(line, " JOIN ") ||
				strings.Contains(line, " 353 ") && strings.Contains(line[strings.LastIndexByte(line, 0x3a):], "trestle")
			return heard && watched
		})
		bob.Say("#trestle", "back again")
		alice.hears(ghost, "m.text", "back again")
	})
}
