package irc

import (
	"context"

	"trestle/bridges/irc/wire"
)

// A link is one attempt at a connection: being dialed, up, or gone. Its fields belong to
// the network's loop.
type link struct {
	net    *network
	owner  owner
	conn   *wire.Conn // nil until it is registered
	closed bool
	err    error  // why it is closed
	unused bool   // the owner wants it no more
	user   string // the name with which it was made
	steps  int    // by which it is slower than configured: see restraint

	loggedIn bool // as whom its owner wants to be, once it is up
}

// An owner is who uses a link: the bot or a puppet. All methods but receive
// are called on the network's loop.
type owner interface {
	// call says how to connect; an error, that the owner may not.
	call() (*call, error)
	// up is called when the connection is registered.
	up(l *link)
	// down is called, once, when the connection has ended or could not be made,
	// after everything that it brought has been received.
	down(l *link, err error)
	// receive is called on the connection's own goroutine.
	receive(l *link, c *wire.Conn, m *wire.Message)
}

// connect begins to connect.
func (n *network) connect(o owner) *link {
	l := &link{net: n, owner: o}
	c, err := o.call()
	if n.stopping {
		err = context.Canceled
	}
	if err == nil {
		c.Handler, l.loggedIn = l, c.sasl != nil
		n.paced(l, c)
	}
	n.goRun(func() {
		var conn *wire.Conn
		if err == nil {
			conn, err = n.dial(n.ctx, c)
		}
		if !n.ask(n.ctx, func() { l.dialed(c, conn, err) }) && err == nil {
			conn.Close()
		}
	})
	return l
}

func (l *link) dialed(c *call, conn *wire.Conn, err error) {
	switch {
	case err != nil:
		l.closed, l.err = true, err
		l.owner.down(l, err)
	case l.closed: // registered, and ended at once
		l.owner.down(l, l.err)
	case l.unused:
		l.conn = conn
		l.quit("")
	default:
		l.conn, l.user = conn, c.User
		l.net.firstMapping(conn)
		l.net.noteRoom(l.room())
		l.owner.up(l)
	}
}

// quit ends the link; the owner hears of its end as of any other.
func (l *link) quit(reason string) {
	l.unused = true
	conn := l.conn
	if conn == nil || l.closed {
		return
	}
	l.net.goRun(func() { quit(conn, reason) })
}

// Message implements wire.Handler.
func (l *link) Message(c *wire.Conn, m *wire.Message) { l.owner.receive(l, c, m) }

// Closed implements wire.Handler.
func (l *link) Closed(_ *wire.Conn, err error) {
	l.net.post(func() {
		l.closed, l.err = true, err
		l.net.noteFlooding(l, err)
		if l.conn != nil {
			l.owner.down(l, err)
		}
	})
}
