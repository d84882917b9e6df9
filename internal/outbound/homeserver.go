package outbound

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"trestle/internal/matrix"
)

const (
	maxWellKnown   = 16 << 10 // bytes
	federationPort = "8448"
)

// A place is where a homeserver is reached.
type place struct {
	host    string // of requests, whose TLS certificate it must have; with a port if its name has one
	address string // to connect to
}

// A finder is what it takes to find a homeserver.
type finder struct {
	delegated func(host string) string // the server name that host's /.well-known/matrix/server says; empty: none
	service   func(name, host string) (target string, port uint16, ok bool)
}

// find resolves a server name (Server-Server API § Resolving server names).
func (f finder) find(name matrix.ServerName) place {
	host, port := split(name)
	if port == "" && !literal(host) {
		if delegated, err := matrix.ParseServerName(f.delegated(host)); err == nil {
			name = delegated
			host, port = split(delegated)
		}
	}
	if port != "" || literal(host) {
		if port == "" {
			port = federationPort
		}
		return place{string(name), net.JoinHostPort(host, port)}
	}
	for _, service := range []string{"matrix-fed", "matrix"} { // the second is how it was called
		if target, port, ok := f.service(service, host); ok {
			return place{host, net.JoinHostPort(strings.TrimSuffix(target, "."), strconv.Itoa(int(port)))}
		}
	}
	return place{host, net.JoinHostPort(host, federationPort)}
}

// split takes a server name, whose grammar was checked, apart; port is empty if it has none.
func split(name matrix.ServerName) (host, port string) {
	host = string(name)
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host, port = host[:i], host[i+1:]
	}
	return strings.Trim(host, "[]"), port
}

func literal(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// Homeserver is a client for requests to a homeserver, which it finds by its name, and what their
// URLs begin with. The client keeps no connection.
func (g *Guard) Homeserver(ctx context.Context, name matrix.ServerName) (client *http.Client, base string, err error) {
	if _, err := matrix.ParseServerName(string(name)); err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrRefused, err)
	}
	pages := g.Client()
	defer pages.CloseIdleConnections()
	to := finder{
		delegated: func(host string) string { return wellKnown(ctx, pages, host) },
		service: func(name, host string) (string, uint16, bool) {
			_, records, err := net.DefaultResolver.LookupSRV(ctx, name, "tcp", host)
			if err != nil || len(records) == 0 {
				return "", 0, false
			}
			return records[0].Target, records[0].Port, true
		},
	}.find(name)
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return g.Dialer().DialContext(ctx, network, to.address)
	}
	client = g.Client()
	client.Transport = guarded{g, &http.Transport{
		DialContext: dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: g.options.Authorities},
		TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: dialTime, MaxResponseHeaderBytes: 64 << 10,
	}}
	return client, "https://" + to.host, nil
}

// wellKnown is which server a host says that its homeserver is.
func wellKnown(ctx context.Context, client *http.Client, host string) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/.well-known/matrix/server", nil)
	if err != nil {
		return ""
	}
	response, err := client.Do(r)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxWellKnown))
	if err != nil || response.StatusCode != http.StatusOK {
		return ""
	}
	var says struct {
		Server string `json:"m.server"`
	}
	_ = json.Unmarshal(raw, &says) // what is broken names no server
	return says.Server
}
