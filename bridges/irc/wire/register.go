package wire

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// A registration is the dialogue until the server has let us in. It runs on the reading
// goroutine.
type registration struct {
	conn     *Conn
	nick     string
	pending  int // requests for capabilities without an answer
	sasl     saslState
	incoming strings.Builder // of a SASL challenge in chunks
	welcome  bool            // 001 has come
	refused  *RegisterError  // what was said before the connection ends
}

type saslState uint8

const (
	saslNone saslState = iota
	saslRunning
	saslDone
)

func newRegistration(c *Conn) *registration { return &registration{conn: c, nick: c.opts.Nick} }

// start queues the first lines; it is an error if they cannot be sent at all.
func (r *registration) start() error {
	o := r.conn.opts
	first := []*Message{NewMessage("CAP", "LS", "302")}
	if o.Password != "" {
		first = append(first, NewMessage("PASS", o.Password))
	}
	first = append(first, NewMessage("NICK", r.nick), NewMessage("USER", o.User, "0", "*", o.RealName))
	for _, m := range first {
		line, err := m.Append(nil)
		if err != nil || len(line) > defaultLineLen {
			return fmt.Errorf("%w: %s cannot be sent", ErrMalformed, m.Command)
		}
		r.conn.queue.urgent(line)
	}
	return nil
}

// see takes a message of the dialogue. Once it has failed nothing makes it succeed.
func (r *registration) see(m *Message) {
	if r.conn.Err() != nil { // it has failed, and this was read before
		return
	}
	switch m.Command {
	case "CAP":
		r.seeCap(m)
	case "AUTHENTICATE":
		r.seeChallenge(m.Param(0))
	case "900", "902", "903", "904", "905", "906", "907", "908":
		r.seeSASL(m)
	case "FAIL":
		r.seeFail(m)
	case "001":
		r.welcome = true
		if r.conn.opts.SASL != nil && r.sasl != saslDone {
			r.fail(&RegisterError{Reason: ErrNoSASL})
		}
	case "376", "422":
		if r.welcome {
			r.succeed()
		}
	case "431", "432", "433", "436", "437":
		r.seeNickRefused(m)
	case "464":
		r.fail(&RegisterError{Reason: ErrBadPassword, Code: m.Command, Text: m.Last()})
	case "463", "465", "466":
		r.refused = &RegisterError{Reason: ErrBanned, Code: m.Command, Text: m.Last()}
	case "ERROR":
		r.fail(lastWords(m))
	}
}

func (r *registration) succeed() {
	r.conn.registering = nil
	r.conn.opts.NextNick, r.conn.opts.SASL = nil, nil // secrets are not kept for longer than they are of use
	r.conn.opts.Shared.settle(r.conn)
	r.conn.registered <- nil
}

// fail ends the dialogue. What the server said before counts more than how it
// ended the connection.
func (r *registration) fail(err error) {
	if r.refused != nil {
		err = r.refused
	}
	select {
	case r.conn.registered <- err:
	default:
	}
	r.conn.fail(err)
}

// ended is called when nothing more can be read.
func (r *registration) ended(err error) {
	r.fail(err)
}

// lastWords are the server's, before it ends a connection. Bans are not always announced by a
// numeric.
func lastWords(m *Message) *RegisterError {
	reason := ErrRefused
	text := strings.ToLower(m.Last())
	if strings.Contains(text, "-lined") || strings.Contains(text, "banned") {
		reason = ErrBanned
	}
	return &RegisterError{Reason: reason, Code: m.Command, Text: m.Last()}
}

func (r *registration) seeNickRefused(m *Message) {
	if r.welcome {
		return
	}
	next := r.conn.opts.NextNick(r.nick, m)
	if next == "" {
		r.fail(&RegisterError{Reason: ErrNoNick, Code: m.Command, Text: m.Last()})
		return
	}
	r.nick = next
	r.conn.mu.Lock()
	r.conn.self.Nick = next
	r.conn.mu.Unlock()
	r.conn.now(NewMessage("NICK", next))
}

func (r *registration) seeCap(m *Message) {
	r.conn.learnCap(m)
	switch strings.ToUpper(m.Param(1)) {
	case "LS":
		if len(m.Params) > 3 && m.Param(2) == "*" { // more to come
			return
		}
		names := r.conn.wanted()
		if r.conn.opts.SASL != nil {
			if !r.offersSASL() {
				r.fail(&RegisterError{Reason: ErrNoSASL})
				return
			}
			r.pending += r.conn.request([]string{"sasl"})
		}
		r.pending += r.conn.request(names)
		r.proceed()
	case "ACK":
		r.pending--
		r.proceed()
	case "NAK":
		// All of a request is refused for one name: ask for each alone.
		r.pending--
		if names := strings.Fields(m.Last()); len(names) > 1 {
			for _, name := range slices.Compact(names)[:min(len(names), maxOffered/10)] {
				r.pending += r.conn.request([]string{name})
			}
		}
		r.proceed()
	}
}

// offersSASL tells whether the mechanism is offered, as far as the server says.
func (r *registration) offersSASL() bool {
	r.conn.mu.Lock()
	defer r.conn.mu.Unlock()
	value, offered := r.conn.offered["sasl"]
	if !offered || value == "" {
		return offered
	}
	mechanisms := strings.Split(strings.ToUpper(value), ",")
	if several, ok := r.conn.opts.SASL.(*anyOf); ok {
		return several.choose(mechanisms)
	}
	return slices.Contains(mechanisms, r.conn.opts.SASL.Mechanism())
}

// proceed goes on when every request is answered.
func (r *registration) proceed() {
	if r.pending > 0 || r.sasl == saslRunning || r.welcome {
		return
	}
	if r.conn.opts.SASL == nil || r.sasl == saslDone {
		r.conn.now(NewMessage("CAP", "END"))
		return
	}
	if !r.conn.HasCap("sasl") {
		r.fail(&RegisterError{Reason: ErrNoSASL})
		return
	}
	r.sasl = saslRunning
	r.conn.now(NewMessage("AUTHENTICATE", r.conn.opts.SASL.Mechanism()))
}

// seeChallenge takes a chunk of a challenge, and answers when it was the last.
func (r *registration) seeChallenge(chunk string) {
	if r.sasl != saslRunning {
		return
	}
	if chunk != "+" {
		r.incoming.WriteString(chunk)
	}
	switch {
	case r.incoming.Len() > maxChallenge:
		r.fail(&RegisterError{Reason: ErrAuth, Text: "endless SASL challenge"})
		return
	case len(chunk) >= saslChunk:
		return
	}
	challenge, err := base64.StdEncoding.DecodeString(r.incoming.String())
	r.incoming.Reset()
	var response []byte
	if err == nil {
		response, err = r.conn.opts.SASL.Next(challenge)
	}
	if err != nil {
		r.fail(&RegisterError{Reason: ErrAuth, Text: err.Error()})
		return
	}
	for _, chunk := range saslChunks(response) {
		r.conn.now(NewMessage("AUTHENTICATE", chunk))
	}
}

func (r *registration) seeSASL(m *Message) {
	if r.sasl != saslRunning || m.Command == "900" {
		return
	}
	switch m.Command {
	case "903", "907":
		if v, proves := r.conn.opts.SASL.(verifier); proves && !v.finished() {
			r.fail(&RegisterError{Reason: ErrAuth, Text: "the server did not prove that it knows the password"})
			return
		}
		r.sasl = saslDone
		r.proceed()
	case "908":
		r.refused = &RegisterError{Reason: ErrNoSASL, Code: m.Command, Text: "the server has " + m.Param(1)}
	default:
		r.fail(&RegisterError{Reason: ErrAuth, Code: m.Command, Text: m.Last()})
	}
}

// seeFail takes standard replies that are about registering.
func (r *registration) seeFail(m *Message) {
	switch strings.ToUpper(m.Param(0)) {
	case "AUTHENTICATE", "SASL":
		r.fail(&RegisterError{Reason: ErrAuth, Code: m.Param(1), Text: m.Last()})
	case "NICK":
		r.seeNickRefused(m)
	case "PASS":
		r.fail(&RegisterError{Reason: ErrBadPassword, Code: m.Param(1), Text: m.Last()})
	case "*", "USER", "REGISTER":
		r.refused = &RegisterError{Reason: ErrRefused, Code: m.Param(1), Text: m.Last()}
	}
}
