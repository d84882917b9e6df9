package unread

import "context"

// Counted waits until all up to a position is counted, as long as somebody counts.
func (s *Service) Counted(ctx context.Context, position int64) error {
	for {
		s.mu.Lock()
		counted, moved := s.position, s.moved
		s.mu.Unlock()
		if counted >= position {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Forget drops all counts from memory.
func (s *Service) Forget() { s.accounts.Clear() }

// Pages reads all that comes after a position, and returns how large each page is, and
// how many events there are.
func (s *Service) Pages(ctx context.Context, after int64) (sizes []int, events int, err error) {
	for head := s.Notifier.Position(); after < head; after = s.page.upTo {
		s.page = page{}
		if err := s.read(ctx, after, head); err != nil {
			return nil, 0, err
		}
		size := 0
		for _, e := range s.page.events {
			size += len(e.JSON())
		}
		sizes, events = append(sizes, size), events+len(s.page.events)
	}
	return sizes, events, nil
}

// Replay holds what comes after a position against rules, and forgets the result.
func (s *Service) Replay(ctx context.Context, after int64) error {
	for head := s.Notifier.Position(); after < head; {
		st, err := s.evaluate(ctx, after, head)
		if err != nil {
			return err
		}
		s.count(st)
		s.pending, s.weight = nil, 0
		for _, at := range s.fresh {
			at.gone = true
		}
		clear(s.fresh)
		after = st.upTo
	}
	return nil
}
