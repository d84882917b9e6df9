package testkit

import (
	"bufio"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// An IRCClient is bob: a raw client that shares no code with the bridge. It
// answers PING by itself.
type IRCClient struct {
	Nick string

	t       testing.TB
	conn    net.Conn
	mu      sync.Mutex
	lines   []string // not yet looked at by Expect
	seen    []string // the last ones before these, for failures
	ended   bool
	changed chan struct{} // closed and made anew at each line
}

// DialIRC connects and registers; the test fails if that fails. The lines of
// before are sent first (PASS, CAP REQ).
func DialIRC(t testing.TB, addr, nick string, before ...string) *IRCClient {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, ircPatience)
	if err != nil {
		t.Fatal(err)
	}
	c := &IRCClient{Nick: nick, t: t, conn: conn, changed: make(chan struct{})}
	t.Cleanup(c.Close)
	go c.read()
	for _, line := range before {
		c.Send(line)
	}
	c.Send("NICK " + nick)
	c.Send("USER " + strings.ToLower(nick) + " 0 * :" + nick)
	if len(before) > 0 {
		c.Send("CAP END")
	}
	c.ExpectFunc("the end of the welcome", func(line string) bool {
		fields := strings.Fields(line)
		return len(fields) > 1 && (fields[1] == "376" || fields[1] == "422")
	})
	return c
}

func (c *IRCClient) read() {
	lines := bufio.NewReader(c.conn)
	for {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if answer, ok := strings.CutPrefix(line, "PING "); ok {
			c.conn.Write([]byte("PONG " + answer + "\r\n"))
			continue
		}
		c.mu.Lock()
		if err == nil {
			c.lines = append(c.lines, line)
		}
		c.ended = err != nil
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Send sends one raw line.
func (c *IRCClient) Send(line string) {
	c.t.Helper()
	c.conn.SetWriteDeadline(time.Now().Add(ircPatience))
	if _, err := c.conn.Write([]byte(line + "\r\n")); err != nil {
		c.t.Errorf("%s sends %q: %v", c.Nick, line, err)
	}
}

// Join joins a channel and waits until it is in.
func (c *IRCClient) Join(channel string) {
	c.t.Helper()
	c.Send("JOIN " + channel)
	c.Expect(" 366 ", channel)
}

// Say sends a PRIVMSG.
func (c *IRCClient) Say(target, text string) {
	c.t.Helper()
	c.Send("PRIVMSG " + target + " :" + text)
}

// Expect waits for the next line that contains all parts, and returns it;
// lines before it are skipped.
func (c *IRCClient) Expect(parts ...string) string {
	c.t.Helper()
	return c.ExpectFunc(strings.Join(parts, " … "), func(line string) bool {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				return false
			}
		}
		return true
	})
}

// ExpectFunc is Expect with any condition; what names it when it does not come true.
func (c *IRCClient) ExpectFunc(what string, match func(line string) bool) string {
	c.t.Helper()
	timeout := time.NewTimer(ircPatience)
	defer timeout.Stop()
	for {
		line, found, ended, changed := c.next(match)
		if found {
			return line
		}
		if ended {
			c.fail("the connection ended, waiting for", what)
		}
		select {
		case <-changed:
		case <-timeout.C:
			c.fail("did not get", what)
		}
	}
}

// ExpectEach waits until each of the texts was in a line, in any order: what
// different people say, or what one person says in different places, has none.
func (c *IRCClient) ExpectEach(texts ...string) {
	c.t.Helper()
	missing := slices.Clone(texts)
	c.ExpectFunc(strings.Join(texts, " and "), func(line string) bool {
		missing = slices.DeleteFunc(missing, func(text string) bool { return strings.Contains(line, text) })
		return len(missing) == 0
	})
}

// ExpectJoins waits until each of some has come into a channel, in any order.
func (c *IRCClient) ExpectJoins(nicks ...string) {
	c.t.Helper()
	missing := slices.Clone(nicks)
	c.ExpectFunc("joins of "+strings.Join(nicks, " and "), func(line string) bool {
		missing = slices.DeleteFunc(missing, func(nick string) bool {
			return strings.HasPrefix(line, ":"+nick+"!") && strings.Contains(line, " JOIN ")
		})
		return len(missing) == 0
	})
}

// next takes the lines that there are, up to the first that matches.
func (c *IRCClient) next(match func(string) bool) (line string, found, ended bool, changed chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.lines) > 0 {
		line, c.lines = c.lines[0], c.lines[1:]
		c.seen = append(c.seen, line)
		if match(line) {
			return line, true, false, nil
		}
	}
	return "", false, c.ended, c.changed
}

func (c *IRCClient) fail(how, what string) {
	c.t.Helper()
	c.mu.Lock()
	last := strings.Join(c.seen[max(0, len(c.seen)-20):], "\n\t")
	c.mu.Unlock()
	c.t.Fatalf("%s: %s %q. The last lines:\n\t%s", c.Nick, how, what, last)
}

// Close drops the connection.
func (c *IRCClient) Close() { c.conn.Close() }
