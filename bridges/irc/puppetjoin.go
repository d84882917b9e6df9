package irc

import (
	"context"
	"errors"
	"fmt"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// A wish is a channel that a puppet should be in.
type wish struct {
	name   string
	portal *bridge.Portal
	tries  int
	kicked string // the bot has seen that, and why; the connection has not

	leaving bool // the user has left the room
	parting bool // a PART is on its way
}

// personJoined brings a Matrix user's puppet into a channel.
func (n *network) personJoined(portal *bridge.Portal, user matrix.UserID, display string) {
	if reason, barred := n.barred(user); barred {
		portal.Remove(user, reason)
		return
	}
	if n.isShut(portal.Key().Channel) || n.away(user) {
		return
	}
	if n.relayJoined(portal, user, display) {
		return
	}
	p := n.puppet(user)
	p.display = display
	channel := portal.Key().Channel
	if w := p.wanted[channel]; w != nil {
		w.leaving = false
		return
	}
	p.wanted[channel] = &wish{name: portal.Name(), portal: portal}
	if p.link != nil && p.link.conn != nil {
		p.join(channel)
		return
	}
	p.connectAsked()
}

// personLeft takes the puppet out of a channel, behind what it still has to say.
func (n *network) personLeft(portal *bridge.Portal, user matrix.UserID, reason string) {
	p, channel := n.puppets[user], portal.Key().Channel
	n.relayLeft(portal, user)
	if p == nil || p.wanted[channel] == nil {
		return
	}
	w := p.wanted[channel]
	w.leaving, w.parting = true, true
	p.speech.add(&utterance{
		channel: channel, optional: true,
		message: wire.NewMessage("PART", portal.Name(), reasonLine(reason)),
		finish:  func(error) { n.post(func() { p.parted(channel, w) }) },
	})
}

// parted is called when the PART has been said, or was not needed.
func (p *puppet) parted(channel string, w *wish) {
	if p.wanted[channel] != w {
		return
	}
	w.parting = false
	p.speech.setIn(channel, false)
	if w.leaving {
		delete(p.wanted, channel)
		p.reap()
	} else if p.link != nil && p.link.conn != nil { // the user has come back since
		p.join(channel)
	}
}

// reap ends a connection that nobody needs, after a while.
func (p *puppet) reap() {
	n := p.net
	if p.needed() || p.link == nil {
		return
	}
	l := p.link
	n.after(lonelyAfter, func() {
		if p.link == l && !p.needed() && !p.speech.busy() {
			l.quit("Left the last channel")
		}
	})
}

// join asks the server into a channel.
func (p *puppet) join(channel string) {
	n, conn, w := p.net, p.link.conn, p.wanted[channel]
	key := n.keyOf(channel)
	n.goRun(func() {
		ctx, cancel := context.WithTimeout(n.ctx, joinWait)
		defer cancel()
		err := conn.JoinChannel(ctx, w.name, key)
		n.post(func() {
			switch {
			case p.link == nil || p.link.conn != conn:
			case p.wanted[channel] == w:
				p.joined(channel, w, err)
			case p.wanted[channel] == nil && err == nil: // the user was removed meanwhile
				n.sendLater(conn, wire.NewMessage("PART", w.name))
			}
		})
	})
}

func (p *puppet) joined(channel string, w *wish, err error) {
	n := p.net
	refusal, refused := errors.AsType[*wire.JoinError](err)
	switch {
	case err == nil:
		w.tries = 0
		p.speech.setIn(channel, true)
	case !refused, errors.Is(refusal.Reason, wire.ErrUnavailable), errors.Is(refusal.Reason, wire.ErrChannelFull):
		if w.tries++; w.tries < joinTries {
			conn := p.link.conn
			n.after(n.now().Reconnect.delay(w.tries+2), func() {
				if p.link != nil && p.link.conn == conn && p.wanted[channel] == w {
					p.join(channel)
				}
			})
			return
		}
		fallthrough
	default:
		n.log.Info("puppet may not join", "user", p.user, "channel", channel, "err", err)
		p.expelled(channel, joinRefusal(w.name, err))
	}
}

// expelled takes the Matrix user out of the room: IRC does not have it in the channel.
func (p *puppet) expelled(channel, reason string) {
	if w := p.forgets(channel); w != nil {
		w.portal.Remove(p.user, reason)
	}
}

// kickSeen is called when the bot sees that the user whose nick that is was kicked. The puppet's own connection does so too,
// unless it is about to end: then it would come back without notice.
func (p *puppet) kickSeen(channel, nick, reason string) {
	w, n := p.wanted[channel], p.net
	switch {
	case w == nil:
	case p.link == nil || p.link.conn == nil:
		p.expelled(channel, reason)
	case n.fold(p.link.conn.Nick()) == n.fold(nick):
		w.kicked = reason
	}
}

// lostKicks takes the user out of rooms of whose channels it was kicked while the connection did not hear of it.
func (p *puppet) lostKicks() {
	for channel, w := range p.wanted {
		if w.kicked != "" {
			p.expelled(channel, w.kicked)
		}
	}
}

// forgets notes that the puppet is not to be in a channel any more, and returns the wish if
// there was one.
func (p *puppet) forgets(channel string) *wish {
	w := p.wanted[channel]
	if w != nil {
		delete(p.wanted, channel)
		p.speech.setIn(channel, false)
		p.speech.wake()
		p.reap()
	}
	return w
}

// receive is called on the connection's goroutine. Nearly all that a puppet
// hears the bot hears too.
func (p *puppet) receive(l *link, c *wire.Conn, m *wire.Message) {
	p.nickSeen(l, c, m)
	switch m.Command {
	case "PRIVMSG", "NOTICE":
		switch {
		case c.FromSelf(m):
			p.speech.echoed(m)
		case !c.Support().IsChannel(m.Param(0)) && p.net.fold(m.Param(0)) == p.net.fold(c.Nick()) && !m.Replayed():
			p.answer(c, m)
			p.net.post(func() {
				if p.link == l && l.conn != nil {
					p.whispered(m)
				}
			})
		case confidential(c, m):
			p.net.post(func() {
				if p.link == l && l.conn != nil {
					p.confided(m)
				}
			})
		}
	case "TAGMSG":
		if !c.FromSelf(m) && p.net.fold(m.Param(0)) == p.net.fold(c.Nick()) && !m.Replayed() && replied(m) != "" {
			p.net.post(func() {
				if p.link == l && l.conn != nil {
					p.beckoned(m)
				}
			})
		}
	case "REDACT":
		if !c.FromSelf(m) && p.net.fold(m.Param(0)) == p.net.fold(c.Nick()) && m.Param(1) != "" {
			p.net.post(func() {
				if p.link == l && l.conn != nil {
					p.takesBack(m)
				}
			})
		}
	case "JOIN":
		if c.FromSelf(m) {
			p.net.post(func() {
				if p.link == l && (l.conn == nil || !p.cutShort(l)) {
					p.hear(c, m)
				}
			})
		}
	case "KICK", "PART", "NICK", "INVITE":
		p.net.post(func() {
			if p.link == l {
				p.hear(c, m)
			}
		})
	case "901":
		p.loggedOut(l, c)
	case "FAIL":
		p.speech.refused(m)
	default:
		if m.Numeric() >= 400 {
			p.speech.refused(m)
		}
	}
}

// hear works off, on the loop, what happens to the puppet itself.
func (p *puppet) hear(c *wire.Conn, m *wire.Message) {
	n := p.net
	switch {
	case m.Command == "KICK" && n.fold(m.Param(1)) == n.fold(c.Nick()):
		reason := fmt.Sprintf("Kicked from %s on IRC by %s", decode(m.Param(0)), decode(m.Prefix.Nick))
		if len(m.Params) > 2 {
			reason += ": " + plain(m.Param(2))
		}
		if channel := n.fold(m.Param(0)); p.removed(channel, reason) {
			p.forgets(channel)
		} else {
			p.expelled(channel, reason)
		}
	case m.Command == "INVITE" && n.fold(m.Param(0)) == n.fold(c.Nick()):
		p.invited(m)
	case m.Command == "JOIN":
		p.strayed(c, m)
	case m.Command == "PART" && c.FromSelf(m):
		if w := p.wanted[n.fold(m.Param(0))]; w != nil && w.parting {
			return
		}
		p.expelled(n.fold(m.Param(0)), fmt.Sprintf("Removed from %s on IRC", decode(m.Param(0))))
	case m.Command == "NICK" && !c.FromSelf(m):
		n.followNick(m.Prefix.Nick, m.Param(0))
	case m.Command == "NICK" && m.Param(0) != "":
		n.calls(p, m.Param(0))
		p.nickChanged(m.Param(0))
	}
}
