package listeners

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Lot is where connections wait whose clients want to be answered when there
// is something to say. A waiting request costs net/http two goroutines and its
// buffers; a connection in a Lot costs one small goroutine, which watches
// whether the client is still there. When the wait is over, the connection goes
// back to the server with its request, which is served as if it had just come.
type Lot struct {
	returned returned

	mu     sync.Mutex
	parked map[*parked]struct{}
	woken  []*parked
	closed bool
	signal chan struct{} // capacity 1: woken is not empty, or closed
	gone   chan struct{} // closed when the Lot is closed and empty
}

// A parked is one connection.
type parked struct {
	lot     *Lot
	conn    net.Conn
	request []byte
	until   time.Time
	timer   *time.Timer
	leave   func()

	// Guarded by the Lot's lock.
	awake bool
	left  bool // the connection is the server's or the system's again
}

func newLot() *Lot {
	return &Lot{
		returned: returned{conns: make(chan net.Conn), done: make(chan struct{})},
		parked:   map[*parked]struct{}{}, signal: make(chan struct{}, 1), gone: make(chan struct{}),
	}
}

// Park takes over a hijacked connection until wake is called, the time has come
// or the client speaks, and then has the request served again; a client that
// goes away ends it too. subscribe is called once, before Park returns; wake
// never blocks and may be called from under locks. leave is called at the end.
func (l *Lot) Park(conn net.Conn, request []byte, until time.Time, subscribe func(wake func()) (leave func())) {
	if back, ok := conn.(*returnedConn); ok && len(back.request) == 0 {
		conn = back.Conn
	}
	p := &parked{lot: l, conn: conn, request: request, until: until}
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.parked[p] = struct{}{}
	}
	l.mu.Unlock()
	p.leave = subscribe(p.wake)
	if closed {
		p.leave()
		go p.giveBack(nil)
		return
	}
	p.timer = time.AfterFunc(time.Until(until), p.wake)
	go p.watch()
}

// wake ends the wait, soon.
func (p *parked) wake() {
	l := p.lot
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.awake {
		return
	}
	p.awake = true
	l.woken = append(l.woken, p)
	l.ring()
}

// ring is called with the lock held.
func (l *Lot) ring() {
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// watch blocks in a read, which a deadline in the past ends.
func (p *parked) watch() {
	var next [1]byte
	n, err := p.conn.Read(next[:])
	p.timer.Stop()
	p.leave()
	p.leave = nil // it knows of much
	p.lot.mu.Lock()
	p.left = true
	p.lot.mu.Unlock()
	if n == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
		_ = p.conn.Close()
		p.lot.forget(p)
		return
	}
	p.giveBack(next[:n])
}

// giveBack lets the server read the request, and what has been read behind it.
func (p *parked) giveBack(more []byte) {
	back := &returnedConn{Conn: p.conn, request: append(p.request, more...), parked: p}
	if err := p.conn.SetReadDeadline(time.Time{}); err != nil {
		_ = back.Close()
		return
	}
	p.lot.returned.give(back)
}

func (l *Lot) forget(p *parked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.parked, p)
	if l.closed {
		l.ring()
	}
}

var past = time.Unix(1, 0)

// run ends the reads of those who are woken, until the Lot is closed and empty.
func (l *Lot) run() {
	for range l.signal {
		l.mu.Lock()
		woken := l.woken
		l.woken = nil
		empty := l.closed && len(l.parked) == 0
		l.mu.Unlock()
		for _, p := range woken {
			l.mu.Lock()
			if !p.left {
				_ = p.conn.SetReadDeadline(past) // a closed connection ends the read as well
			}
			l.mu.Unlock()
		}
		if empty {
			close(l.gone)
			return
		}
	}
}

// close gives all connections back; those that come later go back at once. It
// returns when all are back, or when the context ends.
func (l *Lot) close(ctx context.Context) {
	l.mu.Lock()
	l.closed = true
	for p := range l.parked {
		if !p.awake {
			p.awake = true
			l.woken = append(l.woken, p)
		}
	}
	l.ring()
	l.mu.Unlock()
	select {
	case <-l.gone:
	case <-ctx.Done():
	}
}

// returned is the listener by which connections come back to the server.
type returned struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (r *returned) Accept() (net.Conn, error) {
	select {
	case conn := <-r.conns:
		return conn, nil
	case <-r.done:
		return nil, net.ErrClosed
	}
}

func (r *returned) Close() error {
	r.once.Do(func() { close(r.done) })
	return nil
}

func (r *returned) Addr() net.Addr { return &net.UnixAddr{Name: "waiting clients", Net: "unix"} }

func (r *returned) give(conn net.Conn) {
	select {
	case r.conns <- conn:
	case <-r.done:
		_ = conn.Close()
	}
}

// A returnedConn has its request read again. The Lot counts it until that is
// served: a server that stops drops what it has accepted and not read.
type returnedConn struct {
	net.Conn
	request []byte
	parked  *parked
	taken   atomic.Bool
}

func (c *returnedConn) Close() error {
	c.take()
	return c.Conn.Close()
}

// take is true for the first who asks.
func (c *returnedConn) take() bool {
	if !c.taken.CompareAndSwap(false, true) {
		return false
	}
	c.parked.lot.forget(c.parked)
	return true
}

func (c *returnedConn) Read(b []byte) (int, error) {
	if len(c.request) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.request)
	if c.request = c.request[n:]; len(c.request) == 0 {
		c.request = nil
	}
	return n, nil
}

type (
	lotKey     struct{}
	resumedKey struct{}
)

func (l *Lot) connContext(ctx context.Context, conn net.Conn) context.Context {
	if back, ok := conn.(*returnedConn); ok {
		ctx = context.WithValue(ctx, resumedKey{}, back)
	}
	return ctx
}

// LotOf is the Lot of the server that a request's context belongs to, or nil.
func LotOf(ctx context.Context) *Lot {
	l, _ := ctx.Value(lotKey{}).(*Lot)
	return l
}

// TakeResumed tells, once for a connection that has come back, that its first
// request has waited, and until when it wants to wait.
func TakeResumed(ctx context.Context) (until time.Time, ok bool) {
	back, _ := ctx.Value(resumedKey{}).(*returnedConn)
	if back == nil || !back.take() {
		return time.Time{}, false
	}
	return back.parked.until, true
}
