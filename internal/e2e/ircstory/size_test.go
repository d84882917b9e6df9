package ircstory_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// crowd is how many are in the channel: TEST_IRC_MEMBERS, or enough to be many.
func crowd(t *testing.T) int { return testkit.Size(t, "TEST_IRC_MEMBERS", 150) }

// gather has many people join the channel who say nothing and hear nothing, and waits until they are in.
func gather(t *testing.T, addr string, n int) {
	t.Helper()
	var joining, reading sync.WaitGroup
	t.Cleanup(reading.Wait)
	joining.Add(n)
	for i := range n {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(2 * patience))
		t.Cleanup(func() { conn.Close() })
		reading.Go(func() {
			lines := bufio.NewReader(conn)
			for {
				line, err := lines.ReadString('\n')
				if strings.Contains(line, " 001 ") {
					fmt.Fprint(conn, "JOIN #trestle\r\n")
				}
				if err != nil || strings.Contains(line, " 366 ") {
					break
				}
			}
			joining.Done()
			io.Copy(io.Discard, conn)
		})
		fmt.Fprintf(conn, "NICK guest%d\r\nUSER guest 0 * :Guest\r\n", i)
	}
	joining.Wait()
}

func TestAChannelOfManyIsThereInSeconds(t *testing.T) {
	irc := testkit.Inspircd(t, testkit.IRCOptions{})
	n := crowd(t)
	gather(t, irc.Addr, n)
	trestle := startTrestle(t, "", irc)
	alice := newPerson(t, trestle, "alice")
	began := time.Now()
	alice.joins(alias)
	t.Logf("alice is in after %s", time.Since(began))
	alice.Client.Client = http.DefaultClient // so large an answer takes the judge longer than the server
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for there := 0; there < n; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d are there after %s", there, n, patience)
		}
		members, err := alice.JoinedMembers(t.Context(), alice.room)
		if err != nil {
			t.Fatal(err)
		}
		there = 0
		for user, profile := range members.Joined {
			if user != alice.UserID && profile.DisplayName != "" && user != id.UserID("@irc_bot:localhost") {
				there++
			}
		}
	}
	t.Logf("%d members are there after %s", n, time.Since(began).Round(time.Millisecond))
}
