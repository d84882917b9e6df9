package sender

import (
	"context"
	"time"
)

// countFor is how long it may take to count what waited when the server started.
const countFor = 5 * time.Second

// A rest is how much waits for a lagging queue in the stream alone. The dispatcher
// decides about every change anyway, and counts those that the queue has not read.
// It does not know of those that waited when the server started: they are as many
// as there are events, at most.
type rest struct {
	events  int64 // of interest, behind what has been read, up to counted
	counted int64 // how far the dispatcher has counted
	most    int64 // events, of interest or not, behind what has been read, up to before
	before  int64
	skipped int64 // none up to here is counted
	unknown bool  // most is not known yet, or cannot be
}

// add counts changes of interest for a queue that has read up to a position.
func (r *rest) add(changes []Change, read int64) {
	for i := range changes {
		if c := &changes[i]; c.Kind == Event && c.Position > max(read, r.counted) {
			r.events++
		}
	}
	r.counted = max(r.counted, changes[len(changes)-1].Position)
}

// take leaves out what the queue has read now, and which of it is of interest.
func (r *rest) take(changes, mine []Change, through int64) {
	for i := range mine {
		if c := &mine[i]; c.Kind == Event && c.Position > r.before && c.Position <= r.counted {
			r.events = max(0, r.events-1)
		}
	}
	for i := range changes {
		if c := &changes[i]; c.Kind == Event && c.Position <= r.before && c.Position > r.skipped {
			r.most = max(0, r.most-1)
		}
	}
	if through >= r.before {
		r.most = 0
	}
}

// countOlder counts what a queue that begins far behind has before it. That it
// cannot be counted keeps nothing from being delivered.
func (q *queue) countOlder(ctx context.Context) {
	after, upTo := q.service.dispatch.countFrom(q)
	if upTo <= after {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, countFor)
	defer cancel()
	n, err := q.service.opts.Stream.Count(ctx, after, upTo)
	if err != nil {
		q.log.Warn("how many events wait for an application service is not known", "error", err)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rest.most, q.rest.unknown = n, false
}

// countFrom lets the dispatcher count for a queue from where it is, and returns the
// part of the stream before that.
func (d *dispatcher) countFrom(q *queue) (after, upTo int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.live {
		return 0, 0
	}
	through := d.through.Load()
	after = max(q.scanned, q.skipped)
	q.rest = rest{counted: through, before: through, skipped: q.skipped, unknown: after < through}
	return after, through
}
