package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

const (
	// connecting is how long one address may take, and a handshake.
	connecting = 10 * time.Second
	// headStart is what an address has before the next one is tried beside it (RFC 8305 § 5).
	headStart = 250 * time.Millisecond
	// maxAddresses of one host are tried.
	maxAddresses = 8
)

// A dialer connects to hosts by all their addresses.
type dialer struct {
	dns  DNS
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// dialHost connects to host:port, by the first address that answers.
func (d *dialer) dialHost(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if literal(host) {
		return d.dialOne(ctx, address)
	}
	found, err := d.dns.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: %s has no address", ErrNotFound, host)
	}
	var addresses []string
	for _, ip := range alternating(found) {
		addresses = append(addresses, net.JoinHostPort(ip.String(), port))
	}
	return d.race(ctx, addresses)
}

// dialTargets connects to the first of several hosts that can be reached.
func (d *dialer) dialTargets(ctx context.Context, targets []string) (net.Conn, error) {
	var all error
	for _, target := range targets {
		connection, err := d.dialHost(ctx, "tcp", target)
		if err == nil || ctx.Err() != nil {
			return connection, err
		}
		all = errors.Join(all, err)
	}
	return nil, all
}

func (d *dialer) dialOne(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connecting)
	defer cancel()
	return d.dial(ctx, "tcp", address)
}

// alternating are addresses of both families in turn, those of the first one first.
func alternating(found []netip.Addr) []netip.Addr {
	var first, second, list []netip.Addr
	for _, ip := range found {
		if ip = ip.Unmap(); ip.Is4() == found[0].Unmap().Is4() {
			first = append(first, ip)
		} else {
			second = append(second, ip)
		}
	}
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			list = append(list, first[i])
		}
		if i < len(second) {
			list = append(list, second[i])
		}
	}
	return list[:min(len(list), maxAddresses)]
}

type dialed struct {
	connection net.Conn
	err        error
}

// race tries addresses one after the other, without waiting long for each (RFC 8305 § 5).
func (d *dialer) race(ctx context.Context, addresses []string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	came := make(chan dialed)
	running, next := 0, 0
	begin := func() {
		address := addresses[next]
		next++
		running++
		go func() {
			connection, err := d.dialOne(ctx, address)
			came <- dialed{connection, err}
		}()
	}
	begin()
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	var all error
	for running > 0 {
		select {
		case result := <-came:
			running--
			if result.err == nil {
				go closeRest(came, running)
				return result.connection, nil
			}
			all = errors.Join(all, result.err)
		case <-timer.C:
		}
		if next < len(addresses) {
			begin()
			timer.Reset(headStart)
		}
	}
	return nil, all
}

// closeRest takes in those who come second: they have been told to give up.
func closeRest(came <-chan dialed, running int) {
	for range running {
		if result := <-came; result.err == nil {
			_ = result.connection.Close()
		}
	}
}
