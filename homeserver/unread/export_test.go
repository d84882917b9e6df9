package unread

import "context"

// Forget drops all counts from memory.
func (s *Service) Forget() { s.accounts.Clear() }

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
