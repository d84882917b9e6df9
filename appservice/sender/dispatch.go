package sender

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// dispatchPage is how many changes the dispatcher reads at once, if they are
	// not large.
	dispatchPage = 500
	// lookAnyway is how often the stream's end is asked for even though nobody
	// has told of a new one.
	lookAnyway = 15 * time.Second
)

// A dispatcher reads the stream once for all services that keep up. So a
// hundred services cost a change no more than one: who is not interested is
// neither asked nor woken.
type dispatcher struct {
	service  *Service
	interest *interest
	wake     signal
	offered  signal
	offers   offers
	timeline timeline
	limit    int // of the next page; 0: dispatchPage

	through atomic.Int64 // handed out up to here; written under mu
	saved   int64        // where cursors were last stored for its sake

	mu     sync.Mutex
	queues map[string]*queue
}

// run works until the context ends.
func (d *dispatcher) run(ctx context.Context) {
	pause := newBackoff(100*time.Millisecond, 10*time.Second)
	for ctx.Err() == nil {
		d.takeOffers(ctx)
		now := time.Now().UnixMilli()
		head := d.service.head.Load()
		if d.through.Load() >= head {
			d.timeline.reach(now)
			d.sleep(ctx)
			continue
		}
		if err := d.page(ctx, head); err != nil {
			if ctx.Err() == nil {
				d.service.opts.Logger.Error("application services wait for the stream", "error", err)
				wait(ctx, pause.next(), nil)
			}
			continue
		}
		pause.reset()
	}
}

// sleep waits until there is something new.
func (d *dispatcher) sleep(ctx context.Context) {
	timer := time.NewTimer(lookAnyway)
	defer timer.Stop()
	select {
	case <-d.wake:
	case <-ctx.Done():
	case <-d.offered:
	case <-timer.C:
		head, err := d.service.opts.Stream.Head(ctx)
		if err == nil {
			d.service.advance(head)
		}
	}
}

// page hands out the next changes to those who are interested.
func (d *dispatcher) page(ctx context.Context, head int64) error {
	after := d.through.Load()
	changes, through, err := d.service.feed.read(ctx, after, head, cmp.Or(d.limit, dispatchPage))
	if err != nil {
		return fmt.Errorf("read the stream behind %d: %w", after, err)
	}
	d.limit = pageAfter(changes, PageBytes, dispatchPage)
	d.timeline.mark(changes, time.Now().UnixMilli())
	d.interest.use(d.service.opts.Registry.Load())
	shares := map[string][]Change{}
	for i := range changes {
		watchers, err := d.interest.decide(ctx, &changes[i])
		if err != nil {
			// The page is read again, and rooms already know what comes later.
			d.interest.forget()
			return err
		}
		changes[i].Rooms = nil // what has been decided needs them no more
		for _, reg := range watchers {
			shares[reg.ID] = append(shares[reg.ID], changes[i])
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, share := range shares {
		if q := d.queues[id]; q != nil {
			q.take(share, after)
		}
	}
	d.through.Store(through)
	if through-d.saved > maxUnsaved {
		d.saved = through
		d.service.saving.send()
	}
	return nil
}

// adopt makes a queue live that has read the stream at least as far as the
// dispatcher.
func (d *dispatcher) adopt(q *queue, scanned int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if scanned < d.through.Load() {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.live, q.interest, q.rest = true, nil, rest{}
	return true
}

// all returns the queues.
func (d *dispatcher) all() []*queue {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*queue, 0, len(d.queues))
	for _, q := range d.queues {
		list = append(list, q)
	}
	return list
}
