package listeners

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
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

// A slowConn is a connection that breaks when the peer takes nothing. Handlers
// may set a deadline of their own.
type slowConn struct {
	net.Conn
	stall time.Duration
	own   atomic.Bool // a deadline of somebody else is set
}

// Write implements net.Conn.
func (c *slowConn) Write(p []byte) (int, error) {
	written := 0
	for {
		next := p[written:min(len(p), written+piece)]
		if !c.own.Load() {
			_ = c.Conn.SetWriteDeadline(time.Now().Add(c.stall))
		}
		n, err := c.Conn.Write(next)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// SetWriteDeadline implements net.Conn.
func (c *slowConn) SetWriteDeadline(t time.Time) error {
	c.own.Store(!t.IsZero())
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *slowConn) SetDeadline(t time.Time) error {
	c.own.Store(!t.IsZero())
	return c.Conn.SetDeadline(t)
}

// CloseWrite lets the peer read what it was sent before the connection ends.
func (c *slowConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// A slowListener accepts such connections.
type slowListener struct {
	net.Listener
	stall time.Duration
}

// Accept implements net.Listener.
func (l slowListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{Conn: conn, stall: l.stall}, nil
}
