package sender

import (
	"context"
	"fmt"
	"slices"
	"time"

	"trestle/appservice"
)

// SkipAll lets a service go on with what happens from now on. What is frozen
// becomes dead letters; events, receipts and the like behind that, up to the
// end of the stream, are never sent. Messages to devices and changes of keys that
// have not been frozen still are: what is encrypted later could not be read
// without. A request under way is broken off, and if the service has taken it
// all the same, it is delivered.
func (s *Service) SkipAll(ctx context.Context, id, reason, by string) (appservice.Skipped, error) {
	if err := checkReason(reason); err != nil {
		return appservice.Skipped{}, err
	}
	q, err := s.operated(id)
	if err != nil {
		return appservice.Skipped{}, err
	}
	q.mu.Lock()
	q.holdBack()
	q.mu.Unlock()
	defer q.wanted()
	if err := q.turn.take(ctx); err != nil {
		return appservice.Skipped{}, err
	}
	defer q.turn.leave()
	return q.skipAll(context.WithoutCancel(ctx), reason, by)
}

// skipAll does it. Whoever calls it has the turn.
func (q *queue) skipAll(ctx context.Context, reason, by string) (skipped appservice.Skipped, err error) {
	if q.doubted() {
		return skipped, conflict("The queue of %s starts over in this moment.", q.id)
	}
	upTo, waiting, atMost, err := q.backlog(ctx)
	if err != nil {
		return skipped, fmt.Errorf("count what waits for %s: %w", q.id, err)
	}
	q.mu.Lock()
	acked, letter := q.acked, q.letter(reason, by)
	q.mu.Unlock()
	skipped.Transactions, skipped.Frozen, err = q.service.opts.Store.BuryAll(ctx, acked, upTo, letter)
	if err != nil {
		q.doubt()
		return skipped, fmt.Errorf("skip all that waits for %s: %w", q.id, err)
	}
	q.mu.Lock()
	q.changed = true
	q.stats.another()
	q.mu.Unlock()
	q.doubt() // the queue has to learn of it
	skipped.Passed, skipped.AtMost = max(0, waiting-skipped.Frozen), atMost
	q.log.Warn("all that waited was skipped by an operator", "transactions", skipped.Transactions, "frozen_events", skipped.Frozen,
		"passed_events", skipped.Passed, "at_most", atMost, "position", upTo, "by", by, "reason", reason)
	return skipped, nil
}

// backlog is the end of the stream, and how many events wait until there.
func (q *queue) backlog(ctx context.Context) (upTo int64, events int, atMost bool, err error) {
	d := q.service.dispatch
	d.mu.Lock()
	through := d.through.Load()
	upTo = q.service.head.Load()
	st := q.status(time.Now(), through, upTo)
	d.mu.Unlock()
	// The dispatcher has counted what it has handed out, and not what comes next.
	after := max(through, upTo-st.Behind)
	if q.uncounted() {
		after = upTo - st.Behind
	}
	if after >= upTo {
		return upTo, st.Backlog(), st.AtMost, nil
	}
	more, err := q.service.opts.Stream.Count(ctx, after, upTo)
	return upTo, st.Backlog() + int(more), st.AtMost || more > 0, err
}

// uncounted reports whether nobody knows how much waits in the stream alone.
func (q *queue) uncounted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.live && q.rest.unknown
}

// passes reports whether a change is left out: an operator has skipped it, or the
// service wanted to hear nothing then.
func (q *queue) passes(c *Change) bool {
	return q.skipped.has(c.Position) && (c.Kind == Event || c.Kind == Ephemeral)
}

// wantedOf is the changes that have not been skipped, in the same place.
func (q *queue) wantedOf(changes []Change) []Change {
	if changes[0].Position > q.skipped.upTo {
		return changes
	}
	return slices.DeleteFunc(changes, func(c Change) bool { return q.passes(&c) })
}

// wasChanged reports, once, that an operator has changed what storage knows.
func (q *queue) wasChanged() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	changed := q.changed
	q.changed = false
	return changed
}
