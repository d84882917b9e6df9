package listeners

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// stall is how long a peer may neither send what it has promised nor take
	// what it has asked for.
	stall = time.Minute
	// slowest is how many bytes of a body have to come each second, once it has
	// had the time of a stall: who sends a byte now and then does not stall.
	slowest = 1 << 10
	// piece is how much of an answer a peer has that time for.
	piece = 64 << 10
)

// patient ends request bodies that do not come. Handlers see an error that is
// [os.ErrDeadlineExceeded].
func patient(handler http.Handler, stall time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			timed := *r
			timed.Body = &body{ReadCloser: r.Body, control: http.NewResponseController(w), stall: stall, begun: time.Now()}
			r = &timed
		}
		handler.ServeHTTP(w, r)
	})
}

// A body is that of a request, in time.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	begun   time.Time
	read    int64
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	until := time.Now().Add(b.stall)
	if all := b.begun.Add(b.stall + time.Duration(b.read/slowest)*time.Second); all.Before(until) {
		until = all
	}
	_ = b.control.SetReadDeadline(until) // where it can be done
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if err != nil {
		// From here on the server itself reads, to see whether the client leaves.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// A slowConn is a connection that breaks when the peer takes nothing; handlers may
// set a deadline of their own. Deadlines that are not close are kept by the clock:
// net/http sets some for each request, none of which is ever met, and each of the
// system's costs more than the reading of a request.
type slowConn struct {
	net.Conn
	clock *clock

	mu          sync.Mutex
	read, write deadline
	own         bool // a deadline for writing is somebody else's
}

// A deadline is that of reads or writes of a slowConn, under its lock.
type deadline struct {
	until time.Time // kept by the clock, or zero
	exact bool      // the connection itself has one
}

// move sets a deadline by set, that of the connection, if it is close.
func (d *deadline) move(t time.Time, grain time.Duration, set func(time.Time) error) error {
	if !t.IsZero() && time.Until(t) < grain {
		*d = deadline{exact: true}
		return set(t)
	}
	was := d.exact
	*d = deadline{until: t}
	if was {
		return set(time.Time{})
	}
	return nil
}

// meet lets a deadline pass that is over.
func (d *deadline) meet(now time.Time, set func(time.Time) error) {
	if !d.until.IsZero() && now.After(d.until) {
		*d = deadline{exact: true}
		_ = set(past)
	}
}

// Write implements net.Conn.
func (c *slowConn) Write(p []byte) (int, error) {
	written := 0
	for {
		next := p[written:min(len(p), written+piece)]
		c.writing(time.Now().Add(c.clock.stall))
		n, err := c.Conn.Write(next)
		written += n
		if err != nil || written == len(p) {
			c.writing(time.Time{})
			return written, err
		}
	}
}

// writing moves the deadline of a write, unless somebody else's is set.
func (c *slowConn) writing(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.own {
		_ = c.write.move(until, c.clock.grain, c.Conn.SetWriteDeadline) // where it can be done
	}
}

// SetReadDeadline implements net.Conn.
func (c *slowConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read.move(t, c.clock.grain, c.Conn.SetReadDeadline)
}

// SetWriteDeadline implements net.Conn.
func (c *slowConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.own = !t.IsZero()
	return c.write.move(t, c.clock.grain, c.Conn.SetWriteDeadline)
}

// SetDeadline implements net.Conn.
func (c *slowConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close implements net.Conn.
func (c *slowConn) Close() error {
	c.clock.forget(c)
	return c.Conn.Close()
}

// CloseWrite lets the peer read what it was sent before the connection ends.
func (c *slowConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// meet lets the deadlines pass that are over.
func (c *slowConn) meet(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.meet(now, c.Conn.SetReadDeadline)
	c.write.meet(now, c.Conn.SetWriteDeadline)
}

// A clock keeps the deadlines of connections, to a grain.
type clock struct {
	stall, grain time.Duration

	mu    sync.Mutex
	conns map[*slowConn]struct{}
}

func newClock(stall time.Duration) *clock {
	return &clock{stall: stall, grain: min(time.Second, stall/8), conns: map[*slowConn]struct{}{}}
}

// run keeps deadlines until done is closed.
func (k *clock) run(done <-chan struct{}) {
	ticker := time.NewTicker(k.grain)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-ticker.C:
			k.mu.Lock()
			for c := range k.conns {
				c.meet(now)
			}
			k.mu.Unlock()
		}
	}
}

// keep has a connection's deadlines kept from now on.
func (k *clock) keep(conn net.Conn) *slowConn {
	c := &slowConn{Conn: conn, clock: k}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conns[c] = struct{}{}
	return c
}

func (k *clock) forget(c *slowConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
}

// A slowListener accepts such connections.
type slowListener struct {
	net.Listener
	clock *clock
}

// Accept implements net.Listener.
func (l slowListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.clock.keep(conn), nil
}
