package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/singleflight"

	"trestle/internal/lru"
	"trestle/internal/matrix"
	"trestle/internal/outbound"
)

// ErrNotFound is wrapped by the errors of names that lead nowhere.
var ErrNotFound = errors.New("the server cannot be found")

// DNS is what is asked of the domain name system; [net.Resolver] is one.
type DNS interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are what discovery works with.
type Options struct {
	Guard *outbound.Guard // of all connections
	DNS   DNS             // nil: the system's
	Now   func() time.Time
	// Dial connects to an address; nil: the guard's dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// PerServer is how many connections there may be with one server at the same time; default 16.
	PerServer int
}

const (
	// knownPlaces is how many names are remembered, and how long: DNS has its own caches, and
	// whoever moves their server is found soon.
	knownPlaces  = 4096
	placeRemains = 5 * time.Minute
	// finding is the longest that finding a server takes.
	finding = 30 * time.Second
	// findingAtOnce is how many are looked for at the same time: strangers choose them.
	findingAtOnce = 64
)

// A resolver finds servers by their names.
type resolver struct {
	dialer
	guard *outbound.Guard
	now   func() time.Time

	places    *lru.Cache[matrix.ServerName, knownPlace]
	wellKnown *lru.Cache[string, statement]
	pages     *http.Client // for well-known files
	flights   singleflight.Group
	atOnce    chan struct{}
}

type knownPlace struct {
	place Place
	until time.Time
}

func newResolver(o Options) *resolver {
	r := &resolver{
		dialer: dialer{dns: o.DNS, dial: o.Dial}, guard: o.Guard, now: o.Now,
		places:    lru.New[matrix.ServerName, knownPlace](knownPlaces, nil),
		wellKnown: lru.New[string, statement](knownPlaces, nil),
		atOnce:    make(chan struct{}, findingAtOnce),
	}
	if r.dns == nil {
		r.dns = net.DefaultResolver
	}
	if r.dial == nil {
		r.dial = o.Guard.Dialer().DialContext
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.pages = r.newPages()
	return r
}

// Find is where a server is. Many who ask for one name at the same time are answered at once.
func (r *resolver) Find(ctx context.Context, name matrix.ServerName) (Place, error) {
	if known, ok := r.places.Get(name); ok && r.now().Before(known.until) {
		return known.place, nil
	}
	if _, err := matrix.ParseServerName(string(name)); err != nil {
		return Place{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	came := r.flights.DoChan(string(name), func() (any, error) {
		if known, ok := r.places.Get(name); ok && r.now().Before(known.until) {
			return known.place, nil // it has just been found
		}
		// The first to ask may go away; the others go on.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finding)
		defer cancel()
		select {
		case r.atOnce <- struct{}{}:
			defer func() { <-r.atOnce }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		place, err := r.find(ctx, name)
		if err == nil {
			r.places.Put(name, knownPlace{place, r.now().Add(placeRemains)})
		}
		return place, err
	})
	select {
	case result := <-came:
		place, _ := result.Val.(Place)
		return place, result.Err
	case <-ctx.Done():
		return Place{}, ctx.Err()
	}
}
