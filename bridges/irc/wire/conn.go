package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Conn is a registered connection. Its methods are safe for concurrent use.
type Conn struct {
	opts     Options
	net      net.Conn
	queue    queue
	support  atomic.Pointer[Support]
	tokens   atomic.Uint64
	started  time.Time
	heard    atomic.Int64 // when something was last read, since started
	busy     atomic.Bool  // the Handler is at work
	quitting atomic.Bool
	unsent   atomic.Pointer[error] // why we cannot write any more

	renaming chan struct{} // holds one while a nick is asked for: answers do not say what they answer

	done     chan struct{} // the connection has ended
	finished sync.WaitGroup

	registering *registration // the reading goroutine's; nil when done
	registered  chan error    // capacity 1
	batches     batches       // the reading goroutine's
	goodbye     error         // the reading goroutine's: the server's last words

	mu       sync.Mutex
	err      error
	self     Prefix
	channels map[string]bool // that we are in, folded
	caps     map[string]string
	offered  map[string]string
	lent     bool // caps and offered are others', too
	watchers []*watcher
}

// Dial connects and registers; ctx bounds this only. The error is a
// *RegisterError when the server refused us.
func Dial(ctx context.Context, opts Options) (*Conn, error) {
	opts = opts.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, opts.Register)
	defer cancel()
	conn, err := connect(ctx, opts)
	if err != nil {
		return nil, err
	}
	c := &Conn{
		opts: opts, net: conn, started: time.Now(),
		renaming: make(chan struct{}, 1), done: make(chan struct{}), registered: make(chan error, 1),
		self:     Prefix{Nick: opts.Nick},
		channels: map[string]bool{}, caps: map[string]string{}, offered: map[string]string{},
	}
	c.support.Store(newSupport())
	c.queue.init(opts.QueueSize, *opts.Flood, c.started)
	c.registering = newRegistration(c)
	if err := c.registering.start(); err != nil {
		conn.Close()
		return nil, err
	}
	c.finished.Go(c.read)
	c.finished.Go(c.write)
	select {
	case err = <-c.registered:
	case <-ctx.Done():
		err = fmt.Errorf("register with %s: %w", opts.Addr, ctx.Err())
	}
	if err != nil {
		c.fail(err)
		c.finished.Wait()
		return nil, err
	}
	return c, nil
}

func connect(ctx context.Context, opts Options) (net.Conn, error) {
	conn, err := opts.DialContext(ctx, "tcp", opts.Addr)
	if err != nil || opts.TLS == nil {
		return conn, err
	}
	config := opts.TLS
	if config.ServerName == "" && !config.InsecureSkipVerify {
		host, _, err := net.SplitHostPort(opts.Addr)
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
		return nil, fmt.Errorf("TLS with %s: %w", opts.Addr, err)
	}
	return secured, nil
}

// Support is what the server said about itself so far.
func (c *Conn) Support() *Support { return c.support.Load() }

// Addr is the server's address as it was asked for.
func (c *Conn) Addr() string { return c.opts.Addr }

// LocalAddr is our end of the connection, for identd.
func (c *Conn) LocalAddr() net.Addr { return c.net.LocalAddr() }

// RemoteAddr is the server's end.
func (c *Conn) RemoteAddr() net.Addr { return c.net.RemoteAddr() }

// HasCap tells whether a capability is on.
func (c *Conn) HasCap(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, on := c.caps[name]
	return on
}

// CapValue is what the server said beside a capability ("max-bytes=4096,…").
func (c *Conn) CapValue(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offered[name]
}

// Done is closed when the connection has ended; Err says why.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the connection ended: nil while it lives, ErrClosed after Close or Quit.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail ends the connection; the first reason counts.
func (c *Conn) fail(err error) {
	if c.quitting.Load() {
		err = ErrClosed
	}
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
		close(c.done)
	}
	c.mu.Unlock()
	if first {
		c.net.Close()
	}
}

// Close drops the connection at once, and waits for its goroutines.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	c.finished.Wait()
	return nil
}

// quitWait is how long a server that was slow to take what was queued may take
// to read one last QUIT.
const quitWait = time.Second

// Quit says goodbye after what is queued, waits for the server to close (ctx
// bounds it), and closes. What is still queued when ctx ends is not sent.
func (c *Conn) Quit(ctx context.Context, reason string) error {
	defer c.Close()
	goodbye := NewMessage("QUIT", clip(reason, maxReason))
	line, err := goodbye.Append(nil)
	if err != nil {
		return err
	}
	if err := c.Send(ctx, goodbye); err != nil && ctx.Err() == nil {
		return err
	}
	c.quitting.Store(true)
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	c.queue.urgent(line)
	select {
	case <-c.done:
	case <-time.After(quitWait):
	}
	return ctx.Err()
}

// maxReason keeps a goodbye within a line.
const maxReason = 300

func clip(s string, length int) string {
	if len(s) <= length {
		return s
	}
	return SplitText(s, length)[0]
}
