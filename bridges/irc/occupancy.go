package irc

import (
	"context"
	"sync"
)

// An occupancy keeps channels that somebody is opening from being given up meanwhile, and the other way round.
type occupancy struct {
	mu      sync.Mutex
	opening map[string]int           // by folded name
	leaving map[string]chan struct{} // closed when that is over
}

// enter waits until a channel is not being given up, and keeps it from being so until leave is called.
func (o *occupancy) enter(ctx context.Context, channel string) (leave func(), err error) {
	for {
		o.mu.Lock()
		left := o.leaving[channel]
		if left == nil {
			if o.opening == nil {
				o.opening = map[string]int{}
			}
			o.opening[channel]++
			o.mu.Unlock()
			return func() { o.leave(channel) }, nil
		}
		o.mu.Unlock()
		select {
		case <-left:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (o *occupancy) leave(channel string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.opening[channel]--; o.opening[channel] <= 0 {
		delete(o.opening, channel)
	}
}

// vacate keeps others out of a channel until done is called; not if somebody is opening it.
func (o *occupancy) vacate(channel string) (done func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.opening[channel] > 0 || o.leaving[channel] != nil {
		return nil, false
	}
	if o.leaving == nil {
		o.leaving = map[string]chan struct{}{}
	}
	left := make(chan struct{})
	o.leaving[channel] = left
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.leaving, channel)
		close(left)
	}, true
}
