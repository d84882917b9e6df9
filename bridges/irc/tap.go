package irc

import "net"

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
