package sender

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"trestle/appservice"
)

// errSilent is the state of a service whose registration has no URL.
var errSilent = errors.New("the registration has no URL")

// errBrokenOff is the end of an attempt whose transaction an operator takes
// away, or that went where the service is no more.
var errBrokenOff = errors.New("broken off by an operator")

// deliver sends frozen transactions one after another, each as often as it
// takes, until the context ends. The request under way may go on until abort
// ends, too.
func (q *queue) deliver(ctx, abort context.Context) {
	pause := newBackoff(q.service.opts.BackoffMin, q.service.opts.BackoffMax)
	for ctx.Err() == nil {
		if q.turn.take(ctx) != nil {
			return
		}
		tried, delay := q.attempt(abort, pause)
		q.turn.leave()
		switch {
		case !tried:
			wait(ctx, 0, q.frozen)
		case delay > 0 && wait(ctx, delay, q.retry):
			pause.reset()
		}
	}
}

// attempt sends the oldest transaction once, if it may, and says how long to
// wait for the next attempt. Whoever calls it has the turn.
func (q *queue) attempt(abort context.Context, pause *backoff) (tried bool, delay time.Duration) {
	ctx, breakOff := context.WithCancelCause(abort)
	defer breakOff(nil)
	f, ok := q.next(func() { breakOff(errBrokenOff) })
	if !ok {
		return false, 0
	}
	begin := time.Now()
	a, err := q.send(ctx, f.ID, f.Body)
	if err == nil && !a.ok() {
		err = fmt.Errorf("transaction %s was answered with status %d: %.200q", f.ID, a.status, a.body)
	}
	switch {
	case err == nil:
		pause.reset()
		q.delivered(f, begin)
	case abort.Err() != nil || errors.Is(context.Cause(ctx), errBrokenOff):
		pause.reset()
	default:
		delay = pause.next()
		q.failed(f, err, begin, delay)
	}
	return true, delay
}

// next is the oldest transaction that has not been delivered, unless there is
// something against sending it now. Until it has been sent it can be broken off.
func (q *queue) next(breakOff context.CancelFunc) (appservice.Frozen, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.outbox) == 0 || q.paused != nil || q.skipping > 0 || q.doubts != q.settled {
		return appservice.Frozen{}, false
	}
	q.breakOff = breakOff
	return q.outbox[0], true
}

// send is one request with a transaction, as long as the context lasts, or
// until it has taken too long.
func (q *queue) send(ctx context.Context, id string, body []byte) (answer, error) {
	_, link := q.to()
	ctx, cancel := context.WithTimeout(ctx, q.service.opts.Timeout)
	defer cancel()
	return link.do(ctx, request{method: http.MethodPut, path: appservice.TransactionPath(id), body: body})
}

func (q *queue) delivered(f appservice.Frozen, begin time.Time) {
	q.service.refused.Delete(silent(q.id)) // it is there
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leave(f.Number)
	if q.stats.attempts > 0 {
		q.log.Info("application service takes transactions again", "transaction", f.ID, "attempts", q.stats.attempts+1)
	}
	q.stats.another()
	q.stats.delivered(f.Events, begin, time.Now())
	q.filled.send()
}

// leave takes transactions up to a number out of the queue. It is called with
// the lock held.
func (q *queue) leave(number int64) {
	q.acked = max(q.acked, number)
	for len(q.outbox) > 0 && q.outbox[0].Number <= q.acked {
		q.outbox[0] = appservice.Frozen{}
		q.outbox = q.outbox[1:]
	}
}

func (q *queue) failed(f appservice.Frozen, err error, begin time.Time, delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	text := problem(err.Error())
	q.stats.failed(text, now, now.Add(delay))
	q.log.Warn("application service did not take a transaction", "transaction", f.ID, "attempt", q.stats.attempts,
		"error", text, "after", now.Sub(begin), "retry_in", delay)
}
