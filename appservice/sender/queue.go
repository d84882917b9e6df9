package sender

import (
	"context"
	"log/slog"
	"sync"

	"trestle/appservice"
	"trestle/registration"
)

const (
	// maxPending and maxPendingBytes bound the changes that wait in memory for
	// one service. One that falls behind further reads the stream by itself.
	maxPending      = 400
	maxPendingBytes = 2 << 20
)

// A queue is the delivery to one service. Two goroutines work on it: one takes
// changes and freezes them into transactions (fill.go), the other sends those
// one after another (deliver.go).
//
// A queue is live when the dispatcher hands it what it is interested in, and
// lagging when it reads the stream by itself from where it stopped.
type queue struct {
	id      string
	service *Service
	log     *slog.Logger

	filled signal // there may be something to freeze
	frozen signal // there may be something to send
	retry  signal // do not wait for the next attempt

	turn     turn       // whoever has it may send a transaction, or take one away
	counting sync.Mutex // one count of letters at a time

	stop func() // ends both goroutines
	done sync.WaitGroup

	ahead    *streamPage // what fill reads before it is wanted; fill's alone
	timeline timeline    // of what is read while lagging; fill's alone then

	mu       sync.Mutex
	reg      *registration.Registration
	link     *link
	live     bool
	interest *interest // while lagging
	scanned  int64     // lagging: the stream has been read up to here; live: not before here
	rest     rest      // while lagging: what is behind that
	pending  []Change
	cutting  int // how many of pending are just being frozen
	bytes    int // of pending
	offered  []Change
	outbox   []appservice.Frozen // not yet delivered
	number   int64               // of the newest frozen transaction
	epoch    string
	saved    int64   // the position in storage
	acked    int64   // the newest delivered transaction
	removed  int64   // the newest transaction gone from storage
	skipped  passage // of which no events are sent; written by fill under mu
	stats    stats

	paused   *appservice.Pause  // nil: it is not
	skipping int                // operators who want to take the first transaction away
	breakOff context.CancelFunc // ends the attempt under way
	doubts   int                // how often storage may know more of the queue than this
	settled  int                // how many of the doubts have been cleared
	changed  bool               // storage does know more, and an operator wanted that
	letters  int                // dead ones in storage
}

// A passage is a part of the stream: behind from, and up to upTo.
type passage struct{ from, upTo int64 }

func (p passage) has(position int64) bool { return position > p.from && position <= p.upTo }

// A signal wakes one goroutine; signals do not add up.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) send() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// A turn is had by one at a time; who waits for it gets it in order.
type turn chan struct{}

// take waits for the turn.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) leave() { <-t }

// take accepts changes from the dispatcher, which has handed out everything up
// to the position before. A live queue that is full becomes a lagging one.
func (q *queue) take(changes []Change, before int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if changes = q.wantedOf(changes); len(changes) == 0 {
		return
	}
	if !q.live {
		q.rest.add(changes, q.scanned)
		return
	}
	for len(changes) > 0 && changes[0].Position <= q.scanned {
		changes = changes[1:] // the queue has read that by itself
	}
	taken, news := 0, q.supersede(changes)
	for i, c := range changes {
		if taken == i && !q.room(changes[i:]) {
			q.live = false
			if i > 0 {
				before = changes[i-1].Position
			}
			q.scanned = max(q.scanned, before)
			q.timeline.reach(q.pending[len(q.pending)-1].Time)
			q.rest = rest{}
			q.rest.add(changes[i:], q.scanned)
			break
		}
		if news.has(i) {
			q.pending = append(q.pending, c)
			q.bytes += c.Size
		}
		if i+1 == len(changes) || changes[i+1].Position != c.Position {
			taken = i + 1 // positions are taken whole or not at all
		}
	}
	q.filled.send()
}

// news is which of some changes are not old beside a later one of them.
type news []bool

// has reports whether a change is worth keeping; no news at all are all that there is.
func (n news) has(i int) bool { return n == nil || n[i] }

// supersede drops what waits and is no news any more with newer changes. Each of these
// is taken now, or read again later.
func (q *queue) supersede(changes []Change) news {
	type subject struct {
		kind Kind
		key  string
	}
	var last map[subject]int
	for i := range changes {
		if c := &changes[i]; c.Key != "" {
			if last == nil {
				last = map[subject]int{}
			}
			last[subject{c.Kind, c.Key}] = i
		}
	}
	if len(last) == 0 {
		return nil
	}
	kept := q.pending[:q.cutting]
	for _, old := range q.pending[q.cutting:] {
		if _, newer := last[subject{old.Kind, old.Key}]; newer {
			q.bytes -= old.Size
			continue
		}
		kept = append(kept, old)
	}
	clear(q.pending[len(kept):])
	q.pending = kept
	are := make(news, len(changes))
	for i := range changes {
		c := &changes[i]
		are[i] = c.Key == "" || last[subject{c.Kind, c.Key}] == i
	}
	return are
}

// room reports whether the changes at the first of these positions fit in. An
// empty queue has room for anything.
func (q *queue) room(changes []Change) bool {
	if len(q.pending) == 0 {
		return true
	}
	count, bytes := len(q.pending), q.bytes
	for _, c := range changes {
		if c.Position != changes[0].Position {
			break
		}
		count++
		bytes += c.Size
	}
	return count <= maxPending && bytes <= maxPendingBytes
}

// safe is the position up to which everything of interest has been frozen.
// dispatched must have been read before.
func (q *queue) safe(dispatched int64) int64 {
	switch {
	case len(q.pending) > 0:
		return q.pending[0].Position - 1
	case q.live:
		return max(q.scanned, dispatched)
	}
	return q.scanned
}

// cursor is what storage should know, if it is worth a write.
func (q *queue) cursor(dispatched int64) (appservice.Cursor, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	position := q.safe(dispatched)
	return appservice.Cursor{Service: q.id, Epoch: q.epoch, Position: position, Number: q.number},
		q.epoch != "" && position > q.saved
}

// savedAt notes the position in storage.
func (q *queue) savedAt(c appservice.Cursor) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.Number == q.number {
		q.saved = max(q.saved, c.Position)
	}
}

// register puts another registration of the same service in force.
func (q *queue) register(reg *registration.Registration) {
	q.mu.Lock()
	old := q.reg
	q.reg = reg
	if old == nil || old.URL != reg.URL || old.HSToken != reg.HSToken || old.Previous != reg.Previous || old.QueryToken != reg.QueryToken {
		if q.link != nil {
			q.link.close()
		}
		q.link = newLink(q.service.opts, reg)
	}
	if old != nil && old.URL != reg.URL && q.breakOff != nil {
		q.breakOff() // nobody is where this attempt went, or will be
	}
	q.mu.Unlock()
	if old != nil {
		q.retry.send()
	}
}

func (q *queue) registered() *registration.Registration {
	reg, _ := q.to()
	return reg
}

func (q *queue) to() (*registration.Registration, *link) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.reg, q.link
}

// failing reports whether the service refuses its current transaction.
func (q *queue) failing() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stats.attempts > 0
}
