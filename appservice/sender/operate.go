package sender

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"trestle/appservice"
	"trestle/internal/matrix"
)

const (
	// maxReason is how long a reason may be, in bytes.
	maxReason = 1000
	// maxProblem is how much of an error is kept: a part of it may be what a
	// service has sent.
	maxProblem = 1000
)

// errDoubt makes a queue start over after a write that may have been done.
var errDoubt = errors.New("an operator's change may have been stored or not")

// operated is the queue of a service that an operator means: M_NOT_FOUND if
// there is no such service, M_URL_NOT_SET if it is sent nothing anyway.
func (s *Service) operated(id string) (*queue, error) {
	reg := s.opts.Registry.Load().ByID(id)
	if reg == nil {
		return nil, matrix.NotFound("There is no application service %q.", id)
	}
	q := s.queue(id)
	if reg.URL == "" || q == nil {
		return nil, matrix.NewError(http.StatusBadRequest, "M_URL_NOT_SET", "The registration of %s has no URL.", id)
	}
	return q, nil
}

func conflict(format string, args ...any) error {
	return matrix.NewError(http.StatusConflict, "M_UNKNOWN", format, args...)
}

// checkReason refuses what cannot be kept.
func checkReason(reason string) error {
	if len(reason) > maxReason || !storable(reason) {
		return matrix.InvalidParam("A reason is a text of at most %d bytes.", maxReason)
	}
	return nil
}

func storable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// problem is an error as it is kept and shown.
func problem(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	return strings.ToValidUTF8(text[:min(len(text), maxProblem)], "")
}

// Pause ends the delivery of transactions to a service until Resume, also when
// the server starts anew. The request under way is not broken off. What the
// service is interested in waits in the stream meanwhile; queries and pings go
// on. One that is paused stays so, for the new reason.
func (s *Service) Pause(ctx context.Context, id, reason string) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	return s.setPause(ctx, id, &appservice.Pause{Service: id, Reason: reason, Since: time.Now().UnixMilli()})
}

// Resume goes on with the delivery at once.
func (s *Service) Resume(ctx context.Context, id string) error { return s.setPause(ctx, id, nil) }

func (s *Service) setPause(ctx context.Context, id string, p *appservice.Pause) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	q, err := s.operated(id)
	if err != nil {
		return err
	}
	if p != nil {
		err = s.opts.Store.Pause(ctx, *p)
	} else {
		err = s.opts.Store.Resume(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("store whether %s is paused: %w", id, err)
	}
	q.mu.Lock()
	q.paused = p
	q.mu.Unlock()
	if p != nil {
		q.log.Warn("application service paused by an operator", "reason", p.Reason)
		return nil
	}
	q.log.Info("application service resumed by an operator")
	q.frozen.send()
	q.retry.send()
	return nil
}

// Frozen is the transaction at the head of the queue, which is sent or waits to
// be, with its exact body; do not change that. It is M_NOT_FOUND if none waits.
func (s *Service) Frozen(_ context.Context, id string) (appservice.Frozen, error) {
	q, err := s.operated(id)
	if err != nil {
		return appservice.Frozen{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.outbox) == 0 {
		return appservice.Frozen{}, matrix.NotFound("No transaction waits for %s.", id)
	}
	return q.outbox[0], nil
}

// Skip makes a dead letter of the transaction at the head of the queue, so that
// the next one is sent. A request under way with it is broken off; if the
// service has taken it all the same, or if it is not the first for another
// reason, nothing happens and the error is M_UNKNOWN (409).
func (s *Service) Skip(ctx context.Context, id, transactionID, reason, by string) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	q, err := s.operated(id)
	if err != nil {
		return err
	}
	if !q.wantAway(transactionID) {
		return notFirst(transactionID)
	}
	defer q.wanted()
	if err := q.turn.take(ctx); err != nil {
		return err
	}
	defer q.turn.leave()
	return q.skip(context.WithoutCancel(ctx), transactionID, reason, by)
}

func notFirst(transactionID string) error {
	return conflict("Transaction %s is not the first that waits.", transactionID)
}

// wantAway keeps the first transaction from being sent, or breaks that off, if
// it is the one that is meant.
func (q *queue) wantAway(transactionID string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.outbox) == 0 || q.outbox[0].ID != transactionID {
		return false
	}
	q.holdBack()
	return true
}

// holdBack keeps everything from being sent until wanted, and breaks off what is.
// It is called with the lock held.
func (q *queue) holdBack() {
	q.skipping++
	if q.breakOff != nil {
		q.breakOff()
	}
}

// wanted lets delivery go on.
func (q *queue) wanted() {
	q.mu.Lock()
	q.skipping--
	q.mu.Unlock()
	q.frozen.send()
}

// skip makes a dead letter of a transaction if it is the first. Whoever calls it
// has the turn, so that the transaction is neither sent nor acknowledged
// meanwhile.
func (q *queue) skip(ctx context.Context, transactionID, reason, by string) error {
	q.mu.Lock()
	if len(q.outbox) == 0 || q.outbox[0].ID != transactionID || q.doubts != q.settled {
		q.mu.Unlock()
		return notFirst(transactionID)
	}
	number, letter := q.outbox[0].Number, q.letter(reason, by)
	q.mu.Unlock()
	var err error
	if letter.Number, err = q.service.opts.Store.Bury(ctx, number, letter); err != nil {
		q.doubt()
		return fmt.Errorf("make a dead letter of transaction %s: %w", transactionID, err)
	}
	q.mu.Lock()
	q.leave(number)
	q.stats.another()
	q.mu.Unlock()
	q.filled.send()
	q.retry.send()
	q.log.Warn("transaction skipped by an operator", "transaction", transactionID, "letter", letter.Number, "by", by, "reason", reason)
	q.recount(ctx)
	return nil
}

// letter is what is kept with the first transaction when it becomes a dead
// letter. It is called with the lock held.
func (q *queue) letter(reason, by string) appservice.DeadLetter {
	l := appservice.DeadLetter{
		Service: q.id, Reason: reason, By: by, SkippedAt: time.Now().UnixMilli(), Attempts: q.stats.attempts,
	}
	if l.Attempts > 0 {
		l.LastError, l.FailedAt = problem(q.stats.lastError), q.stats.lastErrorAt.UnixMilli()
	}
	return l
}

// doubt makes the queue start over from storage before anything is sent.
func (q *queue) doubt() {
	q.mu.Lock()
	q.doubts++
	q.mu.Unlock()
	q.filled.send()
}

func (q *queue) doubted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.doubts != q.settled
}
