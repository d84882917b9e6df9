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
	skipped passage // nothing there is counted
	unknown bool    // most is not known yet, or cannot be
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
		if c := &changes[i]; c.Kind == Event && c.Position <= r.before && !r.skipped.has(c.Position) {
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
	parts := q.service.dispatch.countFrom(q)
	if len(parts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, countFor)
	defer cancel()
	most := int64(0)
	for _, part := range parts {
		n, err := q.service.opts.Stream.Count(ctx, part.from, part.upTo)
		if err != nil {
			q.log.Warn("how many events wait for an application service is not known", "error", err)
			return
		}
		most += n
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rest.most, q.rest.unknown = most, false
}

// countFrom lets the dispatcher count for a queue from where it is, and returns the
// parts of the stream before that of which events are sent.
func (d *dispatcher) countFrom(q *queue) (parts []passage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.live {
		return nil
	}
	through := d.through.Load()
	for _, part := range []passage{{q.scanned, min(q.skipped.from, through)}, {max(q.scanned, q.skipped.upTo), through}} {
		if part.from < part.upTo {
			parts = append(parts, part)
		}
	}
	q.rest = rest{counted: through, before: through, skipped: q.skipped, unknown: len(parts) > 0}
	return parts
}
