package federation

import (
	"math/rand/v2"
	"sync"
	"time"

	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// A server that cannot be reached is left alone for a while: firstPause, and twice as long after
// each further failure.
const (
	firstPause   = 2 * time.Second
	longestPause = time.Hour
	// knownAway is how many such servers are remembered. It is forgotten with the process: to try once more costs little.
	knownAway = 8192
)

// backoff is which servers are left alone, and until when.
type backoff struct {
	now func() time.Time

	mu   sync.Mutex
	away *lru.Cache[matrix.ServerName, absence]
}

type absence struct {
	failures int
	since    time.Time // when the last failure was told of
	until    time.Time
}

func newBackoff(now func() time.Time) *backoff {
	return &backoff{now: now, away: lru.New[matrix.ServerName, absence](knownAway, nil)}
}

// until is when a server may be tried again; zero: now.
func (b *backoff) until(server matrix.ServerName) time.Time {
	known, ok := b.away.Get(server)
	if !ok || !b.now().Before(known.until) {
		return time.Time{}
	}
	return known.until
}

// failed is told that a request failed which began at a time. Requests that ran beside each other count
// as one.
func (b *backoff) failed(server matrix.ServerName, began time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	known, _ := b.away.Get(server)
	if known.failures > 0 && began.Before(known.since) {
		return known.until
	}
	now := b.now()
	pause := min(firstPause<<min(known.failures, 20), longestPause)
	pause -= time.Duration(rand.Int64N(int64(pause)/4 + 1)) // so that not all come back in the same moment
	known = absence{known.failures + 1, now, now.Add(pause)}
	b.away.Put(server, known)
	return known.until
}

// heard is told that a server is there.
func (b *backoff) heard(server matrix.ServerName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away.Delete(server)
}
