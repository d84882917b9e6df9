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

// deliver sends frozen transactions one after another, each as often as it
// takes, until the context ends. The request under way may go on until abort
// ends, too.
func (q *queue) deliver(ctx, abort context.Context) {
	pause := newBackoff(q.service.opts.BackoffMin, q.service.opts.BackoffMax)
	for ctx.Err() == nil {
		f, ok := q.next()
		if !ok {
			wait(ctx, 0, q.frozen)
			continue
		}
		begin := time.Now()
		if err := q.send(abort, f); err != nil {
			if abort.Err() != nil {
				return
			}
			delay := pause.next()
			q.failed(f, err, begin, delay)
			if wait(ctx, delay, q.retry) {
				pause.reset()
			}
			continue
		}
		pause.reset()
		q.delivered(f, begin)
	}
}

// next is the oldest transaction that has not been delivered.
func (q *queue) next() (appservice.Frozen, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.outbox) == 0 {
		return appservice.Frozen{}, false
	}
	return q.outbox[0], true
}

// send is one attempt.
func (q *queue) send(ctx context.Context, f appservice.Frozen) error {
	_, link := q.to()
	ctx, cancel := context.WithTimeout(ctx, q.service.opts.Timeout)
	defer cancel()
	a, err := link.do(ctx, request{method: http.MethodPut, path: appservice.TransactionPath(f.ID), body: f.Body})
	if err != nil {
		return err
	}
	if !a.ok() {
		return fmt.Errorf("transaction %s was answered with status %d: %.200q", f.ID, a.status, a.body)
	}
	return nil
}

func (q *queue) delivered(f appservice.Frozen, begin time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.acked = max(q.acked, f.Number)
	for len(q.outbox) > 0 && q.outbox[0].Number <= q.acked {
		q.outbox[0] = appservice.Frozen{}
		q.outbox = q.outbox[1:]
	}
	if q.stats.attempts > 0 {
		q.log.Info("application service takes transactions again", "transaction", f.ID, "attempts", q.stats.attempts+1)
	}
	q.stats.delivered(f, begin, time.Now())
	q.filled.send()
}

func (q *queue) failed(f appservice.Frozen, err error, begin time.Time, delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.stats.failed(err, now, now.Add(delay))
	q.log.Warn("application service did not take a transaction", "transaction", f.ID, "attempt", q.stats.attempts,
		"error", err, "after", now.Sub(begin), "retry_in", delay)
}
