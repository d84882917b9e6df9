package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
)

var errEndless = errors.New("it has more bytes than it may")

// stream makes a request and has its answer read as it comes, at most Limit bytes of it. Errors are those of [Client.JSON]; one
// of read that is none of reading is a fault of the answer.
func (c *Client) stream(ctx context.Context, r Request, read func(*splitter) error) error {
	if r.Limit <= 0 {
		r.Limit = usualAnswer
	}
	began := c.options.Now()
	response, err := c.Open(ctx, r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body := &limited{from: response.Body, left: r.Limit}
	s := newSplitter(body)
	if err = read(s); err == nil {
		err = s.end()
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case body.err != nil:
		return &Unreachable{Server: r.To, Until: c.backoff.failed(r.To, began), Err: body.err}
	}
	// Not wrapped: what is wrong with the answer is no error of whoever wanted it.
	return fmt.Errorf("%w: %s %s: %v", ErrAnswer, r.To, path(r.URI), err)
}

// limited is an answer that is not read for ever, and knows whether reading has failed.
type limited struct {
	from io.Reader
	left int64
	err  error // of from
}

// Read implements io.Reader.
func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		// Whether it has come to its end is known by one byte more.
		if n, err := l.from.Read(make([]byte, 1)); n == 0 && err != nil {
			return 0, l.note(err)
		}
		return 0, errEndless
	}
	n, err := l.from.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	return n, l.note(err)
}

func (l *limited) note(err error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		l.err = err
	}
	return err
}
