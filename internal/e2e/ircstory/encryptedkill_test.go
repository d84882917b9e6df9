package ircstory_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"trestle/internal/testkit"
)

// TestNothingThatIsEncryptedIsLost has messages go both ways in an encrypted room, with a new key
// every few, while the server is killed again and again.
func TestNothingThatIsEncryptedIsLost(t *testing.T) {
	t.Parallel()
	irc := testkit.Ngircd(t, testkit.IRCOptions{})
	trestle := encrypting(t, testkit.SQLite(t), irc, "users")
	alice := newConfidant(t, trestle, "alice")
	club := makeClub(alice)
	bob := joinClub(t, irc, trestle, alice, club)
	alice.says(club, "number 0")
	bob.Expect(":alice!", "PRIVMSG #club :number 0")
	n := testkit.Size(t, "TEST_KILL_MESSAGES", 60)

	done, deaths := make(chan struct{}), 0
	var dying sync.WaitGroup
	var said atomic.Int64
	dying.Go(func() { deaths = kill(trestle, rand.New(rand.NewPCG(5, 6)), n, &said, done) })
	for i := 1; i <= n; i++ {
		if i%7 == 0 {
			alice.must(alice.machine.CryptoStore.RemoveOutboundGroupSession(t.Context(), club))
		}
		alice.says(club, fmt.Sprint("number ", i))
		said.Store(int64(i))
		if i%100 == 0 {
			alice.keepUp()
		}
	}
	close(done)
	dying.Wait()
	last := 0
	for last < n {
		line := bob.Expect(":alice", "PRIVMSG #club :number ")
		_, text, _ := strings.Cut(line, ":number ")
		i, err := strconv.Atoi(text)
		if err != nil || i <= last {
			t.Fatalf("after %d comes %q; the server has died %d times", last, line, deaths)
		}
		for missing := last + 1; missing < i; missing++ {
			alice.until(fmt.Sprintf("that number %d is in doubt", missing), func() bool {
				return slices.ContainsFunc(alice.all(club, theBot), func(body string) bool {
					return strings.Contains(body, fmt.Sprintf("“number %d”", missing))
				})
			})
		}
		last = i
	}

	var want []string
	for from := 1; from <= n; from += 20 {
		for i := from; i < from+20; i++ {
			want = append(want, fmt.Sprint("answer ", i))
			bob.Say("#club", fmt.Sprint("answer ", i))
		}
		// The bridge's answer says that all of it is stored.
		bob.Send(fmt.Sprintf("PRIVMSG trestle :\x01PING %d\x01", from))
		bob.Expect("NOTICE bob", fmt.Sprintf("PING %d\x01", from))
		trestle.Kill()
		bob.ExpectFunc("the bot going away", func(line string) bool {
			return strings.HasPrefix(line, ":trestle!") && strings.Contains(line, " QUIT ")
		})
		trestle.Start()
		bob.ExpectFunc("the bot coming back", func(line string) bool {
			return strings.HasPrefix(line, ":trestle!") && strings.Contains(line, " JOIN ")
		})
		deaths++
		alice.keepUp()
	}
	var got []string
	alice.until("all answers", func() bool {
		got = alice.all(club, ghost)
		return slices.Contains(got, want[len(want)-1])
	})
	if !slices.Equal(got, want) {
		t.Errorf("after %d deaths alice reads %q", deaths, got)
	}
	t.Logf("%d messages each way, %d deaths", n, deaths)
}
