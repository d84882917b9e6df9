package outbox

import (
	"sync"
	"sync/atomic"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// An inbox takes in what the desk has to look at. Putting something in never blocks.
type inbox struct {
	signal chan struct{} // capacity 1
	// curious is how many destinations wait to be heard from.
	curious atomic.Int64

	mu     sync.Mutex
	more   map[matrix.ServerName]int // how many events have come to those that wait
	voices map[matrix.ServerName]struct{}
}

func newInbox() *inbox {
	return &inbox{signal: make(chan struct{}, 1), more: map[matrix.ServerName]int{}, voices: map[matrix.ServerName]struct{}{}}
}

func (b *inbox) added(events []storage.Addressed) {
	if len(events) == 0 {
		return
	}
	b.mu.Lock()
	for _, e := range events {
		for _, name := range e.To {
			b.more[name]++
		}
	}
	b.mu.Unlock()
	b.ring()
}

func (b *inbox) heard(server matrix.ServerName) {
	if b.curious.Load() == 0 {
		return
	}
	b.mu.Lock()
	b.voices[server] = struct{}{}
	b.mu.Unlock()
	b.ring()
}

func (b *inbox) ring() {
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

func (b *inbox) empty() (more map[matrix.ServerName]int, voices map[matrix.ServerName]struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	// What is handed out is not shared any more.
	if len(b.more) > 0 {
		more, b.more = b.more, map[matrix.ServerName]int{}
	}
	if len(b.voices) > 0 {
		voices, b.voices = b.voices, map[matrix.ServerName]struct{}{}
	}
	return more, voices
}
