package ircv3

import (
	"bufio"
	"net"
	"slices"
	"strings"
	"sync"
)

// A Client is one connection.
type Client struct {
	server *Server
	conn   net.Conn

	// Guarded by the server's lock:
	nick, user, real, pass string
	account                string // as which it has logged in by SASL
	welcome                bool   // registered
	negotiating            bool   // CAP has begun and not ended
	gone                   bool
	caps                   map[string]bool
	channels               map[*channel]bool
	answering              bool // a labelled command runs
	answers                []*Message
	text                   *multiline // that is on its way in

	mu    sync.Mutex
	ready *sync.Cond
	lines []string // to be written
	ended bool
}

func newClient(s *Server, conn net.Conn) *Client {
	c := &Client{server: s, conn: conn, caps: map[string]bool{}, channels: map[*channel]bool{}}
	c.ready = sync.NewCond(&c.mu)
	return c
}

// Nick is how the client is called.
func (c *Client) Nick() string { return c.nick }

// Has tells whether a capability is on.
func (c *Client) Has(capability string) bool { return c.caps[capability] }

// source is what others see before the client's messages.
func (c *Client) source() string { return c.nick + "!" + c.user + "@" + host }

// host is everybody's.
const host = "127.0.0.1"

func (c *Client) read() {
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(nil, 16<<10)
	for lines.Scan() {
		if m := Parse(strings.TrimRight(lines.Text(), "\r")); m != nil && !c.take(m) {
			break
		}
	}
	s := c.server
	s.mu.Lock()
	s.quit(c, "Connection closed")
	s.mu.Unlock()
}

// take works off one message; false after a QUIT.
func (c *Client) take(m *Message) bool {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	label := m.Tags["label"]
	c.answering = label != "" && c.caps["labeled-response"]
	run, known := s.commands[m.Command]
	switch {
	case !c.welcome && !slices.Contains(early, m.Command):
		c.Reply("451", "You have not registered")
	case !known:
		c.Reply("421", m.Command, "Unknown command")
	default:
		run(s, c, m)
	}
	if c.answering {
		c.answering = false
		c.answer(label)
	}
	return !c.gone
}

// answer sends what a labelled command had to say to the client.
func (c *Client) answer(label string) {
	answers := c.answers
	c.answers = nil
	switch len(answers) {
	case 0:
		c.Send(NewMessage(name, "ACK").with("label", label))
	case 1:
		c.Send(answers[0].with("label", label))
	default:
		c.batch("labeled-response", nil, answers, label)
	}
}

// Batch sends messages as a batch, if the client knows such, else one by one.
func (c *Client) Batch(kind string, params []string, messages []*Message) {
	c.batch(kind, params, messages, "")
}

func (c *Client) batch(kind string, params []string, messages []*Message, label string) {
	if !c.caps["batch"] {
		for _, m := range messages {
			c.Send(m)
		}
		return
	}
	reference := c.server.number("b")
	start := NewMessage(name, "BATCH", append([]string{"+" + reference, kind}, params...)...)
	if label != "" {
		start = start.with("label", label)
	}
	c.Send(start)
	for _, m := range messages {
		if m.Tags["batch"] == "" { // else it is in one within this
			m = m.with("batch", reference)
		}
		c.Send(m)
	}
	c.Send(NewMessage(name, "BATCH", "-"+reference))
}

// Reply sends a numeric.
func (c *Client) Reply(numeric string, params ...string) {
	nick := c.nick
	if nick == "" {
		nick = "*"
	}
	c.Send(NewMessage(name, numeric, append([]string{nick}, params...)...))
}

// Fail sends a standard reply; its parameters are the command, the code, what it is about, and a text.
func (c *Client) Fail(params ...string) { c.Send(NewMessage(name, "FAIL", params...)) }

// Send sends a message, without the tags that the client does not know.
func (c *Client) Send(m *Message) {
	if c.answering {
		c.answers = append(c.answers, m)
		return
	}
	known := &Message{Tags: map[string]string{}, Source: m.Source, Command: m.Command, Params: m.Params}
	for key, value := range m.Tags {
		if c.takes(key) {
			known.Tags[key] = value
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, known.String())
	c.ready.Signal()
}

// takes tells whether the client has asked for a tag.
func (c *Client) takes(tag string) bool {
	switch tag {
	case "time":
		return c.caps["server-time"]
	case "account":
		return c.caps["account-tag"]
	case "batch":
		return c.caps["batch"]
	case "label":
		return c.caps["labeled-response"]
	case relayCap:
		return c.caps[relayCap]
	}
	return c.caps["message-tags"]
}

// end has what is queued written, and the connection closed.
func (c *Client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.ready.Signal()
}

func (c *Client) write() {
	defer c.conn.Close()
	for {
		c.mu.Lock()
		for len(c.lines) == 0 && !c.ended {
			c.ready.Wait()
		}
		lines, ended := c.lines, c.ended
		c.lines = nil
		c.mu.Unlock()
		if len(lines) > 0 {
			if _, err := c.conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n")); err != nil {
				ended = true
			}
		}
		if ended {
			return
		}
	}
}

// Break breaks the connection, from within a command; what was queued is not written.
func (c *Client) Break() { c.conn.Close() }
