package wire

import (
	"slices"
	"sync"
	"time"
)

// A queue holds the lines that wait to be sent. Its tokens run out when lines are taken
// faster than the server allows.
type queue struct {
	wake chan struct{} // capacity 1: there is something to do

	mu     sync.Mutex
	size   int
	first  [][]byte // PING, PONG and registration: past everything, free of tokens
	lines  []queued
	space  chan struct{} // closed when lines are taken, if somebody waits
	flood  Flood
	tokens int
	filled time.Time // when tokens was right
}

type queued struct {
	line []byte // or several, that nothing may come between
	text bool   // PRIVMSG and the like, which may be overtaken
	cost int    // tokens
}

func (q *queue) init(size int, flood Flood, now time.Time) {
	flood.Burst = max(flood.Burst, 1)
	q.wake = make(chan struct{}, 1)
	q.size, q.flood, q.tokens, q.filled = size, flood, flood.Burst, now
}

// maxUrgent is how many urgent lines wait for a server that asks and does not read.
const maxUrgent = 256

// urgent puts a line in front.
func (q *queue) urgent(line []byte) {
	q.mu.Lock()
	if len(q.first) < maxUrgent {
		q.first = append(q.first, line)
	}
	q.mu.Unlock()
	q.nudge()
}

// put adds a line unless the queue is full; then it returns a channel that is closed when
// that may have changed.
func (q *queue) put(line []byte, command string, cost int) (full <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) >= q.size {
		if q.space == nil {
			q.space = make(chan struct{})
		}
		return q.space
	}
	at := len(q.lines)
	if overtakes(command) {
		for at > 0 && q.lines[at-1].text {
			at--
		}
	}
	q.lines = slices.Insert(q.lines, at, queued{line, isText(command), cost})
	q.nudge()
	return nil
}

// spare adds a line if the queue is empty and more than half of the burst is left.
func (q *queue) spare(line []byte, command string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fill(time.Now())
	if len(q.lines) > 0 || q.flood.Interval > 0 && 2*q.tokens <= q.flood.Burst {
		return false
	}
	q.lines = append(q.lines, queued{line, isText(command), 1})
	q.nudge()
	return true
}

// overtakes names the commands that go ahead of texts that wait, since nothing that was
// said changes by them: a moderator's kick should not wait behind a long paste. They do
// not overtake other commands.
func overtakes(command string) bool {
	switch command {
	case "KICK", "MODE", "INVITE", "REMOVE", "REDACT", "AWAY", "WHO", "WHOIS", "NAMES", "MONITOR", "LIST":
		return true
	}
	return false
}

func (q *queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// maxWrite is how many bytes are written at once.
const maxWrite = 4096

// take returns the lines that may go out now, and how long the next has to wait: 0 if it
// need not, negative if there is none.
func (q *queue) take(now time.Time) (out []byte, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.first) > 0 && len(out) < maxWrite {
		out, q.first = append(out, q.first[0]...), q.first[1:]
	}
	q.fill(now)
	free := q.flood.Interval <= 0
	taken := 0
	for taken < len(q.lines) && len(out) < maxWrite && (free || q.tokens > 0) {
		out = append(out, q.lines[taken].line...)
		q.tokens -= q.lines[taken].cost
		taken++
	}
	q.lines = slices.Delete(q.lines, 0, taken)
	if taken > 0 && q.space != nil {
		close(q.space)
		q.space = nil
	}
	switch {
	case len(out) >= maxWrite:
		return out, 0
	case len(q.lines) == 0:
		q.first, q.lines = nil, nil
		return out, -1
	}
	return out, max(q.filled.Add(q.flood.Interval*time.Duration(1-q.tokens)).Sub(now), 0)
}

// fill adds the tokens that have come since the last time.
func (q *queue) fill(now time.Time) {
	if q.flood.Interval <= 0 {
		q.tokens = q.flood.Burst
		return
	}
	n := int(now.Sub(q.filled) / q.flood.Interval)
	if n <= 0 {
		return
	}
	q.filled = q.filled.Add(time.Duration(n) * q.flood.Interval)
	if q.tokens += n; q.tokens >= q.flood.Burst {
		q.tokens, q.filled = q.flood.Burst, now
	}
}

// slow is called when the server says that we are too fast: the burst is over, and some
// intervals pass before the next line.
func (q *queue) slow() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.flood.Interval > 0 {
		q.tokens = min(q.tokens, -2)
	}
}
