package irc_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/internal/testkit/fakehomeserver"
)

// A witness is bob, who is always there: when the server goes away he comes back before
// the bridge does.
type witness struct {
	t    *testing.T
	addr string

	mu      sync.Mutex
	changed chan struct{}
	conn    net.Conn
	present bool         // the bot is in the channel
	late    bool         // alice was in the channel before bob was back, and may have spoken
	missed  map[int]bool // what she may have said then
	heard   []int
	acked   int // what the bridge has stored of bob's numbers: all below, as far as they were not doubtful
	closed  bool
}

func newWitness(t *testing.T, addr string) *witness {
	w := &witness{t: t, addr: addr, changed: make(chan struct{}), missed: map[int]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run()
	}()
	t.Cleanup(func() {
		w.mu.Lock()
		w.closed = true
		if w.conn != nil {
			w.conn.Close()
		}
		w.mu.Unlock()
		<-done
	})
	return w
}

func (w *witness) run() {
	for {
		conn, err := net.Dial("tcp", w.addr)
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return
		}
		w.conn = conn
		w.mu.Unlock()
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		fmt.Fprint(conn, "NICK bob\r\nUSER bob 0 * :Bob\r\n")
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			w.hear(conn, lines.Text())
		}
		conn.Close()
		w.set(func() { w.present = false })
	}
}

func (w *witness) set(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *witness) hear(conn net.Conn, line string) {
	if strings.HasPrefix(line, "PING") {
		fmt.Fprintf(conn, "PONG%s\r\n", strings.TrimPrefix(line, "PING"))
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
		if strings.Contains(words[3][strings.LastIndex(words[3], ":")+1:], "alice") {
			w.set(func() { w.late = true })
		}
		if strings.Contains(line, "trestle ") || strings.HasSuffix(line, "trestle") && strings.Contains(words[3], ":") {
			names := strings.Fields(words[3][strings.LastIndex(words[3], ":")+1:])
			for _, name := range names {
				if strings.TrimLeft(name, "@+") == "trestle" {
					w.set(func() { w.present = true })
				}
			}
		}
	case "JOIN":
		if nick == "trestle" {
			w.set(func() { w.present = true })
		}
	case "QUIT", "PART", "KICK":
		if nick == "trestle" {
			w.set(func() { w.present = false })
		}
	case "PRIVMSG":
		if n, err := strconv.Atoi(strings.TrimPrefix(words[3], ":")); err == nil && strings.HasPrefix(nick, "alice") {
			w.set(func() {
				for at := n - 1; w.late && len(w.heard) > 0 && at > w.heard[len(w.heard)-1]; at-- {
					w.missed[at] = true
				}
				w.late, w.heard = false, append(w.heard, n)
			})
		}
	case "NOTICE":
		if _, number, ok := strings.Cut(line, "\x01PING "); ok && nick == "trestle" {
			if n, err := strconv.Atoi(strings.TrimSuffix(number, "\x01")); err == nil {
				w.set(func() { w.acked = max(w.acked, n) })
			}
		}
	}
}

// until waits for a condition of the witness.
func (w *witness) until(what string, limit time.Duration, ok func() bool) bool {
	timeout := time.After(limit)
	for {
		w.mu.Lock()
		changed, done := w.changed, ok()
		w.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-timeout:
			if what != "" {
				w.t.Errorf("waited for %s", what)
			}
			return false
		}
	}
}

// count says the numbers from 1 to n, ten at a time, and returns those that the bridge
// has acknowledged. Those that it had not when it, or the server, went away are
// anybody's guess; bob goes on with the next.
func (w *witness) count(n int) (acked []int) {
	const burst = 10
	for at := 1; at <= n; at += burst {
		w.until("the bridge's bot", 60*time.Second, func() bool { return w.present })
		w.mu.Lock()
		conn := w.conn
		w.mu.Unlock()
		for i := at; i < at+burst; i++ {
			fmt.Fprintf(conn, "PRIVMSG #trestle :%d\r\n", i)
		}
		fmt.Fprintf(conn, "PRIVMSG trestle :\x01PING %d\x01\r\n", at+burst)
		w.until("", 10*time.Second, func() bool { return w.acked >= at+burst || !w.present || w.conn != conn })
		w.mu.Lock()
		if w.acked >= at+burst {
			for i := at; i < at+burst; i++ {
				acked = append(acked, i)
			}
		}
		w.mu.Unlock()
	}
	return acked
}

// checkHeard compares what IRC heard of alice's numbers with what she said.
// torn lines are those that the server was just showing around when it was killed:
// if the bot was shown one and bob was not, or the other way round, nobody can help it.
func (w *witness) checkHeard(h *fakehomeserver.Homeserver, room string, n, torn int) {
	w.t.Helper()
	w.until("alice's last number", 120*time.Second, func() bool {
		return len(w.heard) > 0 && w.heard[len(w.heard)-1] == n
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	marked := map[int]bool{}
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == bot }) {
		_, quoted, _ := strings.Cut(e.Body(), "“")
		if number, err := strconv.Atoi(strings.TrimSuffix(quoted, "”")); err == nil {
			marked[number] = true
		}
	}
	heard := once(w.heard, marked)
	// A line that was on its way when everything ended may be lost, if people are told.
	// And what she said while nobody but the bot was there to hear it is nobody's loss.
	certain := slices.DeleteFunc(sequence(n), func(number int) bool { return marked[number] || w.missed[number] })
	lost, doubled, disordered := compare(heard, certain)
	if len(marked) > kills {
		w.t.Errorf("%d lines are said to be in doubt after %d kills", len(marked), kills)
	}
	w.t.Logf("Matrix → IRC: %d said, %d of them before bob was back, %d lost without a word, %d doubled, %d out of order; %d are marked as doubtful, %d of these came twice",
		n, len(w.missed), lost, doubled, disordered, len(marked), len(w.heard)-len(heard))
	if disordered > 0 || lost+doubled > torn {
		w.t.Errorf("IRC heard %v", gaps(w.heard))
	}
}

// once drops the repeats of numbers that the bridge itself has marked as doubtful.
func once(list []int, marked map[int]bool) (kept []int) {
	seen := map[int]bool{}
	for _, n := range list {
		if !marked[n] || !seen[n] {
			kept = append(kept, n)
		}
		seen[n] = true
	}
	return kept
}

func sequence(n int) (list []int) {
	for i := 1; i <= n; i++ {
		list = append(list, i)
	}
	return list
}

// compare counts what of want is not in got, what is in got more than once, and
// what comes before something smaller.
func compare(got, want []int) (lost, doubled, disordered int) {
	seen := map[int]int{}
	for i, n := range got {
		seen[n]++
		if i > 0 && n < got[i-1] {
			disordered++
		}
	}
	for _, n := range want {
		if seen[n] == 0 {
			lost++
		}
	}
	for _, times := range seen {
		doubled += times - 1
	}
	return lost, doubled, disordered
}

// gaps shows where a list of numbers does not go on by one.
func gaps(list []int) string {
	var text strings.Builder
	for i := 1; i < len(list); i++ {
		if list[i] != list[i-1]+1 {
			fmt.Fprintf(&text, "%d then %d; ", list[i-1], list[i])
		}
	}
	return text.String()
}
