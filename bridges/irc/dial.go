package irc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"trestle/bridges/irc/wire"
)

// dialWait bounds the wait for one address of a server to accept a connection.
const dialWait = 20 * time.Second

// A call is how an owner wants to be connected: what does not depend on the server, and
// what is done around it.
type call struct {
	wire.Options
	secure   *tls.Config                               // nil: plain text
	sasl     func() wire.SASL                          // a run for each attempt; nil: nobody asked for one
	identify func(context.Context, *wire.Conn) error   // logs in where there is no SASL; nil: not at all
	writes   func(b []byte, done bool)                 // see tap
	source   func(context.Context) (netip.Addr, error) // our address; nil: the system chooses
	userName func(context.Context) (string, error)     // our user name; nil: that of the options
	scout    bool                                      // goes first, and to servers that did not answer lately
}

// dial connects to the first of the network's servers that can be reached.
func (n *network) dial(ctx context.Context, c *call) (*wire.Conn, error) {
	if c.userName != nil {
		user, err := c.userName(ctx)
		if err != nil {
			return nil, err
		}
		c.User = user
	}
	var tried []string
	var last error
	for {
		addr, err := n.servers.next(time.Now(), tried, c.scout)
		if err != nil {
			if last != nil {
				err = last
			}
			return nil, err
		}
		began := time.Now()
		conn, err := n.dialServer(ctx, c, addr)
		n.servers.note(addr, began, time.Now(), err)
		if err == nil || !elsewhere(err) || ctx.Err() != nil {
			return conn, err
		}
		tried, last = append(tried, addr), err
	}
}

// dialServer makes a connection that is logged in if the owner asked for that.
func (n *network) dialServer(ctx context.Context, c *call, addr string) (*wire.Conn, error) {
	options := c.Options
	options.Addr, options.Shared = addr, &n.shared
	if c.sasl == nil {
		return n.register(ctx, c, options)
	}
	options.SASL = c.sasl()
	conn, err := n.register(ctx, c, options)
	refusal, refused := errors.AsType[*wire.RegisterError](err)
	if c.identify == nil || !refused || refusal.Code != "" || !errors.Is(err, wire.ErrNoSASL) {
		return conn, err
	}
	options.SASL = nil
	if conn, err = n.register(ctx, c, options); err != nil {
		return nil, err
	}
	if err := c.identify(ctx, conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// register waits for its turn, connects and registers. Few handshakes are under way at once;
// what comes after them the server may take its time for (InspIRCd looks once a second).
func (n *network) register(ctx context.Context, c *call, options wire.Options) (*wire.Conn, error) {
	connected := func() {}
	if !c.scout {
		if err := n.pace.wait(ctx); err != nil {
			return nil, err
		}
		select {
		case n.dialing <- struct{}{}:
			connected = sync.OnceFunc(func() { <-n.dialing })
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer connected()
	options.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		defer connected()
		return n.connection(ctx, c, network, addr)
	}
	return wire.Dial(ctx, options)
}

// connection makes one of bytes: from the owner's address, known to identd before the
// server can ask, with TLS, and tapped.
func (n *network) connection(ctx context.Context, c *call, network, addr string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialWait}
	if c.source != nil {
		source, err := c.source(ctx)
		if err != nil {
			return nil, err
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		dialer.Control = freebind
	}
	idents := n.service.idents
	if idents != nil {
		defer idents.Connecting()()
	}
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if idents != nil {
		conn = &identified{conn, idents.Add(addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr()), c.User)}
	}
	if c.secure != nil {
		if conn, err = secure(ctx, conn, c.secure, addr); err != nil {
			return nil, err
		}
	}
	if c.writes != nil {
		conn = &tap{conn, c.writes}
	}
	return conn, nil
}

func addrPort(addr net.Addr) netip.AddrPort {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

// An identified connection is known to identd until it is closed.
type identified struct {
	net.Conn
	forget func()
}

// Close implements net.Conn.
func (c *identified) Close() error {
	c.forget()
	return c.Conn.Close()
}

func secure(ctx context.Context, conn net.Conn, config *tls.Config, addr string) (net.Conn, error) {
	if config.ServerName == "" && !config.InsecureSkipVerify {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			conn.Close()
			return nil, err
		}
		config = config.Clone()
		config.ServerName = host
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secured, nil
}
