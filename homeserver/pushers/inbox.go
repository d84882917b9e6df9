package pushers

import (
	"math/rand/v2"
	"sync"
	"time"

	"trestle/internal/matrix"
)

// An inbox takes in what the desk has to look at. Putting something in never
// blocks, because that is done while transactions are committed.
type inbox struct {
	signal chan struct{} // capacity 1

	mu      sync.Mutex
	woken   map[matrix.UserID]struct{}
	changed map[matrix.UserID]struct{}
}

func newInbox() *inbox {
	return &inbox{signal: make(chan struct{}, 1), woken: map[matrix.UserID]struct{}{}, changed: map[matrix.UserID]struct{}{}}
}

func (b *inbox) wake(users []matrix.UserID) {
	b.mu.Lock()
	for _, user := range users {
		b.woken[user] = struct{}{}
	}
	b.mu.Unlock()
	b.ring()
}

func (b *inbox) change(user matrix.UserID) {
	b.mu.Lock()
	b.changed[user] = struct{}{}
	b.mu.Unlock()
	b.ring()
}

// later puts a user back whose pushers could not be read, and lets the desk
// look again with its next result or alarm rather than at once.
func (b *inbox) later(user matrix.UserID) {
	b.mu.Lock()
	b.changed[user] = struct{}{}
	b.mu.Unlock()
	time.AfterFunc(time.Second, b.ring)
}

func (b *inbox) ring() {
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

func (b *inbox) empty() (woken, changed map[matrix.UserID]struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// What is handed out is not shared any more.
	if len(b.woken) > 0 {
		woken, b.woken = b.woken, map[matrix.UserID]struct{}{}
	}
	if len(b.changed) > 0 {
		changed, b.changed = b.changed, map[matrix.UserID]struct{}{}
	}
	return woken, changed
}

// pause is how long to wait after a number of failures in a row: it doubles up
// to the longest, and is shortened by up to half at random, so that what failed
// together does not come back together.
func pause(failures int, first, longest time.Duration) time.Duration {
	d := longest
	if shift := failures - 1; shift < 30 && first<<shift < longest {
		d = first << shift
	}
	return d/2 + rand.N(d/2+1)
}
