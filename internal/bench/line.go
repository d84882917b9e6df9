package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
)

// A line is one sender's connection. It does the least that a client of HTTP
// has to: the load must not take the machine away from the server that is
// measured.
type line struct {
	conn  net.Conn
	in    *bufio.Reader
	out   []byte
	head  string // of requests, up to the length of the body
	start string // of the path, up to the transaction ID
}

// dial opens the connection by which a user sends messages to a room.
func (c *client) dial(token, room string) (*line, error) {
	base, err := url.Parse(c.base)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", base.Host)
	if err != nil {
		return nil, err
	}
	return &line{
		conn: conn, in: bufio.NewReader(conn),
		start: "PUT /_matrix/client/v3/rooms/" + url.PathEscape(room) + "/send/m.room.message/",
		head: " HTTP/1.1\r\nHost: " + base.Host + "\r\nAuthorization: Bearer " + token +
			"\r\nContent-Type: application/json\r\nContent-Length: ",
	}, nil
}

func (l *line) close() { _ = l.conn.Close() }

// send sends a message of about the size that people write. txn is of letters,
// digits and hyphens.
func (l *line) send(txn string) error {
	body := `{"msgtype":"m.text","body":"` + txn + `: a line as people write it, not too long"}`
	l.out = append(l.out[:0], l.start...)
	l.out = append(l.out, txn...)
	l.out = append(l.out, l.head...)
	l.out = strconv.AppendInt(l.out, int64(len(body)), 10)
	l.out = append(append(l.out, "\r\n\r\n"...), body...)
	if _, err := l.conn.Write(l.out); err != nil {
		return err
	}
	return l.answer()
}

// answer reads what the server says, and keeps nothing of it unless it is an error.
func (l *line) answer() error {
	first, err := l.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	refused := ""
	if !bytes.HasPrefix(first, statusOK) {
		refused = string(bytes.TrimSpace(first))
	}
	length := 0
	for {
		header, err := l.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(header) <= 2 {
			break
		}
		name, value, _ := bytes.Cut(header, colon)
		if bytes.EqualFold(name, contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if refused == "" {
		_, err = l.in.Discard(length)
		return err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(l.in, body); err != nil {
		return err
	}
	return fmt.Errorf("send: %s %s", refused, body)
}

var (
	statusOK      = []byte("HTTP/1.1 200")
	colon         = []byte(":")
	contentLength = []byte("Content-Length")
)
