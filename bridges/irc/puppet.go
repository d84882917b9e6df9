package irc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync/atomic"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	lonelyAfter  = time.Minute      // a puppet in no channel with nothing to say goes away
	refusedAgain = 30 * time.Minute // wait after the network refused a puppet for good
	joinTries    = 5                // for a channel that is full or unavailable
)

// reconnects is how often a user may ask for a new connection: what is asked for more often
// waits.
var reconnects = Pace{Burst: 10, Interval: 20 * time.Second}

// renames is how often a new name of a user is a new nick at once: everybody in the channels sees each.
var renames = Pace{Burst: 5, Interval: 30 * time.Second}

// openLimit and inviteLimit are how often people on IRC may ask somebody into a room: who has a thousand nicks is no
// thousand people.
var (
	openLimit   = wire.Flood{Burst: 20, Interval: 30 * time.Second}
	inviteLimit = wire.Flood{Burst: 10, Interval: time.Minute}
	botLimit    = wire.Flood{Burst: 30, Interval: 10 * time.Second} // of the bot, into channels
)

// A puppet is a Matrix user's connection to a network, or the wish for one.
type puppet struct {
	net  *network
	user matrix.UserID

	// Of the loop:
	link      *link // nil: none is up or being made
	display   string
	wanted    map[string]*wish        // channels to be in, by folded name
	directs   map[*bridge.Portal]bool // direct chats that are open
	opening   map[*bridge.Portal]bool // direct chats that are about to be
	seen      sightings               // as whom the bot sees it
	failures  int
	since     time.Time   // when the connection came up
	was       wire.Prefix // of the last connection, when it ended
	waiting   *time.Timer
	idling    *time.Timer          // the next look at whether it is idle
	again     bool                 // connect at once when this connection has ended
	told      bool                 // people were told that there is no connection
	kicked    map[string]time.Time // from channels, and when
	nick      nickState
	asked     pace      // how often the user may have it connect anew at once
	renames   pace      // how often another name is another nick at once
	opens     *meter    // direct chats that others begin
	invites   *meter    // of others into rooms of channels
	idleSince time.Time // see forgetIdle

	missing atomic.Pointer[string] // the nick that the connection should have and has not, folded

	speech speech
}

func (n *network) puppet(user matrix.UserID) *puppet {
	p := n.puppets[user]
	if p == nil {
		p = &puppet{
			net: n, user: user, wanted: map[string]*wish{}, asked: pace{config: reconnects}, renames: pace{config: renames},
			opens: newMeter(openLimit), invites: newMeter(inviteLimit),
			seen: sightings{}, directs: map[*bridge.Portal]bool{}, opening: map[*bridge.Portal]bool{},
		}
		p.speech.init(n, p, func(channel string) bool { return p.wanted[channel] != nil })
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
	if n.now().Relay.Mode == RelayOnly {
		p.refused(fmt.Errorf("the bridge connects nobody to %s, but speaks for people in channels", n.now().Name))
		return
	}
	if open := n.openPuppets(); open >= n.now().MaxConnections {
		if n.makeRoom() {
			p.waiting = n.after(roomWait, p.connectAgain)
			return
		}
		if n.spokenFor(p) {
			return
		}
		err := fmt.Errorf("the bridge may have only %d connections to %s", n.now().MaxConnections, n.now().Name)
		p.refused(err)
		return
	}
	p.speech.setState(nil, nil)
	p.link = n.connect(p)
}

// connectAsked is connect for what the user does, as often as they like: whom a network refuses, or who comes and goes, is no
// flood of connections.
func (p *puppet) connectAsked() {
	if p.link != nil || p.waiting != nil {
		return
	}
	if wait := p.asked.reserve(time.Now()); wait > 0 {
		p.waiting = p.net.after(wait, p.connectAgain)
		return
	}
	p.connect()
}

// needed tells whether there is a reason to be on IRC.
func (p *puppet) needed() bool { return len(p.wanted) > 0 || len(p.directs) > 0 }

func (n *network) openPuppets() int {
	open := 0
	for _, p := range n.puppets {
		if p.link != nil {
			open++
		}
	}
	return open
}

func (p *puppet) call() (*call, error) {
	n := p.net
	nick := p.wantedNick()
	c := &call{secure: n.now().TLS, writes: p.speech.writes, Options: wire.Options{
		Nick: nick, RealName: n.now().templates.puppetRealname(p.user, p.display),
		Password: n.now().Password, Logger: n.log.With("user", p.user), Flood: n.now().Flood,
	}}
	c.userName = func(ctx context.Context) (string, error) {
		return n.service.names.of(ctx, n.config.ID, p.user, n.service.config.ServerName, int(n.identRoom.Load()))
	}
	if prefix := n.now().IPv6Prefix; prefix.IsValid() {
		c.source = func(ctx context.Context) (netip.Addr, error) { return n.service.sources.of(ctx, prefix, p.user) }
	}
	l, err := n.service.accounts.login(p.who(), nick)
	if err != nil {
		return nil, err
	}
	l.apply(c, n.now().encrypted(), n.now().NickServ)
	return c, nil
}

// nickLength is what the server allows, as far as the bot has heard; servers
// cut longer nicks, so that a guess does no harm.
func (n *network) nickLength() int {
	if n.bot.online {
		return n.bot.link.conn.Support().NickLen
	}
	return 0
}

func (p *puppet) up(l *link) {
	n := p.net
	if p.cutShort(l) {
		return
	}
	p.since, p.told = time.Now(), false
	n.calls(p, l.conn.Nick())
	n.log.Info("puppet connected", "user", p.user, "nick", l.conn.Nick())
	p.speech.setState(l.conn, nil)
	p.nickUp(l)
	for channel := range p.wanted {
		p.join(channel)
	}
	p.idle(l)
	p.reap()
}

// cutShort has the puppet come back with a shorter user name if the server has cut it: what is left could be somebody
// else's.
func (p *puppet) cutShort(l *link) bool {
	if l.unused || !l.cut() {
		return false
	}
	p.again = true
	l.quit("Coming back with a shorter user name")
	return true
}

// idle ends a connection that has said nothing for long.
func (p *puppet) idle(l *link) {
	n := p.net
	if p.idling != nil {
		p.idling.Stop()
	}
	if n.now().IdleTimeout == 0 {
		return
	}
	left := n.now().IdleTimeout - time.Since(p.speech.lastUse(p.since))
	if left <= 0 {
		p.expelAll("Silent for so long that the connection to " + n.now().Name + " was closed. Join again to come back.")
		l.quit("Idle")
		return
	}
	p.idling = n.after(left, func() {
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
		nick, p.was = l.conn.Nick(), l.conn.Self()
		maps.DeleteFunc(n.byNick, func(_ string, owner *puppet) bool { return owner == p })
		if time.Since(p.since) > stableAfter {
			p.failures = 0
		}
	}
	n.nicks.Delete(p.user)
	p.speech.setState(nil, nil)
	p.speech.lost(nick)
	n.torn(&p.speech, l)
	p.lostKicks()
	if p.again {
		p.again = false
		p.connectAsked()
		return
	}
	if n.stopping || n.ctx.Err() != nil || l.unused && !p.speech.busy() {
		return // until it is needed again
	}
	if away, ok := errors.AsType[*awayError](err); ok { // that is nobody's failure but the servers'
		p.later(away.wait+n.now().Reconnect.delay(1), err)
		return
	}
	p.failures++
	switch {
	case permanent(err):
		p.refused(err)
	case errors.Is(err, wire.ErrNoSASL): // services are away, most likely
		p.notifyOnce(fmt.Sprintf("cannot be logged in to %s at the moment, and does not connect without: %s", n.now().Name, decode(err.Error())))
		p.later(n.now().Reconnect.delay(maxFailures), err)
	default:
		p.later(n.now().Reconnect.delay(p.failures), err)
	}
}

// prefix is how others see the puppet, or saw it last; without a nick if it has never been seen.
func (p *puppet) prefix() wire.Prefix {
	if p.link != nil && p.link.conn != nil {
		return p.link.conn.Self()
	}
	return p.was
}

// permanent tells whether the network refused a puppet so that trying again soon is
// no use.
func permanent(err error) bool {
	return errors.Is(err, wire.ErrBanned) || errors.Is(err, wire.ErrAuth) || errors.Is(err, errLocked) ||
		errors.Is(err, wire.ErrBadPassword) || errors.Is(err, wire.ErrNoNick) || errors.Is(err, errNoSource) || errors.Is(err, errNoUserName)
}

// later connects again after a wait.
func (p *puppet) later(wait time.Duration, err error) {
	n := p.net
	n.log.Info("puppet not connected", "user", p.user, "err", err, "failures", p.failures, "again_in", wait.Round(time.Millisecond))
	p.waiting = n.after(wait, p.connectAgain)
	// If the bot is away too, it is the network that is; nobody needs telling twice.
	if p.failures >= 3 && n.bot.online {
		p.tell(fmt.Sprintf("cannot connect to %s at the moment: %s", n.now().Name, decode(err.Error())))
	}
}

// connectAgain ends a wait.
func (p *puppet) connectAgain() {
	p.waiting = nil
	if p.needed() || p.speech.busy() {
		p.connect()
	}
}

// refused gives up for long, and says so: to the user alone if it is the user's secrets
// that are refused.
func (p *puppet) refused(err error) {
	p.speech.setState(nil, err)
	text := fmt.Sprintf("no connection to %s: %s", p.net.now().Name, decode(err.Error()))
	if errors.Is(err, wire.ErrAuth) || errors.Is(err, errLocked) {
		p.notifyOnce(fmt.Sprintf("to %s is not made: %s", p.net.now().Name, decode(err.Error()))) // there is the time that messages are held to put that right
	} else {
		p.tell("has " + text)
		p.expelAll("There is " + text)
	}
	p.waiting = p.net.after(refusedAgain, func() {
		p.waiting = nil
		if p.needed() {
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
