package unread

import (
	"context"
	"maps"
	"slices"
	"time"

	"trestle/internal/matrix"
)

const (
	// maxPending bounds the operations that wait to be stored. leastStored and
	// maxStored are the bounds of those of one transaction, which others wait for.
	maxPending  = 20_000
	leastStored = 25
	maxStored   = 300
	// pace is the shortest time between two transactions, and maxPause the longest.
	pace     = 10 * time.Millisecond
	maxPause = time.Second
	// maxUnsaved is how many positions may be gone through again after a crash
	// because nothing notified anybody.
	maxUnsaved = 500
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
				s.page = page{}
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
	s.count(st)
	s.tell()
	if s.waiting() {
		s.poke()
	}
}

// count makes a step count in memory.
func (s *Service) count(st *step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range st.ops {
		o := &st.ops[i]
		a, known := s.accounts.Get(o.user.id)
		if o.news != nil {
			s.freshen(st, o)
			st.live++
		} else if o.void = s.annul(st, a, o); !o.void {
			st.live++
		}
		if known {
			a.apply(st, o)
		}
		if len(s.overdue) > 0 {
			if rooms := s.overdue[o.user.id]; rooms != nil {
				rooms[o.room] = true
			}
		}
	}
	s.position = st.upTo
	if st.weight() > 0 || st.upTo-s.queued > maxUnsaved {
		s.pending = append(s.pending, st)
		s.queued = st.upTo
	}
	s.weight += st.weight()
	s.announce()
}

// annul makes void what a mark takes in and is not stored yet, and reports
// whether that is all: then nothing is to be marked in the database.
func (s *Service) annul(current *step, a *account, mark *op) (whole bool) {
	var unread int64
	if a != nil {
		unread, whole = a.all(mark)
	}
	found := s.void(current, mark)
	return whole && found == unread && !mark.invited
}

// void makes void what is fresh and taken in by a mark, and says how much of it
// was counted.
func (s *Service) void(current *step, mark *op) (found int64) {
	at := s.spot(mark.user, mark.room)
	if at == nil {
		return 0
	}
	kept := at.list[:0]
	for _, f := range at.list {
		if f.op.position > mark.position || !mark.concerns(f.op.thread.nid) {
			kept = append(kept, f)
			continue
		}
		f.op.void = true
		f.step.live--
		if f.step != current { // which does not weigh yet
			s.weight--
		}
		if !f.op.uncounted {
			found++
		}
	}
	s.keepFresh(mark.user, mark.room, at, kept)
	return found
}

// tellEvery is how often users are told of counts while counting is behind.
const tellEvery = time.Second

// tell wakes those who were not waited for.
func (s *Service) tell() {
	for user, rooms := range s.late() {
		s.Notifier.CountsChanged(user, rooms)
	}
}

// late is the rooms of users who are to be told of their counts now.
func (s *Service) late() map[matrix.UserID][]int64 {
	head := s.Notifier.Position()
	s.mu.Lock()
	defer s.mu.Unlock()
	caughtUp := s.position >= head
	if len(s.overdue) == 0 || !caughtUp && s.Now().Sub(s.told) < tellEvery {
		return nil
	}
	s.told = s.Now()
	late := map[matrix.UserID][]int64{}
	for user, rooms := range s.overdue {
		if len(rooms) > 0 {
			late[user] = slices.Collect(maps.Keys(rooms))
			s.overdue[user] = map[int64]bool{}
		}
		if a, ok := s.accounts.Get(user); caughtUp && (!ok || len(a.unsure) == 0) {
			delete(s.overdue, user)
		}
	}
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
		pause, err := s.store(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "store notifications", "err", err)
			pause = retryAfter
		}
		if s.waiting() {
			s.poke()
		}
		s.rest(ctx, min(max(pace, pause), maxPause))
	}
}

// rest waits for a time, or until somebody waits for what is stored next.
func (s *Service) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.urgent:
	case <-ctx.Done():
	}
}

// hurry ends the rest.
func (s *Service) hurry() {
	select {
	case s.urgent <- struct{}{}:
	default:
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
	size, n := 0, 0
	for limit := s.portion.Size(); n < len(s.pending) && size < limit; {
		size += s.pending[n].weight()
		n++
	}
	steps := slices.Clone(s.pending[:n])
	for _, st := range steps {
		for i := range st.ops {
			o := &st.ops[i]
			at := s.spot(o.user, o.room)
			if at == nil {
				continue
			}
			list := at.list
			for len(list) > 0 && list[0].op.position <= st.upTo {
				list = list[1:]
			}
			s.keepFresh(o.user, o.room, at, list)
		}
	}
	return steps
}
