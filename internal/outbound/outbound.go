// Package outbound makes HTTP clients for addresses that strangers choose:
// pages to preview, push gateways, identity servers, other homeservers. Such a
// client reaches no machine of the private network.
//
// The address is checked where it is used, at the connected socket's own
// destination, after every resolution of the name: a name that resolves to
// something harmless first and to 127.0.0.1 the next time gains nothing.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrRefused is wrapped by the errors of whatever a [Guard] does not allow.
var ErrRefused = errors.New("the address is not one that may be reached")

// Options are what a [Guard] allows.
type Options struct {
	// Allow are ranges that may be reached though they are private.
	Allow []netip.Prefix
	// Deny are ranges that may not be reached though they are public. Allow
	// wins.
	Deny []netip.Prefix
	// Ports that may be reached; empty: all.
	Ports []int
	// Redirects is how many redirects a request follows; 0: none, the
	// redirect itself is the answer.
	Redirects int
	// Timeout is how long a request may take, its body included; 0: as long
	// as its context.
	Timeout time.Duration
	// Idle is how many connections to a host are kept for further requests;
	// default 2.
	Idle int
	// Authorities sign the certificates of those who are reached by TLS; nil: the system's.
	Authorities *x509.CertPool
	// Check has a say about each URL, redirects included; nil: all are fine.
	Check func(*url.URL) error
}

// A Guard decides which addresses may be reached.
type Guard struct{ options Options }

// New makes a guard.
func New(o Options) *Guard {
	if o.Idle <= 0 {
		o.Idle = 2
	}
	return &Guard{o}
}

// dialTime is how long a connection may take.
const dialTime = 10 * time.Second

// Client is an HTTP client behind the guard. It uses no proxy and keeps no
// cookies.
func (g *Guard) Client() *http.Client {
	return &http.Client{
		Transport: guarded{g, &http.Transport{
			DialContext: g.Dialer().DialContext, ForceAttemptHTTP2: true,
			MaxIdleConns: 16 * g.options.Idle, MaxIdleConnsPerHost: g.options.Idle, IdleConnTimeout: 30 * time.Second,
			TLSClientConfig:     &tls.Config{RootCAs: g.options.Authorities},
			TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		}},
		Timeout: g.options.Timeout,
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			switch {
			case g.options.Redirects == 0:
				return http.ErrUseLastResponse
			case len(via) > g.options.Redirects:
				return fmt.Errorf("more than %d redirects", g.options.Redirects)
			}
			return nil
		},
	}
}

// Authorities sign the certificates of those who are reached by TLS; nil: the system's.
func (g *Guard) Authorities() *x509.CertPool { return g.options.Authorities }

// Dialer dials behind the guard.
func (g *Guard) Dialer() *net.Dialer {
	return &net.Dialer{Timeout: dialTime, ControlContext: g.control}
}

// control sees the address that the socket is about to connect to.
func (g *Guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: network %s", ErrRefused, network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrRefused, address)
	}
	return g.Allowed(to)
}

// Allowed is an error that wraps [ErrRefused] unless the address may be reached.
func (g *Guard) Allowed(to netip.AddrPort) error {
	if len(g.options.Ports) > 0 && !slices.Contains(g.options.Ports, int(to.Port())) {
		return fmt.Errorf("%w: port %d", ErrRefused, to.Port())
	}
	for _, address := range meant(to.Addr()) {
		switch {
		case contains(g.options.Allow, address):
		case contains(g.options.Deny, address), contains(private, address), !address.IsGlobalUnicast():
			return fmt.Errorf("%w: %s", ErrRefused, address)
		}
	}
	return nil
}

// CheckURL is an error unless a URL is one that the guard lets through as far
// as that can be seen before its name is resolved.
func (g *Guard) CheckURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("%w: only http and https", ErrRefused)
	}
	if u.User != nil {
		return fmt.Errorf("%w: with a user name in the URL", ErrRefused)
	}
	if text := u.Port(); text != "" && len(g.options.Ports) > 0 {
		if port, err := strconv.Atoi(text); err != nil || !slices.Contains(g.options.Ports, port) {
			return fmt.Errorf("%w: port %s", ErrRefused, text)
		}
	}
	if g.options.Check != nil {
		return g.options.Check(u)
	}
	return nil
}

// guarded checks the URL of each request, those after redirects as well.
type guarded struct {
	guard *Guard
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.guard.CheckURL(r.URL); err != nil {
		return nil, err
	}
	return t.next.RoundTrip(r)
}

func contains(ranges []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(address) })
}

// meant is an address and the IPv4 address that is wrapped in it, if any:
// networks that translate take ::ffff:10.0.0.1, 64:ff9b::10.0.0.1 and
// 2002:a00:1:: to 10.0.0.1.
func meant(address netip.Addr) []netip.Addr {
	address = address.WithZone("").Unmap()
	if address.Is4() {
		return []netip.Addr{address}
	}
	raw := address.As16()
	switch {
	case translated.Contains(address):
		return []netip.Addr{netip.AddrFrom4([4]byte(raw[12:]))}
	case sixToFour.Contains(address):
		return []netip.Addr{netip.AddrFrom4([4]byte(raw[2:6]))}
	}
	return []netip.Addr{address}
}

var (
	translated = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
)

// private are the ranges that are nobody's on the Internet (the special-purpose
// registries of RFC 6890 and its successors).
var private = prefixes(`
	0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
	192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
	::/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8`)

func prefixes(text string) []netip.Prefix {
	var list []netip.Prefix
	for _, word := range strings.Fields(text) {
		list = append(list, netip.MustParsePrefix(word))
	}
	return list
}
