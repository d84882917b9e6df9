package bench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// A link is another server of the network, as far as InspIRCd can tell: it has users, who join
// channels and speak, without the connections that would cost more than what is measured. It sees
// who comes and goes on the network.
type link struct {
	id   string // of the server
	conn net.Conn

	mu      sync.Mutex
	writer  *bufio.Writer
	users   int
	changed chan struct{} // closed and made anew when any of these changes
	in      map[string]map[string]bool
	quits   int
	ended   error
}

// linkIRC introduces a server. name and id are those of a <link>.
func linkIRC(ctx context.Context, s *ircServer, name, id string) (*link, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.links)
	if err != nil {
		return nil, err
	}
	l := &link{id: id, conn: conn, writer: bufio.NewWriterSize(conn, 64<<10), changed: make(chan struct{}), in: map[string]map[string]bool{}}
	if err := l.send("CAPAB START 1205", "CAPAB CAPABILITIES :PROTOCOL=1205", "CAPAB END", "SERVER "+name+" link 0 "+id+" :Measures"); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(conn)
	for linked := false; !linked; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("link %s: %w", name, err)
		}
		if strings.HasPrefix(line, "ERROR") {
			return nil, fmt.Errorf("link %s: %s", name, strings.TrimSpace(line))
		}
		linked = strings.HasPrefix(line, "SERVER ")
	}
	if err := l.send(l.from("BURST %d", time.Now().Unix()), l.from("ENDBURST")); err != nil {
		return nil, err
	}
	go l.read(lines)
	return l, nil
}

func (l *link) close() { _ = l.conn.Close() }

func (l *link) from(format string, args ...any) string {
	return ":" + l.id + " " + fmt.Sprintf(format, args...)
}

func (l *link) send(lines ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		if _, err := l.writer.WriteString(line + "\r\n"); err != nil {
			return err
		}
	}
	return l.writer.Flush()
}

// read notes what happens on the network.
func (l *link) read(lines *bufio.Reader) {
	for {
		line, err := lines.ReadString('\n')
		words := strings.Fields(line)
		if len(words) > 0 && strings.HasPrefix(words[0], "@") { // tags
			words = words[1:]
		}
		if err == nil && len(words) > 2 && words[1] == "PING" {
			err = l.send(l.from("PONG %s", strings.TrimPrefix(words[0], ":")))
		}
		l.mu.Lock()
		if len(words) > 1 {
			l.note(strings.TrimPrefix(words[0], ":"), words[1], words[2:])
		}
		l.ended = err
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// note is called with mu held.
func (l *link) note(source, command string, params []string) {
	switch {
	case command == "IJOIN" && len(params) > 0:
		l.join(params[0], source)
	case command == "FJOIN" && len(params) > 3:
		for _, member := range params[3:] {
			if _, user, ok := strings.Cut(member, ","); ok {
				user, _, _ = strings.Cut(user, ":")
				l.join(params[0], user)
			}
		}
	case command == "QUIT":
		l.quits++
		for _, users := range l.in {
			delete(users, source)
		}
	case command == "KILL" && len(params) > 0:
		l.quits++
		for _, users := range l.in {
			delete(users, params[0])
		}
	}
}

// lost is how many connections to the network have ended.
func (l *link) lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quits
}

// forget has it count from the beginning.
func (l *link) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.quits = 0
}

func (l *link) join(channel, user string) {
	if l.in[channel] == nil {
		l.in[channel] = map[string]bool{}
	}
	l.in[channel][user] = true
}

// until waits for something to happen on the network.
func (l *link) until(ctx context.Context, patience time.Duration, what string, met func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		l.mu.Lock()
		changed, ok, ended := l.changed, met(), l.ended
		l.mu.Unlock()
		switch {
		case ok:
			return nil
		case ended != nil:
			return fmt.Errorf("waiting for %s: %w", what, ended)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
}

// untilHeard waits until the bridge's bot and a reader are in a channel: until then nothing of it is for the reader.
func (l *link) untilHeard(ctx context.Context, channel string) error {
	return l.until(ctx, ircPatience, "the reader to be on IRC", func() bool { return len(l.in[channel]) >= 2 })
}

// populate brings users of this server into a channel and returns their IDs.
func (l *link) populate(channel, nick string, n int) ([]string, error) {
	now, lines, ids := time.Now().Unix(), []string{}, []string{}
	for i := range n {
		id := fmt.Sprintf("%sA%05d", l.id, l.users)
		l.users++
		lines = append(lines, l.from("UID %s %d %s%d host.bench host.bench guest 127.0.0.1 %[2]d +i :Guest", id, now, nick, i))
		ids = append(ids, id)
	}
	const most = 20 // in a line
	for i := 0; i < n; i += most {
		members := ""
		for j, id := range ids[i:min(i+most, n)] {
			members += fmt.Sprintf(" ,%s:%d", id, i+j)
		}
		lines = append(lines, l.from("FJOIN %s %d +nt :%s", channel, now, members[1:]))
	}
	return ids, l.send(lines...)
}
