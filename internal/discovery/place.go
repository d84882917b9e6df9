package discovery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"trestle/internal/matrix"
)

// defaultPort is where homeservers are that say nothing else.
const defaultPort = "8448"

// maxTargets is how many places of an SRV record are tried.
const maxTargets = 8

// A Place is where a homeserver is reached.
type Place struct {
	Host        string   // of requests, with a port if its name has one
	Certificate string   // the host name or address that the certificate has to be for
	Targets     []string // host:port to connect to, best first
}

// key names a place in a pool of connections. What is at the end of a connection is told by all
// of the place: who changes any of it gets a new one.
func (p Place) key() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []string{p.Host, p.Certificate, strings.Join(p.Targets, " ")}))
	return hex.EncodeToString(sum[:16]) + ".invalid:443"
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

// find resolves a server name (Server-Server API § Resolving server names).
func (r *resolver) find(ctx context.Context, name matrix.ServerName) (Place, error) {
	host, port := split(name)
	if port == "" && !literal(host) {
		if delegated := r.delegated(ctx, host); delegated != "" {
			name = delegated
			host, port = split(delegated)
		}
	}
	place := Place{Host: string(name), Certificate: host}
	if port != "" || literal(host) {
		if port == "" {
			port = defaultPort
		}
		place.Targets = []string{net.JoinHostPort(host, port)}
		return place, nil
	}
	for _, service := range []string{"matrix-fed", "matrix"} { // the second is how it was called
		targets, err := r.service(ctx, service, host)
		if err != nil || len(targets) > 0 {
			place.Targets = targets
			return place, err
		}
	}
	place.Targets = []string{net.JoinHostPort(host, defaultPort)}
	return place, nil
}

// service is what an SRV record says, in the order in which to try it; nothing without one. A failure is
// as good as none: wherever the next step leads, the certificate has to be for the same name.
func (r *resolver) service(ctx context.Context, service, host string) ([]string, error) {
	_, records, _ := r.dns.LookupSRV(ctx, service, "tcp", host)
	if len(records) == 1 && records[0].Target == "." {
		return nil, fmt.Errorf("%w: the SRV record of %s says that there is no server", ErrNotFound, host) // RFC 2782
	}
	var targets []string
	for _, record := range records[:min(len(records), maxTargets)] {
		target := strings.TrimSuffix(record.Target, ".")
		if target != "" && record.Port != 0 {
			targets = append(targets, net.JoinHostPort(target, strconv.Itoa(int(record.Port))))
		}
	}
	return targets, nil
}
