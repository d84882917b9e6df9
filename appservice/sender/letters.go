package sender

import (
	"context"
	"fmt"
	"time"

	"trestle/appservice"
	"trestle/internal/matrix"
)

// maxLetters is the longest page of dead letters.
const maxLetters = 1000

// DeadLetters is the dead letters of a service, or of all if none is named,
// with numbers above from, in order and without their bodies; at most 1,000.
// The service need not be registered any more.
func (s *Service) DeadLetters(ctx context.Context, id string, from int64, limit int) ([]appservice.DeadLetter, error) {
	if !storable(id) {
		return nil, matrix.NotFound("There is no application service %q.", id)
	}
	return s.opts.Store.Letters(ctx, id, from, min(limit, maxLetters))
}

// DeadLetter is one dead letter with its exact body, or M_NOT_FOUND.
func (s *Service) DeadLetter(ctx context.Context, number int64) (appservice.DeadLetter, error) {
	l, err := s.opts.Store.Letter(ctx, number)
	if err != nil {
		return appservice.DeadLetter{}, err
	}
	if l == nil {
		return appservice.DeadLetter{}, noLetter(number)
	}
	return *l, nil
}

func noLetter(number int64) error { return matrix.NotFound("There is no dead letter %d.", number) }

// Discard removes a dead letter for good.
func (s *Service) Discard(ctx context.Context, number int64) error {
	l, err := s.DeadLetter(ctx, number)
	if err != nil {
		return err
	}
	there, err := s.opts.Store.RemoveLetter(ctx, number)
	if err != nil {
		return fmt.Errorf("discard dead letter %d: %w", number, err)
	}
	if !there {
		return noLetter(number)
	}
	s.opts.Logger.Warn("dead letter discarded by an operator", "appservice", l.Service, "letter", number, "transaction", l.Transaction, "events", l.Events)
	if q := s.queue(l.Service); q != nil {
		q.recount(ctx)
	}
	return nil
}

// Replay sends a dead letter once, with the ID and the bytes that it always had.
// One that is taken is a letter no more. Otherwise it stays, and the errors are
// those of Ping; they are M_UNKNOWN (409) too if the service is paused. It goes
// between two transactions of the queue, and waits for the one under way.
func (s *Service) Replay(ctx context.Context, number int64) error {
	l, err := s.DeadLetter(ctx, number)
	if err != nil {
		return err
	}
	q, err := s.operated(l.Service)
	if err != nil {
		return err
	}
	if err := q.turn.take(ctx); err != nil {
		return err
	}
	defer q.turn.leave()
	// Somebody else may have dealt with it in the meantime.
	if l, err = s.DeadLetter(ctx, number); err != nil {
		return err
	}
	if q.isPaused() {
		return conflict("The application service %s is paused.", q.id)
	}
	return q.replay(ctx, l)
}

func (q *queue) isPaused() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.paused != nil
}

// replay is one attempt to send a letter. Whoever calls it has the turn.
func (q *queue) replay(ctx context.Context, l appservice.DeadLetter) error {
	begin, store := time.Now(), q.service.opts.Store
	a, err := q.send(ctx, l.Transaction, l.Body)
	ctx = context.WithoutCancel(ctx) // what has happened is noted in any case
	if refusal := q.refusal(a, err); refusal != nil {
		if err := store.LetterFailed(ctx, l.Number, problem(refusal.Error()), time.Now().UnixMilli()); err != nil {
			return fmt.Errorf("note that dead letter %d was not taken: %w", l.Number, err)
		}
		return refusal
	}
	if _, err := store.RemoveLetter(ctx, l.Number); err != nil {
		return fmt.Errorf("remove dead letter %d, which the service has taken: %w", l.Number, err)
	}
	q.mu.Lock()
	q.stats.delivered(l.Events, begin, time.Now())
	q.mu.Unlock()
	q.retry.send() // it is there, so that what waits may go on as well
	q.log.Info("dead letter delivered", "letter", l.Number, "transaction", l.Transaction, "events", l.Events)
	q.recount(ctx)
	return nil
}

// refusal is the error of a request that was not answered with success.
func (q *queue) refusal(a answer, err error) error {
	switch {
	case err != nil:
		return unreachable(q.id, err)
	case !a.ok():
		return badStatus(q.id, a)
	}
	return nil
}

// recount takes in how many dead letters there are, if that can be read.
func (q *queue) recount(ctx context.Context) {
	if err := q.countLetters(ctx); err != nil {
		q.log.Error("the number of dead letters is not known", "error", err)
	}
}

// countLetters takes in how many dead letters there are.
func (q *queue) countLetters(ctx context.Context) error {
	q.counting.Lock()
	defer q.counting.Unlock()
	n, err := q.service.opts.Store.CountLetters(ctx, q.id)
	if err != nil {
		return fmt.Errorf("count dead letters: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.letters = n
	return nil
}
