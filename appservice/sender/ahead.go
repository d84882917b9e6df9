package sender

import "context"

// A streamPage is a part of the stream as a lagging queue reads it.
type streamPage struct {
	after   int64
	changes []Change
	through int64
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
	q.done.Go(func() {
		defer close(p.there)
		p.changes, p.through, p.err = q.service.feed.read(ctx, after, upTo, limit)
	})
	return p
}

// pageSize is how many changes to read after some.
func (q *queue) pageSize(changes []Change) int {
	if len(changes) == 0 {
		return firstPage
	}
	return pageAfter(changes, pageBytes, largePage)
}
