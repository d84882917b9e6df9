package unread

import (
	"context"
	"slices"
	"time"

	"trestle/internal/matrix"
)

const (
	// maxPending bounds the operations that wait to be stored, and maxStored
	// those of one transaction, which others wait for.
	maxPending = 50_000
	maxStored  = 300
	// pace is the shortest time between two transactions, and restShare how
	// many times as long as one of them nothing is stored: whoever sends
	// shares the database with this.
	pace      = 10 * time.Millisecond
	restShare = 3
	// maxUnsaved is how many positions may be gone through again after a crash
	// because nothing notified anybody.
	maxUnsaved = 10_000
	// retryAfter is the pause after an error.
	retryAfter = time.Second
)

// follow reads the stream until the context ends.
func (s *Service) follow(ctx context.Context) {
	for ctx.Err() == nil {
		told := s.Notifier.Changed()
		more, err := s.advance(ctx)
		switch {
		case err != nil:
			if ctx.Err() == nil {
				s.Log.ErrorContext(ctx, "count what is unread", "err", err)
				s.members.Clear() // which may be ahead of what comes again
				sleep(ctx, retryAfter)
			}
		case !more:
			select {
			case <-told:
			case <-ctx.Done():
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// advance takes one step, if there is one to be taken.
func (s *Service) advance(ctx context.Context) (more bool, err error) {
	head := s.Notifier.Position()
	s.mu.Lock()
	at, full, moved := s.position, s.weight > maxPending, s.moved
	s.mu.Unlock()
	if full {
		select {
		case <-moved:
		case <-ctx.Done():
		}
		return true, nil
	}
	if head <= at {
		return false, nil
	}
	st, err := s.evaluate(ctx, at, head)
	if err != nil {
		return false, err
	}
	s.take(st)
	return st.upTo < head, nil
}

// take makes a step count.
func (s *Service) take(st *step) {
	late := s.count(st)
	for user, rooms := range late {
		s.Notifier.CountsChanged(user, rooms)
	}
	if s.waiting() {
		s.poke()
	}
}

// count returns the rooms of users who were not waited for.
func (s *Service) count(st *step) (late map[matrix.UserID][]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range st.ops {
		o := &st.ops[i]
		if a, ok := s.accounts.Get(o.user.id); ok {
			a.apply(st, o)
		}
		if s.overdue[o.user.id] {
			if late == nil {
				late = map[matrix.UserID][]int64{}
			}
			late[o.user.id] = append(late[o.user.id], o.room)
		}
	}
	s.position = st.upTo
	if st.weight() > 0 || st.upTo-s.queued > maxUnsaved {
		s.pending = append(s.pending, st)
		s.queued = st.upTo
	}
	s.weight += st.weight()
	if len(s.overdue) > 0 && s.position >= s.Notifier.Position() && len(s.pending) == 0 {
		clear(s.overdue)
	}
	s.announce()
	return late
}

// announce is called with the lock held.
func (s *Service) announce() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// keep stores what was counted, until the context ends.
func (s *Service) keep(ctx context.Context) {
	for {
		select {
		case <-s.unstored:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		err := s.store(ctx)
		rest := max(pace, restShare*time.Since(began))
		if err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "store notifications", "err", err)
			rest = retryAfter
		}
		if s.waiting() {
			s.poke()
		}
		sleep(ctx, rest)
	}
}

// waiting reports whether there is something to be stored.
func (s *Service) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0
}

func (s *Service) poke() {
	select {
	case s.unstored <- struct{}{}:
	default:
	}
}

// batch is the oldest steps, as many as go into one transaction.
func (s *Service) batch() []*step {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := 0
	for i, st := range s.pending {
		size += st.weight()
		if size >= maxStored {
			return slices.Clone(s.pending[:i+1])
		}
	}
	return slices.Clone(s.pending)
}
