package wire

import (
	"context"
	"fmt"
	"strconv"
	"sync"
)

// A Text is something said to a channel or a person.
type Text struct {
	Kind   Kind
	Target string
	Lines  []string // without CR, LF, NUL and \x01; each is split further where the server's limit demands
}

// Kind is how something is said.
type Kind uint8

// The kinds of text.
const (
	Privmsg Kind = iota
	Notice
	Action // CTCP ACTION, /me
)

// A Delivery tells what became of a text.
type Delivery struct {
	Lines int      // IRC messages it was sent as
	Taken int      // how many of these the server is known to have taken
	IDs   []string // their message IDs, on servers that have such
}

// minRoom is what is left for a text at least: a server that leaves less has
// names that no server has.
const minRoom = 64

// Split cuts a text into the pieces that fit into one message to the target,
// our prefix being the one that others see. Joined, the pieces are the text.
func (c *Conn) Split(kind Kind, target, text string) []string {
	return SplitText(text, c.room(kind, target))
}

// room is how many bytes of text fit into one message to the target.
func (c *Conn) room(kind Kind, target string) int {
	return max(minRoom, room(c.Support().LineLen, c.widest(), kind, target))
}

// messages are what a text is sent as. Empty lines cannot be said.
func (c *Conn) messages(t Text) ([]*Message, error) {
	var messages []*Message
	for _, line := range t.Lines {
		if !clean(line) {
			return nil, fmt.Errorf("%w: a text with CR, LF, NUL or \\x01", ErrMalformed)
		}
		if line == "" {
			continue
		}
		for _, piece := range c.Split(t.Kind, t.Target, line) {
			messages = append(messages, NewMessage(t.Kind.command(), t.Target, t.Kind.wrap(piece)))
		}
	}
	return messages, nil
}

// Say queues a text. Empty lines are left out: IRC has no such thing.
func (c *Conn) Say(ctx context.Context, t Text) error {
	messages, err := c.messages(t)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := c.Send(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// Deliver sends a text and waits until the server has taken or refused it: by
// its echo where the server echoes and labels, else by the answer to a PING that
// follows. The error is a *SendError when the server refused it; on any other the lines
// from Delivery.Taken on may or may not have arrived.
func (c *Conn) Deliver(ctx context.Context, t Text) (Delivery, error) {
	messages, err := c.messages(t)
	if err != nil || len(messages) == 0 {
		return Delivery{}, err
	}
	d := &delivery{conn: c, target: t.Target, total: len(messages)}
	if c.HasCap("labeled-response") && c.HasCap("echo-message") {
		d.label(messages)
	}
	fence := NewMessage("PING", c.token())
	d.fence = fence.Params[0]
	stop, done := c.watch(d.see)
	defer stop()
	for _, m := range append(messages, fence) {
		if err = c.Send(ctx, m); err != nil {
			return d.result(err)
		}
	}
	return d.result(c.wait(ctx, done))
}

// A delivery collects what is seen of a text under way.
type delivery struct {
	conn   *Conn
	target string
	total  int
	labels map[string]bool // of the lines; nil without labels
	fence  string

	mu      sync.Mutex
	taken   int
	ids     []string
	refused *SendError
}

func (d *delivery) label(messages []*Message) {
	d.labels = map[string]bool{}
	for _, m := range messages {
		label := d.conn.token()
		m.Tags = map[string]string{"label": label}
		d.labels[label] = true
	}
}

// see takes what arrives until the answer to the fence. With labels, each line has its own
// answer; without, an error that names the target is about it.
func (d *delivery) see(m *Message) (done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	label := m.Tag("label")
	if label == "" && m.Batch != nil {
		label = m.Batch.Tags["label"]
	}
	switch {
	case m.Command == "PONG" && m.Last() == d.fence:
		if d.refused == nil && d.labels == nil {
			d.taken = d.total
		}
		return true
	case d.labels[label] && isText(m.Command):
		delete(d.labels, label)
		d.taken++
		if id := m.ID(); id != "" {
			d.ids = append(d.ids, id)
		}
	case d.labels[label] || d.labels == nil && d.about(m):
		if code, ok := refusal(m); ok && d.refused == nil {
			d.refused = &SendError{Target: d.target, Code: code, Text: m.Last()}
		}
	}
	return false
}

// about tells whether an error names the target.
func (d *delivery) about(m *Message) bool {
	for _, param := range m.Params[:max(0, len(m.Params)-1)] {
		if d.conn.Support().CaseMapping.Equal(param, d.target) {
			return true
		}
	}
	return false
}

func (d *delivery) result(err error) (Delivery, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && d.refused != nil {
		err = d.refused
	}
	if err == nil && d.taken < d.total {
		err = fmt.Errorf("server echoed %d of %d lines", d.taken, d.total)
	}
	return Delivery{Lines: d.total, Taken: d.taken, IDs: d.ids}, err
}

func isText(command string) bool {
	return command == "PRIVMSG" || command == "NOTICE" || command == "TAGMSG"
}

// refusal is the code of a message that says no: FAIL, or a numeric from 400 on, SASL's
// aside; some that came later are scattered.
func refusal(m *Message) (code string, ok bool) {
	if m.Command == "FAIL" {
		return m.Param(1), true
	}
	n := m.Numeric()
	return m.Command, n >= 400 && n < 600 || n == 716 || n == 742 || n >= 910
}

// token is a word that this connection has not used before.
func (c *Conn) token() string { return "t" + strconv.FormatUint(c.tokens.Add(1), 36) }
