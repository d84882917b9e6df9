package discovery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"trestle/internal/matrix"
)

// idleFor is how long connections stay without a request.
const idleFor = 60 * time.Second

// A Transport carries requests to homeservers: https://example.org/_matrix/… goes to wherever
// example.org is. It follows no redirects; how long a request takes is up to its context.
type Transport struct {
	resolver *resolver
	pool     *http.Transport
}

// NewTransport makes a transport.
func NewTransport(o Options) *Transport {
	if o.PerServer <= 0 {
		o.PerServer = 16
	}
	t := &Transport{resolver: newResolver(o)}
	t.pool = &http.Transport{
		DialTLSContext: t.connect, MaxConnsPerHost: o.PerServer, MaxIdleConnsPerHost: min(o.PerServer, 4), MaxIdleConns: 512,
		IdleConnTimeout: idleFor, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
	}
	return t
}

type placeKey struct{}

// RoundTrip implements http.RoundTripper. The errors of names that lead nowhere wrap [ErrNotFound].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		closeBody(r)
		return nil, fmt.Errorf("homeservers are reached by https, not %q", r.URL.Scheme)
	}
	name := matrix.ServerName(r.URL.Host)
	place, err := t.resolver.Find(r.Context(), name)
	if err != nil {
		closeBody(r)
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	to := r.Clone(context.WithValue(r.Context(), placeKey{}, place))
	to.Host, to.URL.Host = place.Host, place.key()
	response, err := t.pool.RoundTrip(to)
	if failed := (*connectError)(nil); errors.As(err, &failed) {
		t.resolver.places.Delete(name) // it may have moved
	}
	if response != nil {
		response.Request = r
	}
	return response, err
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// A connectError is that a server could not be connected to.
type connectError struct{ err error }

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// connect dials the place of a request, whose certificate has to be right before anything is said.
func (t *Transport) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	place, ok := ctx.Value(placeKey{}).(Place)
	if !ok {
		return nil, errors.New("discovery: a connection to no place")
	}
	plain, err := t.resolver.dialTargets(ctx, place.Targets)
	if err != nil {
		return nil, &connectError{err}
	}
	secure := tls.Client(plain, &tls.Config{
		ServerName: place.Certificate, RootCAs: t.resolver.guard.Authorities(), MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	})
	ctx, cancel := context.WithTimeout(ctx, connecting)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = plain.Close()
		return nil, &connectError{err}
	}
	return secure, nil
}

// Find is where a server is.
func (t *Transport) Find(ctx context.Context, name matrix.ServerName) (Place, error) {
	return t.resolver.Find(ctx, name)
}

// CloseIdleConnections closes connections that serve nobody.
func (t *Transport) CloseIdleConnections() { t.pool.CloseIdleConnections() }
