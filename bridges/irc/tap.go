package irc

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// A tap tells what is handed to the kernel, right before and right after: from then on
// the bytes reach the server even if this process is killed. TLS is below the tap,
// so that it sees the plain text.
type tap struct {
	net.Conn
	writes func(b []byte, done bool)
}

func (t *tap) Write(b []byte) (int, error) {
	t.writes(b, false)
	n, err := t.Conn.Write(b)
	t.writes(b[:n], true)
	return n, err
}

// dialer connects, with TLS if there is a configuration for it, and taps the
// connection if writes is not nil.
func dialer(config *tls.Config, writes func([]byte, bool)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if config != nil {
			if conn, err = secure(ctx, conn, config, addr); err != nil {
				return nil, err
			}
		}
		if writes != nil {
			conn = &tap{conn, writes}
		}
		return conn, nil
	}
}

func secure(ctx context.Context, conn net.Conn, config *tls.Config, addr string) (net.Conn, error) {
	if config.ServerName == "" && !config.InsecureSkipVerify {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
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
