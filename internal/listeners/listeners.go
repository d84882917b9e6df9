// Package listeners serves HTTP on the addresses of a configuration: TCP
// and unix sockets, with or without TLS, until it is told to stop.
package listeners

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// A Group is a set of open listeners that serve one handler.
type Group struct {
	open []address
}

// An address is one that is listened on, with TLS or without.
type address struct {
	net.Listener
	secure *tls.Config
}

// Open listens on every address, host:port, tls:host:port or unix:/path, or on
// none. Addresses with tls: are served with the TLS configuration.
func Open(addresses []string, secure *tls.Config) (*Group, error) {
	g := &Group{}
	for _, text := range addresses {
		at, err := open(text, secure)
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("listen on %s: %w", text, err)
		}
		g.open = append(g.open, at)
	}
	return g, nil
}

func open(text string, secure *tls.Config) (address, error) {
	if plain, ok := strings.CutPrefix(text, "tls:"); ok {
		if secure == nil {
			return address{}, errors.New("there is no certificate: set tls_cert and tls_key")
		}
		listener, err := net.Listen("tcp", plain)
		return address{listener, secure}, err
	}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		listener, err := openSocket(path)
		return address{Listener: listener}, err
	}
	listener, err := net.Listen("tcp", text)
	return address{Listener: listener}, err
}

func openSocket(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Reverse proxies run as another user of the same group.
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// removeStale removes the socket of a process that was killed: one that
// nobody answers on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(errors.New("another process listens there"), conn.Close())
	}
	return os.Remove(path)
}

// accepting is the listener as it is served.
func (a address) accepting(clock *clock) net.Listener {
	slow := slowListener{a.Listener, clock}
	if a.secure == nil {
		return slow
	}
	return tls.NewListener(slow, a.secure)
}

// Addresses are those that are listened on, with the ports that the system
// chose where a port was 0.
func (g *Group) Addresses() []string {
	list := make([]string, len(g.open))
	for i, listener := range g.open {
		list[i] = listener.Addr().String()
		if listener.Addr().Network() == "unix" {
			list[i] = "unix:" + list[i]
		}
	}
	return list
}

// Close stops listening. Serve does it as well.
func (g *Group) Close() {
	for _, listener := range g.open {
		_ = listener.Close()
	}
}

// Options are how a Group serves.
type Options struct {
	Logger *slog.Logger
	// Drain is called when the stop begins: it should end long polls.
	Drain func()
	// Grace is how long requests may then go on.
	Grace time.Duration
	// Stall is how long a peer may neither send what it has promised nor take
	// what it has asked for; 0: a minute.
	Stall time.Duration
}

// Serve answers requests until ctx ends, lets those under way finish for
// Options.Grace, and closes what is left. It returns an error if a listener
// broke, or if requests had to be cut off.
func (g *Group) Serve(ctx context.Context, handler http.Handler, opts Options) error {
	if opts.Stall == 0 {
		opts.Stall = stall
	}
	server := &http.Server{
		Handler:           patient(handler, opts.Stall),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		// Clients break connections at any moment: that is for those who debug.
		ErrorLog: slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}
	lot := newLot()
	server.BaseContext = func(net.Listener) context.Context { return context.WithValue(context.Background(), lotKey{}, lot) }
	server.ConnContext = lot.connContext
	all := []net.Listener{&lot.returned}
	clock, stopped := newClock(opts.Stall), make(chan struct{})
	for _, at := range g.open {
		all = append(all, at.accepting(clock))
	}
	broken := make(chan error, len(all))
	var serving sync.WaitGroup
	serving.Go(lot.run)
	serving.Go(func() { clock.run(stopped) })
	for _, listener := range all {
		serving.Go(func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				broken <- fmt.Errorf("serve on %s: %w", listener.Addr(), err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-broken:
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), opts.Grace)
	defer cancel()
	if opts.Drain != nil {
		opts.Drain()
	}
	lot.close(grace)
	if stopErr := server.Shutdown(grace); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("requests did not end within %s: %w", opts.Grace, stopErr), server.Close())
	}
	close(stopped)
	serving.Wait()
	return err
}
