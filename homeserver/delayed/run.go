package delayed

import (
	"context"
	"sync"
	"time"

	"trestle/internal/matrix"
)

const (
	batch    = 100              // events that are looked at together
	atOnce   = 8                // users whose events are sent at the same time
	retry    = 10 * time.Second // after what was no refusal
	longest  = time.Hour        // between two looks
	patience = time.Minute      // for sending one event
)

// Start sends events when their time comes, until Close.
func (s *Service) Start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.stopped = make(chan struct{})
	go func() {
		defer close(s.stopped)
		s.run(ctx)
	}()
}

// Close ends what Start began.
func (s *Service) Close() {
	if s.stop != nil {
		s.stop()
		<-s.stopped
	}
}

func (s *Service) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Reset(s.Work(ctx))
	}
}

// poke has run look when the next event is due.
func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Work sends what is due, and says when to come back if nothing happens before.
func (s *Service) Work(ctx context.Context) time.Duration {
	for {
		events, err := s.options.Events.Due(ctx, s.now(), batch)
		if err == nil && len(events) > 0 && s.sendAll(ctx, events) {
			continue
		}
		if err == nil && len(events) == 0 {
			return s.untilNext(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.options.Log.ErrorContext(ctx, "delayed events cannot be read", "err", err)
		}
		return retry
	}
}

func (s *Service) untilNext(ctx context.Context) time.Duration {
	due, found, err := s.options.Events.Next(ctx)
	switch {
	case err != nil:
		return retry
	case !found:
		return longest
	}
	return min(max(time.Duration(due-s.now())*time.Millisecond, 0), longest)
}

// sendAll sends the events of each user in their order, those of different
// users at the same time. It reports whether all are dealt with.
func (s *Service) sendAll(ctx context.Context, events []*Event) bool {
	byUser := map[matrix.UserID][]*Event{}
	for _, e := range events {
		byUser[e.User] = append(byUser[e.User], e)
	}
	var done sync.WaitGroup
	var mu sync.Mutex
	all := true
	slots := make(chan struct{}, atOnce)
	for _, list := range byUser {
		slots <- struct{}{}
		done.Go(func() {
			defer func() { <-slots }()
			for _, e := range list {
				if err := s.dueInTime(ctx, e.ID); err != nil {
					mu.Lock()
					all = false
					mu.Unlock()
					if ctx.Err() == nil {
						s.options.Log.WarnContext(ctx, "a delayed event is tried again", "event", e.ID, "err", err)
					}
				}
			}
		})
	}
	done.Wait()
	return all
}

func (s *Service) dueInTime(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.due(ctx, id)
}
