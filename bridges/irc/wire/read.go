package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	maxTagsLength = 8191 // message-tags § Size limit
	smallBuffer   = 512  // of an idle connection
	busyBuffer    = 8192
	readMargin    = 1024 // servers are not exact about 512
)

// A lineReader reads lines into a buffer that is small while lines are few
// and short.
type lineReader struct {
	from       io.Reader
	buffer     []byte
	start, end int  // what is read and not yet returned
	crowded    bool // the last read filled it
}

// next is the next line without its end, valid until the next call. Bare CR and bare LF end a
// line, too.
func (l *lineReader) next(limit int) ([]byte, error) {
	searched := 0
	for {
		if i := bytes.IndexAny(l.buffer[l.start+searched:l.end], "\r\n"); i >= 0 {
			line := l.buffer[l.start : l.start+searched+i]
			l.start += searched + i + 1
			return line, nil
		}
		searched = l.end - l.start
		if searched > limit {
			return nil, ErrLineTooLong
		}
		if err := l.fill(limit); err != nil {
			return nil, err
		}
	}
}

// fill reads more, into as small a buffer as will do.
func (l *lineReader) fill(limit int) error {
	held, size := l.end-l.start, len(l.buffer)
	switch {
	case held == size: // nothing yet, or a line that is longer
		size = min(max(2*size, smallBuffer), limit+2)
	case held == 0 && l.crowded:
		size = max(size, busyBuffer)
	case held == 0 && l.end < smallBuffer:
		size = smallBuffer
	}
	if size != len(l.buffer) {
		resized := make([]byte, size)
		copy(resized, l.buffer[l.start:l.end])
		l.buffer = resized
	} else {
		copy(l.buffer, l.buffer[l.start:l.end])
	}
	l.start, l.end = 0, held
	n, err := l.from.Read(l.buffer[l.end:])
	l.end += n
	l.crowded = l.end == len(l.buffer)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// read takes what arrives until the connection ends. What arrived before the server's end is
// taken even if we could not write any more; what arrived before our own Close is not.
func (c *Conn) read() {
	lines := &lineReader{from: c.net}
	for c.Err() == nil {
		line, err := lines.next(maxTagsLength + c.Support().LineLen + readMargin)
		if err != nil {
			c.readFailed(err)
			break
		}
		c.heard.Store(int64(time.Since(c.started)))
		if len(line) > 0 {
			c.take(string(line))
		}
	}
	<-c.done
	if c.registering == nil {
		c.opts.Handler.Closed(c, c.Err())
	}
}

func (c *Conn) readFailed(err error) {
	switch {
	case errors.Is(err, io.EOF):
		err = &RegisterError{Reason: ErrRefused, Text: c.opts.Addr}
	case !errors.Is(err, ErrLineTooLong):
		err = fmt.Errorf("read from %s: %w", c.opts.Addr, err)
	}
	switch unsent := c.unsent.Load(); {
	case c.goodbye != nil:
		err = c.goodbye
	case unsent != nil:
		err = *unsent
	}
	if c.registering != nil {
		c.registering.ended(err)
	}
	c.fail(err)
}

// take handles one line. One that cannot be read is skipped: there is nobody who could
// repeat it.
func (c *Conn) take(line string) {
	m, err := Parse(line)
	if err != nil {
		c.opts.Logger.Debug("skipped a line from the server", "error", err)
		return
	}
	m.Time = timeOf(m)
	if m.Command == "PING" {
		c.now(NewMessage("PONG", m.Params[:min(len(m.Params), 1)]...))
		return
	}
	m.Batch = c.batches.of(m)
	c.learn(m)
	switch {
	case c.registering != nil:
		c.registering.see(m)
	case m.Command == "CAP":
		c.followCaps(m)
	case m.Command == "ERROR":
		c.goodbye = lastWords(m)
	}
	if whole := c.batches.add(m); whole != nil {
		c.show(whole)
	}
}

// show gives a message to who waits for one, and to the Handler.
func (c *Conn) show(m *Message) {
	c.busy.Store(true)
	c.tellWatchers(m)
	c.opts.Handler.Message(c, m)
	c.busy.Store(false)
}

// timeOf is a message's server-time, or now. A time that nobody can have meant counts as none.
func timeOf(m *Message) time.Time {
	now := time.Now()
	if at, err := time.Parse(time.RFC3339Nano, m.Tag("time")); err == nil && at.Year() > 1980 && at.Before(now.Add(24*time.Hour)) {
		return at
	}
	return now
}
