package irc

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"time"

	"trestle/bridges/irc/wire"
)

const (
	rejoinAfter = 30 * time.Second // after a kick or a refusal
	joinLine    = 400              // bytes of channels in one JOIN
	stableAfter = time.Minute      // a connection that held so long was no failure
)

// The bot is the connection that sees what is said. It belongs to the
// network's loop.
type bot struct {
	net      *network
	link     *link
	online   bool
	since    time.Time
	nick     string
	failures int
	lastErr  error
	waiting  []func() // to be called when it is up

	questions, pings *meter // that are answered
}

func newBot(n *network) *bot {
	b := &bot{net: n, questions: newMeter(ctcpLimit), pings: newMeter(pingLimit)}
	b.link = &link{net: n, owner: b, closed: true}
	return b
}

func (b *bot) connect() {
	if !b.link.unused {
		b.link = b.net.connect(b)
	}
}

func (b *bot) call() (*call, error) {
	n := b.net
	secure := n.config.TLS
	if secure != nil && n.config.BotCert != nil {
		secure = secure.Clone()
		secure.Certificates = []tls.Certificate{*n.config.BotCert}
	}
	return &call{secure: secure, sasl: n.config.BotSASL, scout: true, Options: wire.Options{
		Nick: n.config.BotNick, User: "trestle", RealName: "Matrix bridge of " + string(n.service.config.ServerName),
		Password: n.config.Password, Logger: n.log, Flood: n.config.Flood,
	}}, nil
}

// is tells whether a nick is the bot's.
func (b *bot) is(nick string) bool { return b.online && b.net.fold(nick) == b.net.fold(b.nick) }

func (b *bot) up(l *link) {
	n := b.net
	b.online, b.since, b.nick, b.lastErr = true, time.Now(), l.conn.Nick(), nil
	n.mapping.Store(uint32(l.conn.Support().CaseMapping))
	n.meet()
	n.log.Info("connected", "nick", b.nick)
	for _, name := range n.config.Channels {
		n.want(name)
	}
	n.attach()
	for _, p := range n.service.bridge.Portals() {
		if p.Key().Network == n.config.ID && !p.Direct() && (p.Room() != "" || p.Wanted()) {
			n.channel(p.Name())
		}
	}
	var missing []string
	for _, ch := range n.channels {
		if ch.wanted() {
			missing = append(missing, ch.name)
		}
	}
	b.join(missing)
	for _, fn := range b.waiting {
		fn()
	}
	b.waiting = nil
}

// whenUp calls fn when the bot is connected, at once if it is.
func (b *bot) whenUp(fn func()) {
	if b.online {
		fn()
	} else {
		b.waiting = append(b.waiting, fn)
	}
}

// join asks for channels, many in one line.
func (b *bot) join(channels []string) {
	conn, lines := b.link.conn, b.net.joinLines(channels)
	b.net.goRun(func() {
		for _, line := range lines {
			if err := conn.Send(b.net.ctx, line); err != nil {
				return // down is called
			}
		}
	})
}

// rejoin asks again for one channel, later.
func (b *bot) rejoin(ch *channel) {
	l := b.link
	b.net.after(rejoinAfter, func() {
		if b.link == l && b.online && !ch.joined && ch.wanted() {
			b.join([]string{ch.name})
		}
	})
}

func (b *bot) down(l *link, err error) {
	n := b.net
	if b.link != l {
		return
	}
	if b.online && time.Since(b.since) > stableAfter {
		b.failures = 0
	}
	b.online, b.lastErr = false, err
	for _, ch := range n.channels {
		n.leave(ch)
	}
	if l.unused || errors.Is(err, context.Canceled) {
		return
	}
	b.failures++
	wait := n.config.Reconnect.delay(b.failures)
	n.log.Warn("not connected", "err", err, "failures", b.failures, "again_in", wait.Round(time.Millisecond))
	n.after(wait, b.connect)
}

// receive is called on the connection's goroutine.
func (b *bot) receive(l *link, c *wire.Conn, m *wire.Message) {
	b.net.post(func() {
		if b.link == l {
			b.net.hear(c, m)
		}
	})
}

// send sends a message without waiting.
func (b *bot) send(m *wire.Message) {
	if !b.online {
		return
	}
	conn := b.link.conn
	b.net.goRun(func() { _ = conn.Send(b.net.ctx, m) })
}

// ctcpReply answers a client's question.
func (b *bot) ctcpReply(nick, text string) {
	b.send(wire.NewMessage("NOTICE", nick, "\x01"+strings.ReplaceAll(text, "\x01", "")+"\x01"))
}
