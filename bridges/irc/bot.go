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
	rejoinAfter  = 30 * time.Second // after a kick or a refusal
	crowdedAfter = 10 * time.Minute // after the refusal of too many channels
	joinLine     = 400              // bytes of channels in one JOIN
	stableAfter  = time.Minute      // a connection that held so long was no failure
	worthIt      = 4 * time.Second  // for an attempt that is further away, nobody waits
)

// The bot is the connection that sees what is said. It belongs to the
// network's loop.
type bot struct {
	net         *network
	link        *link
	online      bool
	since       time.Time
	nick        string
	failures    int
	lastErr     error
	lastFailure error       // stays when it is connected again
	failed      time.Time   // when that was
	retry       *time.Timer // the wait for the next attempt
	next        time.Time   // when that is
	waiting     []func(up bool)
	doubted     []doubted // see torn
	listening   bool

	questions, pings *meter // that are answered
	invited          *meter // into channels
}

func newBot(n *network) *bot {
	b := &bot{net: n, questions: newMeter(ctcpLimit), pings: newMeter(pingLimit), invited: newMeter(botLimit)}
	b.link = &link{net: n, owner: b, closed: true}
	return b
}

func (b *bot) connect() {
	if !b.link.unused {
		b.next = time.Time{}
		b.link = b.net.connect(b)
	}
}

func (b *bot) call() (*call, error) {
	n := b.net
	secure := n.now().TLS
	if secure != nil && n.now().BotCert != nil {
		secure = secure.Clone()
		secure.Certificates = []tls.Certificate{*n.now().BotCert}
	}
	return &call{secure: secure, sasl: n.now().BotSASL, scout: true, writes: n.relay.writes, Options: wire.Options{
		Caps: []string{wire.RelayCap},
		Nick: n.now().BotNick, User: "trestle", RealName: "Matrix bridge of " + string(n.service.config.ServerName),
		Password: n.now().Password, Logger: n.log, Flood: n.now().Flood,
	}}, nil
}

// is tells whether a nick is the bot's.
func (b *bot) is(nick string) bool { return b.online && b.net.fold(nick) == b.net.fold(b.nick) }

func (b *bot) up(l *link) {
	n := b.net
	b.online, b.since, b.nick, b.lastErr = true, time.Now(), l.conn.Nick(), nil
	n.setMapping(l.conn.Support().CaseMapping)
	n.meet()
	n.relay.up(l.conn)
	n.log.Info("connected", "nick", b.nick)
	for _, name := range n.now().Channels {
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
	b.tell(true)
	b.joinMissing(l)
}

// joinMissing asks once more, as rarely as for a server that is away, for channels of which the server has said
// nothing at all: it may have taken less than it was asked for.
func (b *bot) joinMissing(l *link) {
	b.net.after(b.net.now().Reconnect.Max, func() {
		if b.link != l || !b.online {
			return
		}
		var missing []string
		for _, ch := range b.net.channels {
			if !ch.joined && !ch.refused && ch.wanted() {
				missing = append(missing, ch.name)
			}
		}
		b.join(missing)
		b.joinMissing(l)
	})
}

// whenUp calls fn when the bot is connected, at once if it is; or when it is clear that
// this will take long.
func (b *bot) whenUp(fn func(up bool)) {
	if b.online || time.Until(b.next) > worthIt {
		fn(b.online)
	} else {
		b.waiting = append(b.waiting, fn)
	}
}

// tell answers those who wait.
func (b *bot) tell(up bool) {
	for _, fn := range b.waiting {
		fn(up)
	}
	b.waiting = nil
}

// join asks for channels, many in one line.
func (b *bot) join(channels []string) {
	conn := b.link.conn
	lines := b.net.joinLines(channels, conn.Support().Targets("JOIN"))
	b.net.goRun(func() {
		for _, line := range lines {
			if err := conn.Send(b.net.ctx, line); err != nil {
				return // down is called
			}
		}
	})
}

// rejoin asks again for one channel, later: much later where it is in as many as the server allows (CHANLIMIT).
// However often a channel was refused, it is asked for once.
func (b *bot) rejoin(ch *channel, refusal string) {
	l, wait := b.link, rejoinAfter
	if refusal == "405" {
		wait = crowdedAfter
	}
	if ch.again != nil {
		ch.again.Stop()
	}
	ch.again = b.net.after(wait, func() {
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
	b.online, b.lastErr, b.lastFailure, b.failed = false, err, err, time.Now()
	for _, ch := range n.channels {
		n.leave(ch)
	}
	n.relay.down()
	for _, s := range n.relay.all() {
		n.torn(s, l)
	}
	b.found(b.doubted, time.Time{})
	if l.unused || errors.Is(err, context.Canceled) {
		return
	}
	b.failures++
	wait := n.now().Reconnect.delay(b.failures)
	n.log.Warn("not connected", "err", err, "failures", b.failures, "again_in", wait.Round(time.Millisecond))
	b.retry, b.next = n.after(wait, b.connect), time.Now().Add(wait)
	if wait > worthIt {
		b.tell(false)
	}
}

// receive is called on the connection's goroutine.
func (b *bot) receive(l *link, c *wire.Conn, m *wire.Message) {
	b.net.relay.receive(c, m)
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
	b.net.sendLater(b.link.conn, m)
}

// say says something, in as many lines as that takes, without waiting.
func (b *bot) say(t wire.Text) {
	if !b.online {
		return
	}
	conn := b.link.conn
	b.net.goRun(func() { _ = conn.Say(b.net.ctx, t) })
}

// ctcpReply answers a client's question.
func (b *bot) ctcpReply(nick, text string) {
	b.send(wire.NewMessage("NOTICE", nick, "\x01"+strings.ReplaceAll(text, "\x01", "")+"\x01"))
}
