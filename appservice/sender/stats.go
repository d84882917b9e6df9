package sender

import (
	"math"
	"time"

	"trestle/appservice"
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

func (s *stats) delivered(f appservice.Frozen, begin, now time.Time) {
	s.transactions++
	s.events += uint64(f.Events)
	s.attempts, s.nextAttempt = 0, time.Time{}
	s.lastSuccess, s.duration = now, now.Sub(begin)
	s.rate = s.rateNow(now) + float64(f.Events)/rateSpan.Seconds()
	s.rateAt = now
}

func (s *stats) failed(err error, now, next time.Time) {
	s.failures++
	s.attempts++
	s.nextAttempt = next
	s.lastError, s.lastErrorAt = err.Error(), now
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
	// that wait for an answer; Queued are the events behind them that are known
	// already.
	Frozen, FrozenEvents, Queued int
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
	NextAttempt time.Time // zero: now
	LastError   string
	LastErrorAt time.Time
}

// Backlog is how many events are known to wait.
func (s Status) Backlog() int { return s.FrozenEvents + s.Queued }

func (q *queue) status(now time.Time, dispatched, head int64) Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	st := &q.stats
	s := Status{
		ID: q.id, URL: q.reg.URL, Live: q.live, Position: q.safe(dispatched),
		Transactions: st.transactions, Events: st.events, Failures: st.failures,
		Rate: st.rateNow(now), LastSuccess: st.lastSuccess, LastDuration: st.duration,
		Attempts: st.attempts, NextAttempt: st.nextAttempt, LastError: st.lastError, LastErrorAt: st.lastErrorAt,
		Frozen: len(q.outbox),
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
