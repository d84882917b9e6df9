package sender

import (
	"context"
	"slices"
	"sync"
)

const (
	// maxWaitingOffers bounds the changes without a position that nobody has
	// looked at yet.
	maxWaitingOffers = 10_000
	// maxOffered bounds those that wait for one service.
	maxOffered = 1000
)

// An Offer is a change without a position, such as typing. It is made on the
// sender's own goroutine, and may be left out there by an empty Body.
type Offer struct {
	Key  string // a later offer takes the place of an earlier one with the same key
	Make func(ctx context.Context) (Change, error)
}

// Offer hands over a change that has no position: how something is now. What
// its Body writes when a transaction is frozen should be how it is then. It goes
// to each service that is interested, once; one that is down gets it when it is
// back. Only what is too much for memory is dropped. It does not block.
func (s *Service) Offer(o Offer) {
	s.dispatch.offers.add(o)
	s.dispatch.offered.send()
}

// offers are those that wait to be decided.
type offers struct {
	mu   sync.Mutex
	at   map[string]int // in list, by key
	list []Offer
}

func (o *offers) add(offer Offer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i, waits := o.at[offer.Key]; waits {
		o.list[i] = offer
		return
	}
	if len(o.list) >= maxWaitingOffers {
		return
	}
	if o.at == nil {
		o.at = map[string]int{}
	}
	o.at[offer.Key] = len(o.list)
	o.list = append(o.list, offer)
}

func (o *offers) take() []Offer {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.list
	o.list, o.at = nil, nil
	return list
}

// takeOffers hands out the changes without a position that wait.
func (d *dispatcher) takeOffers(ctx context.Context) {
	for _, offer := range d.offers.take() {
		if err := d.offer(ctx, offer); err != nil && ctx.Err() == nil {
			d.service.opts.Logger.Warn("typing or presence is not sent to application services", "error", err)
		}
	}
}

func (d *dispatcher) offer(ctx context.Context, offer Offer) error {
	c, err := offer.Make(ctx)
	if err != nil || c.Body == nil {
		return err
	}
	c.Key, c.Position = offer.Key, d.through.Load()
	d.interest.use(d.service.opts.Registry.Load())
	watchers, err := d.interest.decide(ctx, &c)
	if err != nil {
		return err
	}
	c.Rooms = nil
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, reg := range watchers {
		if q := d.queues[reg.ID]; q != nil {
			q.offer(c)
		}
	}
	return nil
}

// offer accepts a change that has no position. Of too many, the oldest go.
func (q *queue) offer(c Change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.offered = slices.DeleteFunc(q.offered, func(o Change) bool { return o.Key == c.Key })
	if len(q.offered) >= maxOffered {
		q.offered = slices.Delete(q.offered, 0, 1)
	}
	q.offered = append(q.offered, c)
	q.filled.send()
}

// takeOffered is what of that goes into the next transaction. It is called
// with the lock held.
func (q *queue) takeOffered() []Change {
	n := min(len(q.offered), q.service.opts.MaxEvents)
	taken := slices.Clone(q.offered[:n])
	q.offered = slices.Delete(q.offered, 0, n)
	return taken
}

// offerAgain takes back what was not frozen, but for what is there anew.
func (q *queue) offerAgain(changes []Change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	newer := q.offered
	q.offered = changes
	for _, c := range newer {
		q.offered = slices.DeleteFunc(q.offered, func(o Change) bool { return o.Key == c.Key })
		q.offered = append(q.offered, c)
	}
}
