package irc

import (
	"time"

	"trestle/bridges/irc/wire"
)

// How often questions of clients (CTCP) are answered. PING at the bot tells what is stored, which
// others may rely on.
var (
	ctcpLimit = wire.Flood{Burst: 5, Interval: 2 * time.Second}
	pingLimit = wire.Flood{Burst: 200, Interval: 20 * time.Millisecond}
)

// A meter lets so many things happen. It belongs to one goroutine.
type meter struct {
	limit  wire.Flood
	left   int
	filled time.Time
}

func newMeter(limit wire.Flood) *meter { return &meter{limit: limit, left: limit.Burst} }

// take tells whether one more may happen now.
func (m *meter) take(now time.Time) bool {
	if n := int(now.Sub(m.filled) / m.limit.Interval); n > 0 {
		m.left, m.filled = min(m.limit.Burst, m.left+n), now
	}
	if m.left == 0 {
		return false
	}
	m.left--
	return true
}

// ctcpAnswer is what a client's question is answered with; empty if it is not. That somebody
// asks is never shown to anybody.
func ctcpAnswer(command, args string, now time.Time) string {
	switch command {
	case "VERSION":
		return "VERSION Trestle, a bridge to Matrix"
	case "TIME":
		return "TIME " + now.UTC().Format(time.RFC1123Z)
	case "CLIENTINFO":
		return "CLIENTINFO ACTION CLIENTINFO PING TIME VERSION"
	case "PING":
		return "PING " + args
	}
	return ""
}

// answer answers a question to a puppet, if that keeps nothing else waiting. It is called on the
// connection's goroutine.
func (p *puppet) answer(c *wire.Conn, m *wire.Message) {
	command, args, ctcp := m.CTCP()
	if !ctcp || m.Command != "PRIVMSG" || m.Prefix.User == "" || c.Support().IsChannel(m.Param(0)) {
		return
	}
	if answer := ctcpAnswer(command, clipBytes(args), time.Now()); answer != "" {
		c.Spare(wire.NewMessage("NOTICE", m.Prefix.Nick, "\x01"+answer+"\x01"))
	}
}

// maxAsked is how many bytes of a question are repeated.
const maxAsked = 100

func clipBytes(args string) string { return args[:min(len(args), maxAsked)] }
