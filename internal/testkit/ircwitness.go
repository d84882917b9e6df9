package testkit

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An IRCWitness is bob, who comes back to #trestle when his server does, counts aloud, and writes down what
// alice counts: "number 1", "number 2", and so on.
type IRCWitness struct {
	addr string

	mu      sync.Mutex
	changed chan struct{}
	conn    net.Conn
	seen    IRCSeen
	late    bool // alice was in the channel before he was
	closed  bool
}

// IRCSeen is what a witness has seen.
type IRCSeen struct {
	Bot    bool // is in the channel
	Life   int  // how often he has connected
	Heard  []IRCHeard
	gone   int // how often the bot has left the channel
	stored int // the bridge has said that it has what bob said up to this number
	served int // so has the IRC server
}

// IRCHeard is a number that a witness has heard, in one of his lives. What alice has said before he was back,
// he has no part in.
type IRCHeard struct {
	Number, Life int
	late         bool
}

// NewIRCWitness has bob be there until the test ends.
func NewIRCWitness(t testing.TB, addr string) *IRCWitness {
	t.Helper()
	b := &IRCWitness{addr: addr, changed: make(chan struct{})}
	var living sync.WaitGroup
	living.Go(b.live)
	t.Cleanup(func() {
		b.set(func() {
			if b.closed = true; b.conn != nil {
				b.conn.Close()
			}
		})
		living.Wait()
	})
	return b
}

func (b *IRCWitness) live() {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for ; ; <-again.C {
		conn, err := net.Dial("tcp", b.addr)
		closed := false
		b.set(func() {
			if closed = b.closed; err == nil && closed {
				conn.Close()
			}
			b.conn, b.seen.Life = conn, b.seen.Life+1
		})
		if closed {
			return
		}
		if err != nil {
			continue
		}
		fmt.Fprint(conn, "NICK bob\r\nUSER bob 0 * :Bob\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			b.hear(conn, lines.Text())
		}
		conn.Close()
		b.set(func() { b.seen.Bot = false })
	}
}

func (b *IRCWitness) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *IRCWitness) hear(conn net.Conn, line string) {
	if token, ok := strings.CutPrefix(line, "PING "); ok {
		fmt.Fprintf(conn, "PONG %s\r\n", token)
		return
	}
	words := strings.SplitN(line, " ", 4)
	if len(words) < 3 {
		return
	}
	nick, _, _ := strings.Cut(strings.TrimPrefix(words[0], ":"), "!")
	switch words[1] {
	case "001":
		fmt.Fprint(conn, "JOIN #trestle\r\n")
	case "353":
		_, names, _ := strings.Cut(words[3], ":")
		for _, name := range strings.Fields(names) {
			switch strings.TrimLeft(name, "@+") {
			case "trestle":
				b.set(func() { b.seen.Bot = true })
			case "alice", "alice_":
				b.set(func() { b.late = true })
			}
		}
	case "JOIN", "QUIT", "PART":
		if nick == "trestle" {
			b.set(func() {
				if b.seen.Bot = words[1] == "JOIN"; !b.seen.Bot {
					b.seen.gone++
				}
			})
		}
	case "PRIVMSG":
		number, err := strconv.Atoi(strings.TrimPrefix(words[3], ":number "))
		if err == nil && strings.HasPrefix(nick, "alice") {
			b.set(func() {
				b.seen.Heard = append(b.seen.Heard, IRCHeard{number, b.seen.Life, b.late})
				b.late = false
			})
		}
	case "PONG":
		if number, err := strconv.Atoi(strings.TrimPrefix(words[len(words)-1], ":")); err == nil {
			b.set(func() { b.seen.served = max(b.seen.served, number) })
		}
	case "NOTICE":
		_, answer, _ := strings.Cut(line, "\x01PING ")
		if number, err := strconv.Atoi(strings.TrimSuffix(answer, "\x01")); err == nil && nick == "trestle" {
			b.set(func() { b.seen.stored = max(b.seen.stored, number) })
		}
	}
}

// Until waits for something that changes, or until the test is over.
func (b *IRCWitness) Until(over <-chan struct{}, met func(*IRCSeen) bool) bool {
	for {
		b.mu.Lock()
		changed, ok := b.changed, met(&b.seen)
		b.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-over:
			return false
		}
	}
}

// Count says the numbers from 1 to n, some at a time, and returns those that the bridge has
// said to have stored. Whether it has heard the others, nobody knows: its connection, or
// bob's, ended meanwhile.
func (b *IRCWitness) Count(over <-chan struct{}, progress func(), n int) (stored []int) {
	const burst = 20
	for at := 1; at <= n && b.Until(over, func(seen *IRCSeen) bool { return seen.Bot }); at += burst {
		last := min(at+burst-1, n)
		if b.Says(over, at, last) {
			for i := at; i <= last; i++ {
				stored = append(stored, i)
			}
			progress()
		}
	}
	return stored
}

// Says says some numbers, and asks until the bridge answers that it has them; which it does not do
// if it is asked too often.
func (b *IRCWitness) Says(over <-chan struct{}, from, to int) (stored bool) {
	b.mu.Lock()
	conn, gone := b.conn, b.seen.gone
	b.mu.Unlock()
	for i := from; i <= to; i++ {
		fmt.Fprintf(conn, "PRIVMSG #trestle :number %d\r\n", i)
	}
	for !stored {
		fmt.Fprintf(conn, "PRIVMSG trestle :\x01PING %d\x01\r\n", to)
		again, patient := make(chan struct{}), time.NewTimer(100*time.Millisecond)
		go func() {
			select {
			case <-patient.C:
			case <-over:
			}
			close(again)
		}()
		ended := false
		b.Until(again, func(*IRCSeen) bool {
			stored, ended = b.seen.stored >= to, b.seen.gone != gone || b.conn != conn
			return stored || ended
		})
		select {
		case <-over:
			return false
		default:
		}
		if ended {
			return false
		}
	}
	return true
}

// AskServer waits until the IRC server has dealt with what bob has said up to a number.
func (b *IRCWitness) AskServer(over <-chan struct{}, number int) {
	b.mu.Lock()
	conn := b.conn
	b.mu.Unlock()
	fmt.Fprintf(conn, "PING %d\r\n", number)
	b.Until(over, func(seen *IRCSeen) bool { return seen.served >= number })
}

// Last is the last number that the witness has heard; 0 if there is none.
func (b *IRCWitness) Last() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen.Last()
}

// Last is the last number.
func (s *IRCSeen) Last() int {
	if len(s.Heard) == 0 {
		return 0
	}
	return s.Heard[len(s.Heard)-1].Number
}
