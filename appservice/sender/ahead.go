package sender

import "context"

// A streamPage is a part of the stream as a lagging queue reads it.
type streamPage struct {
	after   int64
	changes []Change
	through int64
	blind   bool // nobody is told who comes into rooms and goes
	err     error
	there   chan struct{} // closed when the rest is
}

// page is the part of the stream behind a position: what was read ahead, if
// that is it.
func (q *queue) page(ctx context.Context, after, upTo int64) (*streamPage, error) {
	p := q.ahead
	if q.ahead = nil; p == nil || p.after != after {
		p = q.startPage(ctx, after, upTo, q.pageSize(nil))
	}
	select {
	case <-p.there:
		return p, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// readAhead begins to read what follows a page, if there is anything.
func (q *queue) readAhead(ctx context.Context, p *streamPage, upTo int64) {
	if p.through < upTo {
		q.ahead = q.startPage(ctx, p.through, upTo, q.pageSize(p.changes))
	}
}

func (q *queue) startPage(ctx context.Context, after, upTo int64, limit int) *streamPage {
	p := &streamPage{after: after, there: make(chan struct{})}
	from, upTo, blind := q.sources(after, upTo)
	p.blind = blind
	q.done.Go(func() {
		defer close(p.there)
		p.changes, p.through, p.err = from.read(ctx, after, upTo, limit)
	})
	return p
}

// sources is what to read behind a position, and up to where. Of a passage that is
// skipped it is only what is sent all the same, if this service takes any of that:
// messages to devices, and changes of keys, for which it needs to be known who is in
// which room.
func (q *queue) sources(after, upTo int64) (from feed, until int64, blind bool) {
	s, reg := q.service, q.registered()
	switch {
	case after >= q.skipped.upTo:
		return s.feed, upTo, false
	case after < q.skipped.from:
		return s.feed, min(upTo, q.skipped.from), false
	}
	until = min(upTo, q.skipped.upTo)
	switch {
	case reg.DeviceLists:
		return s.keys, until, false
	case reg.WantsEphemeral():
		return s.messages, until, true
	}
	return nil, until, true
}

// pageSize is how many changes to read after some.
func (q *queue) pageSize(changes []Change) int {
	if len(changes) == 0 {
		return firstPage
	}
	return pageAfter(changes, pageBytes, largePage)
}
