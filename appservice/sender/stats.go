package sender

import (
	"math"
	"time"
)

// rateSpan is the time over which the rate of delivery is averaged.
const rateSpan = 30 * time.Second

// stats is what a queue remembers of its work.
type stats struct {
	transactions, events, failures uint64

	attempts    int // failed ones of the current transaction
	nextAttempt time.Time
	lastError   string
	lastErrorAt time.Time
	lastSuccess time.Time
	duration    time.Duration // of the last successful request

	rate   float64 // events a second, at rateAt
	rateAt time.Time
}

func (s *stats) delivered(events int, begin, now time.Time) {
	s.transactions++
	s.events += uint64(events)
	s.lastSuccess, s.duration = now, now.Sub(begin)
	s.rate = s.rateNow(now) + float64(events)/rateSpan.Seconds()
	s.rateAt = now
}

// another is for when the first transaction is another one than before.
func (s *stats) another() { s.attempts, s.nextAttempt = 0, time.Time{} }

func (s *stats) failed(problem string, now, next time.Time) {
	s.failures++
	s.attempts++
	s.nextAttempt = next
	s.lastError, s.lastErrorAt = problem, now
}

// rateNow lets the rate decay.
func (s *stats) rateNow(now time.Time) float64 {
	if s.rateAt.IsZero() {
		return 0
	}
	return s.rate * math.Exp(-float64(now.Sub(s.rateAt))/float64(rateSpan))
}

// A Status is how the delivery to one service stands.
type Status struct {
	ID  string
	URL string

	// Live is false while the service is behind the stream by more than is
	// kept in memory.
	Live bool
	// Position is the place in the stream up to which everything of interest
	// has been frozen; Behind is how many positions have not been looked at.
	Position, Behind int64
	// Frozen and FrozenEvents are the transactions, and the events in them,
	// that wait for an answer; Queued are the events behind them that are in
	// memory already, and Unread those that are not.
	Frozen, FrozenEvents, Queued, Unread int
	// AtMost says that Unread may be too large: some of it has waited since before
	// the server started, and nobody has looked yet whether it is of interest.
	AtMost bool
	// Oldest is when the oldest event that is not delivered came about, or
	// zero.
	Oldest time.Time

	Transactions, Events, Failures uint64
	Rate                           float64 // events a second, of the last half minute
	LastSuccess                    time.Time
	LastDuration                   time.Duration

	// Current is the ID of the transaction that is sent or waits to be;
	// Attempts is how often it was tried in vain.
	Current     string
	Attempts    int
	NextAttempt time.Time // zero: now, or never while it is paused
	LastError   string
	LastErrorAt time.Time

	// Paused says that an operator has ended the delivery for now.
	Paused       bool
	PausedReason string
	PausedAt     time.Time
	// DeadLetters is how many transactions operators have taken out of the queue
	// that were neither sent again nor discarded.
	DeadLetters int
}

// Backlog is how many events wait.
func (s Status) Backlog() int { return s.FrozenEvents + s.Queued + s.Unread }

func (q *queue) status(now time.Time, dispatched, head int64) Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	st := &q.stats
	s := Status{
		ID: q.id, URL: q.reg.URL, Live: q.live, Position: q.safe(dispatched),
		Transactions: st.transactions, Events: st.events, Failures: st.failures,
		Rate: st.rateNow(now), LastSuccess: st.lastSuccess, LastDuration: st.duration,
		Attempts: st.attempts, NextAttempt: st.nextAttempt, LastError: st.lastError, LastErrorAt: st.lastErrorAt,
		Frozen: len(q.outbox), DeadLetters: q.letters, Unread: int(q.rest.events + q.rest.most), AtMost: q.rest.most > 0,
	}
	if p := q.paused; p != nil {
		s.Paused, s.PausedReason, s.PausedAt, s.NextAttempt = true, p.Reason, time.UnixMilli(p.Since), time.Time{}
	}
	seen := q.scanned
	if q.live {
		seen = max(seen, dispatched)
	}
	s.Behind = max(0, head-seen)
	for i, f := range q.outbox {
		if i == 0 {
			s.Current = f.ID
		}
		s.FrozenEvents += f.Events
		s.older(f.Oldest)
	}
	for _, c := range q.pending {
		if c.Kind == Event {
			s.Queued++
		}
		s.older(c.Time)
	}
	return s
}

func (s *Status) older(ms int64) {
	if t := time.UnixMilli(ms); ms > 0 && (s.Oldest.IsZero() || t.Before(s.Oldest)) {
		s.Oldest = t
	}
}
