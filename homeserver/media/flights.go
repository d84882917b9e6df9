package media

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// flights do a thing once for all who want it at the same time. The first does
// it; should that one go away, another begins again.
type flights[K comparable, V any] struct {
	mu      sync.Mutex
	running map[K]*flight[V]
}

type flight[V any] struct {
	done  chan struct{} // closed when the rest is set
	value V
	err   error
}

func (f *flights[K, V]) do(ctx context.Context, key K, fn func(context.Context) (V, error)) (V, error) {
	for {
		flight, first := f.board(key)
		if first {
			f.fly(ctx, key, flight, fn)
			return flight.value, flight.err
		}
		select {
		case <-flight.done:
			if !errors.Is(flight.err, context.Canceled) {
				return flight.value, flight.err
			}
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
}

func (f *flights[K, V]) board(key K) (_ *flight[V], first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if running := f.running[key]; running != nil {
		return running, false
	}
	if f.running == nil {
		f.running = map[K]*flight[V]{}
	}
	begun := &flight[V]{done: make(chan struct{})}
	f.running[key] = begun
	return begun, true
}

func (f *flights[K, V]) fly(ctx context.Context, key K, flight *flight[V], fn func(context.Context) (V, error)) {
	defer func() {
		if cause := recover(); cause != nil {
			flight.err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		}
		f.mu.Lock()
		delete(f.running, key)
		f.mu.Unlock()
		close(flight.done)
	}()
	flight.value, flight.err = fn(ctx)
}
