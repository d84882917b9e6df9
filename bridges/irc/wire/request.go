package wire

import (
	"context"
	"slices"
)

// A watcher is shown what arrives until it has seen enough.
type watcher struct {
	until func(*Message) bool
	done  chan struct{}
}

// watch shows until everything that arrives, on the reading goroutine, until it returns true
// or stop is called.
func (c *Conn) watch(until func(*Message) bool) (stop func(), done <-chan struct{}) {
	w := &watcher{until, make(chan struct{})}
	c.mu.Lock()
	c.watchers = append(c.watchers, w)
	c.mu.Unlock()
	return func() { c.unwatch(w) }, w.done
}

func (c *Conn) unwatch(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = slices.DeleteFunc(slices.Clone(c.watchers), func(other *watcher) bool { return other == w })
}

// tellWatchers is called on the reading goroutine.
func (c *Conn) tellWatchers(m *Message) {
	c.mu.Lock()
	watchers := c.watchers
	c.mu.Unlock()
	for _, w := range watchers {
		if w.until(m) {
			c.unwatch(w)
			close(w.done)
		}
	}
}

// wait waits for a watcher.
func (c *Conn) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.Err()
	}
}

// Request sends a message and shows until everything that arrives from then on,
// on the reading goroutine (the Handler gets it too, afterwards), until it returns true.
func (c *Conn) Request(ctx context.Context, m *Message, until func(*Message) (done bool)) error {
	stop, done := c.watch(until)
	defer stop()
	if err := c.Send(ctx, m); err != nil {
		return err
	}
	return c.wait(ctx, done)
}

// Barrier waits until the server has worked off everything sent before (by PING and
// PONG).
func (c *Conn) Barrier(ctx context.Context) error {
	token := c.token()
	return c.Request(ctx, NewMessage("PING", token), func(m *Message) bool {
		return m.Command == "PONG" && m.Last() == token
	})
}
