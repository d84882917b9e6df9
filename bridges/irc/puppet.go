package irc

import (
	"errors"
	"fmt"
	"time"

	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	lonelyAfter  = time.Minute      // a puppet in no channel with nothing to say goes away
	refusedAgain = 30 * time.Minute // wait after the network refused a puppet for good
	joinTries    = 5                // for a channel that is full or unavailable
)

// A puppet is a Matrix user's connection to a network, or the wish for one.
type puppet struct {
	net  *network
	user matrix.UserID

	// Of the loop:
	link     *link // nil: none is up or being made
	display  string
	wanted   map[string]*wish // channels to be in, by folded name
	failures int
	since    time.Time // when the connection came up
	waiting  *time.Timer
	again    bool                 // connect at once when this connection has ended
	told     bool                 // people were told that there is no connection
	kicked   map[string]time.Time // from channels, and when

	speech speech
}

func (n *network) puppet(user matrix.UserID) *puppet {
	p := n.puppets[user]
	if p == nil {
		p = &puppet{net: n, user: user, wanted: map[string]*wish{}}
		p.speech.init(p)
		n.puppets[user] = p
	}
	return p
}

// connect begins to connect, unless there is a connection or the wait for one.
func (p *puppet) connect() {
	n := p.net
	if p.link != nil || p.waiting != nil {
		return
	}
	if reason, barred := n.barred(p.user); barred {
		p.refused(errors.New(reason))
		return
	}
	if open := n.openPuppets(); open >= n.config.MaxConnections {
		err := fmt.Errorf("the bridge may have only %d connections to %s", n.config.MaxConnections, n.config.Name)
		p.refused(err)
		return
	}
	p.speech.setState(nil, nil)
	p.link = n.connect(p)
}

func (n *network) openPuppets() int {
	open := 0
	for _, p := range n.puppets {
		if p.link != nil {
			open++
		}
	}
	return open
}

func (p *puppet) options() wire.Options {
	n := p.net
	nick := n.templates.puppetNick(p.user, p.display, n.nickLength())
	return wire.Options{
		Addr: n.config.Addr, DialContext: dialer(n.config.TLS, p.speech.writes),
		Nick: nick, User: ident(p.user), RealName: n.templates.puppetRealname(p.user, p.display),
		Password: n.config.Password, Logger: n.log.With("user", p.user), Flood: n.config.Flood,
	}
}

// nickLength is what the server allows, as far as the bot has heard; servers
// cut longer nicks, so that a guess does no harm.
func (n *network) nickLength() int {
	if n.bot.online {
		return n.bot.link.conn.Support().NickLen
	}
	return 0
}

// ident is a user name that tells the Matrix user apart.
func ident(user matrix.UserID) string {
	clean := make([]byte, 0, 10)
	for _, c := range []byte(user.Localpart()) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			clean = append(clean, c)
		}
		if len(clean) == cap(clean) {
			break
		}
	}
	if len(clean) == 0 {
		return "matrix"
	}
	return string(clean)
}

func (p *puppet) up(l *link) {
	n := p.net
	p.since, p.told = time.Now(), false
	n.byNick[n.fold(l.conn.Nick())] = p
	n.nicks.Store(p.user, l.conn.Nick())
	n.log.Info("puppet connected", "user", p.user, "nick", l.conn.Nick())
	p.speech.setState(l.conn, nil)
	for channel := range p.wanted {
		p.join(channel)
	}
	p.idle(l)
	p.reap()
}

// idle ends a connection that has said nothing for long.
func (p *puppet) idle(l *link) {
	n := p.net
	if n.config.IdleTimeout == 0 {
		return
	}
	left := n.config.IdleTimeout - time.Since(p.speech.lastUse(p.since))
	if left <= 0 {
		l.quit("Idle")
		return
	}
	n.after(left, func() {
		if p.link == l && !l.closed {
			p.idle(l)
		}
	})
}

func (p *puppet) down(l *link, err error) {
	n := p.net
	if p.link != l {
		return
	}
	p.link = nil
	nick := ""
	if l.conn != nil {
		nick = l.conn.Nick()
		if n.byNick[n.fold(nick)] == p {
			delete(n.byNick, n.fold(nick))
		}
		if time.Since(p.since) > stableAfter {
			p.failures = 0
		}
	}
	n.nicks.Delete(p.user)
	p.speech.setState(nil, nil)
	p.speech.lost(nick)
	if p.again {
		p.again = false
		p.connect()
		return
	}
	if n.ctx.Err() != nil || l.unused && !p.speech.busy() {
		return // until it is needed again
	}
	p.failures++
	if refusal, ok := errors.AsType[*wire.RegisterError](err); ok && permanent(refusal.Reason) {
		p.refused(refusal)
		return
	}
	p.later(n.config.Reconnect.delay(p.failures), err)
}

// permanent tells whether the network refused a puppet so that trying again soon is
// no use.
func permanent(reason error) bool {
	return errors.Is(reason, wire.ErrBanned) || errors.Is(reason, wire.ErrAuth) ||
		errors.Is(reason, wire.ErrBadPassword) || errors.Is(reason, wire.ErrNoNick)
}

// later connects again after a wait.
func (p *puppet) later(wait time.Duration, err error) {
	n := p.net
	n.log.Info("puppet not connected", "user", p.user, "err", err, "failures", p.failures, "again_in", wait.Round(time.Millisecond))
	p.waiting = n.after(wait, func() {
		p.waiting = nil
		if len(p.wanted) > 0 || p.speech.busy() {
			p.connect()
		}
	})
	// If the bot is away too, it is the network that is; nobody needs telling twice.
	if p.failures >= 3 && n.bot.online {
		p.tell(fmt.Sprintf("cannot connect to %s at the moment: %s", n.config.Name, decode(err.Error())))
	}
}

// refused gives up for long, and says so.
func (p *puppet) refused(err error) {
	p.speech.setState(nil, err)
	p.tell(fmt.Sprintf("has no connection to %s: %s", p.net.config.Name, decode(err.Error())))
	p.waiting = p.net.after(refusedAgain, func() {
		p.waiting = nil
		if len(p.wanted) > 0 {
			p.connect()
		}
	})
}

// tell says in the user's rooms that there is no connection, once until there is one.
func (p *puppet) tell(text string) {
	if p.told {
		return
	}
	p.told = true
	for _, w := range p.wanted {
		w.portal.Notice(string(p.user) + " " + text)
	}
}
