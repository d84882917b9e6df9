package pushers

import (
	"context"
	"errors"
	"slices"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
)

const (
	// burst is how many notifications a pusher sends before others have a turn.
	burst = 20
	// stretch is how many notifications are looked at to find one that is unread.
	stretch = 100
	// lockedPause is after how long it is looked whether somebody who was locked
	// out may be told again.
	lockedPause = 15 * time.Minute
)

// work has a pusher send what it has to send.
func (s *Service) work(ctx context.Context, id int64) outcome {
	p, err := s.store.Find(ctx, s.db.Read(), id)
	switch {
	case err != nil:
		return s.troubled(ctx, err)
	case p == nil || !p.Enabled:
		return outcome{gone: true}
	}
	if account, err := s.options.Accounts.Account(ctx, p.User); err != nil {
		return s.troubled(ctx, err)
	} else if account.Locked {
		return outcome{after: lockedPause, patient: true}
	}
	if p.Kind == Email {
		return s.workMail(ctx, p)
	}
	to, err := readData(p.Data)
	if err != nil {
		return outcome{gone: true} // it was checked when it was set
	}
	d := &delivery{Service: s, ctx: ctx, pusher: p, to: to}
	return d.work()
}

// troubled is the outcome when the database does not do what it should.
func (s *Service) troubled(ctx context.Context, err error) outcome {
	if ctx.Err() == nil {
		s.options.Log.ErrorContext(ctx, "a pusher has to try again", "err", err)
	}
	return outcome{err: err}
}

// A delivery is one turn of a pusher that sends to a gateway.
type delivery struct {
	*Service
	ctx       context.Context
	pusher    *storage.Pusher
	to        *target
	contacted bool
}

func (d *delivery) work() outcome {
	for range burst {
		// Counted before it is looked for: so a notification that comes in
		// between is sent, and not its count alone.
		unread, err := d.unread(d.ctx, d.pusher.User)
		if err != nil {
			return d.troubled(d.ctx, err)
		}
		n, err := d.next()
		if err != nil {
			return d.troubled(d.ctx, err)
		}
		if n == nil {
			return d.sendCount(unread)
		}
		if gone, err := d.gone(); err != nil {
			return d.troubled(d.ctx, err)
		} else if gone {
			return outcome{gone: true, contacted: d.contacted}
		}
		if o, goOn := d.deliver(*n); !goOn {
			return o
		}
	}
	return outcome{more: true, contacted: d.contacted}
}

// gone tells whether the pusher was removed or switched off before what is to be sent
// was found: that may have come after it.
func (d *delivery) gone() (bool, error) {
	p, err := d.store.Find(d.ctx, d.db.Read(), d.pusher.ID)
	return err == nil && (p == nil || !p.Enabled), err
}

// next is the oldest notification that is to be sent and was not read
// meanwhile, or nil. The cursor moves past those that were.
func (d *delivery) next() (*storage.Notification, error) {
	for {
		list, err := d.notifications(d.ctx, d.pusher.User, d.pusher.Position, stretch)
		if err != nil {
			return nil, err
		}
		skipped := d.pusher.Position
		for i := range list {
			if !list[i].Read {
				return &list[i], nil
			}
			d.pusher.Position = list[i].Position
		}
		if len(list) < stretch {
			if d.pusher.Position > skipped {
				return nil, d.save()
			}
			return nil, nil
		}
	}
}

// deliver sends a notification and moves the cursor past it. goOn is false at
// the end of the turn.
func (d *delivery) deliver(n storage.Notification) (o outcome, goOn bool) {
	unread, err := d.unread(d.ctx, d.pusher.User)
	if err != nil {
		return d.troubled(d.ctx, err), false
	}
	body, err := d.render(n, unread)
	if err != nil {
		return d.troubled(d.ctx, err), false
	}
	badge := d.pusher.Badge
	if body != nil {
		if o, goOn := d.post(*body, sentEvent); !goOn {
			return o, false
		}
		badge = unread
	}
	return d.advance(n.Position, badge)
}

// sendCount tells how many notifications are unread, if it was another number
// that was told last: the user has read something.
func (d *delivery) sendCount(unread int64) outcome {
	if d.to.NoBadge || unread == d.pusher.Badge {
		return outcome{contacted: d.contacted}
	}
	body := notification{Priority: low, Counts: &counts{&unread}, Devices: []device{d.device()}}
	if o, goOn := d.post(body, sentCount); !goOn {
		return o
	}
	if o, goOn := d.advance(d.pusher.Position, unread); !goOn {
		return o
	}
	return outcome{contacted: true}
}

// post sends a body to the gateway. goOn is false unless it was taken.
func (d *delivery) post(body notification, kind string) (o outcome, goOn bool) {
	refused, err := d.Service.post(d.ctx, d.to.URL, body)
	if err != nil {
		return d.failed(err), false
	}
	d.contacted = true
	if !slices.Contains(refused, d.pusher.Key) {
		d.metrics.sent.WithLabelValues(kind).Inc()
		return outcome{}, true
	}
	d.metrics.sent.WithLabelValues(rejected).Inc()
	d.options.Log.InfoContext(d.ctx, "a push gateway rejects a pusher, which goes", "user", d.pusher.User, "app", d.pusher.AppID)
	if err := d.remove(d.ctx, d.pusher); err != nil {
		return d.troubled(d.ctx, err), false
	}
	return outcome{gone: true, contacted: true}, false
}

// remove ends a pusher, unless it was set anew meanwhile.
func (s *Service) remove(ctx context.Context, p *storage.Pusher) error {
	return s.db.Update(ctx, func(tx *database.Tx) error {
		now, err := s.store.Find(ctx, tx, p.ID)
		if err != nil || now == nil || now.SetAt != p.SetAt {
			return err
		}
		return s.delete(ctx, tx, now)
	})
}

// failed is the outcome of a push that the gateway did not take.
func (d *delivery) failed(err error) outcome {
	if d.ctx.Err() != nil {
		return outcome{err: err} // the server stops
	}
	d.metrics.sent.WithLabelValues(failed).Inc()
	d.options.Log.DebugContext(d.ctx, "a push gateway does not take a push", "gateway", d.to.URL, "err", err)
	o := outcome{err: err, dead: errors.Is(err, errUnreachable)}
	var status *statusError
	if errors.As(err, &status) {
		o.contacted, o.notBefore = true, status.retryAfter
	}
	return o
}

func (d *delivery) advance(position, badge int64) (o outcome, goOn bool) {
	d.pusher.Position, d.pusher.Badge = position, badge
	if err := d.save(); err != nil {
		return d.troubled(d.ctx, err), false
	}
	return outcome{}, true
}

func (d *delivery) save() error {
	return d.db.Update(d.ctx, func(tx *database.Tx) error {
		return d.store.Advance(d.ctx, tx, d.pusher.ID, d.pusher.Position, d.pusher.Badge)
	})
}

// tooOld reports whether nobody wants to be told of something any more.
func (s *Service) tooOld(at int64, most time.Duration) bool {
	return s.now()-at > most.Milliseconds()
}
