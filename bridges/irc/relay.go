package irc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// errSpokenFor is why somebody without a connection cannot do what takes rights on IRC: the bot's own
// are not theirs.
var errSpokenFor = errors.New("the bridge's bot speaks for them there, and nobody has its rights")

// A relay speaks, over the bot's connection, for people of Matrix who have none of their own. What it says
// is proven like everything else (see speech), for each channel by itself: one that the bot
// is not in holds up no other.
type relay struct {
	net  *network
	turn chan struct{} // capacity 1: a RELAYMSG is under way, whose refusal names no channel

	full map[matrix.UserID]bool // the loop's: for whom there is no connection left

	mu     sync.Mutex
	conn   *wire.Conn                 // nil: the bot is away
	voices map[string]*speech         // by folded channel
	plain  map[string]*wire.Conn      // channels in which the server has refused RELAYMSG on a connection
	people map[matrix.UserID]*relayed // who were spoken for, or want to be
	nicks  map[string]matrix.UserID   // theirs, folded
}

// takeTurn waits until no other RELAYMSG is under way.
func (r *relay) takeTurn(ctx context.Context) bool {
	select {
	case r.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *relay) endTurn() { <-r.turn }

// voice is what says things in a channel. It is called on the loop.
func (r *relay) voice(channel string) *speech {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.voices[channel]
	if s == nil {
		n := r.net
		s = &speech{}
		s.init(n, nil, func(channel string) bool {
			ch := n.channels[channel]
			return !n.bot.online || ch != nil && (ch.joined || !ch.refused) && ch.wanted()
		})
		r.voices[channel] = s
		s.setState(r.conn, nil)
		ch := n.known(channel)
		s.setIn(channel, ch != nil && ch.told) // whom the channel bans is known, too
	}
	return s
}

// all are the voices of all channels.
func (r *relay) all() []*speech {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*speech, 0, len(r.voices))
	for _, s := range r.voices {
		all = append(all, s)
	}
	return all
}

// up is called when the bot is connected, and it is known how the network folds names.
func (r *relay) up(conn *wire.Conn) {
	r.mu.Lock()
	clear(r.nicks)
	for user, one := range r.people {
		if one.nick != "" {
			r.nicks[r.net.fold(one.nick)] = user
		}
	}
	r.mu.Unlock()
	r.connected(conn)
}

// down is called when it is no longer, and in no channel.
func (r *relay) down() {
	r.connected(nil)
	for _, s := range r.all() {
		s.lost("")
	}
}

func (r *relay) connected(conn *wire.Conn) {
	r.mu.Lock()
	r.conn, r.plain = conn, map[string]*wire.Conn{}
	r.mu.Unlock()
	for _, s := range r.all() {
		s.setState(conn, nil)
	}
}

// enters notes that the bot is in a channel, or no longer.
func (r *relay) enters(channel string, in bool) {
	if s := r.existing(channel); s != nil {
		s.setIn(channel, in)
	}
}

// wake has what waits for a channel look whether it still should.
func (r *relay) wake(channel string) {
	if s := r.existing(channel); s != nil {
		s.wake()
	}
}

func (r *relay) existing(channel string) *speech {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.voices[channel]
}

// writes is the tap of the bot's connection.
func (r *relay) writes(b []byte, done bool) {
	for _, s := range r.all() {
		s.writes(b, done)
	}
}

// receive takes what shows whether lines were taken. It is called on the connection's goroutine.
func (r *relay) receive(c *wire.Conn, m *wire.Message) {
	switch m.Command {
	case "PRIVMSG", "NOTICE":
		target, ok := c.Support().Channel(m.Param(0))
		if !ok || !c.FromSelf(m) && !r.mine(c, m) {
			return
		}
		if s := r.existing(r.net.fold(target)); s != nil {
			s.echoed(m)
		}
	case "FAIL", "421", "481", "482":
		r.refused(c, m)
	case "401", "403", "404", "408", "415", "417", "477", "489", "531":
		for _, s := range r.all() {
			s.refused(m)
		}
	}
}

// refused takes a refusal that may be of RELAYMSG. The bot sends other commands too: of their
// refusals nothing is learnt.
func (r *relay) refused(c *wire.Conn, m *wire.Message) {
	r.mu.Lock()
	for channel, s := range r.voices {
		if s.relaying() && refusesRelay(m) && (m.Command != "FAIL" || m.Param(1) == "PRIVS_NEEDED") {
			r.plain[channel] = c
		}
	}
	r.mu.Unlock()
	for _, s := range r.all() {
		if m.Command == "FAIL" || s.relaying() {
			s.refused(m)
		}
	}
}

// relaying tells whether a RELAYMSG is under way.
func (s *speech) relaying() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.line != nil && s.line.relayed && s.line.begun
}

// refusesRelay tells whether a refusal is of the command, and not of what was said by it.
func refusesRelay(m *wire.Message) bool {
	switch m.Command {
	case "FAIL":
		return m.Param(0) == "RELAYMSG"
	case "421":
		return slices.Contains(m.Params, "RELAYMSG")
	}
	return m.Command == "481" || m.Command == "482"
}

// allowed forgets that the server has refused RELAYMSG in a channel: the bot has other rights now.
func (r *relay) allowed(channel string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.plain, channel)
}

// mine tells whether a message that appears to be somebody's is one of ours.
func (r *relay) mine(c *wire.Conn, m *wire.Message) bool {
	if by := m.Relay(); by != "" {
		return r.net.fold(by) == r.net.fold(c.Nick())
	}
	separator, ok := c.RelaySeparator()
	nick, marked := strings.CutSuffix(m.Prefix.Nick, separator+relayMark)
	r.mu.Lock()
	defer r.mu.Unlock()
	return ok && marked && r.nicks[r.net.fold(nick)] != ""
}

// voiceFor chooses what says an utterance: the person's own connection, or the bot's. It is called on
// the loop.
func (n *network) voiceFor(user matrix.UserID, u *utterance) (*speech, error) {
	if reason, barred := n.barred(user); barred {
		return nil, errors.New(reason)
	}
	n.regainConnection(u.channel, user)
	if u.direct || !n.relays(u.channel, user) {
		p := n.puppet(user)
		if u.direct || p.wanted[u.channel] != nil {
			p.connect() // it may have gone away for being idle
		}
		return &p.speech, nil
	}
	portal := n.service.bridge.Find(bridge.Key{Network: n.config.ID, Channel: u.channel})
	switch {
	case portal == nil:
		return nil, errBotAway
	case u.message != nil && u.message.Command != "REDACT":
		return nil, errSpokenFor
	}
	display, _ := portal.Person(user)
	nick := n.relay.nick(user, display)
	if mask := n.relayMask(n.channel(portal.Name()), user, nick); mask != "" {
		return nil, errors.New("IRC has banned " + decode(nick) + " (" + decode(mask) + ")")
	}
	if u.message == nil {
		u.guise, u.spokenFor = n.relay.guise(u.channel, nick), user
	}
	return n.relay.voice(u.channel), nil
}

// mayStillSpeak looks again, when something is about to be said, whether IRC has banned whom it is said for: while it waited, the bot may
// have been away, and did not know.
func (n *network) mayStillSpeak(ctx context.Context, u *utterance) error {
	mask := ""
	n.ask(ctx, func() {
		if ch, nick := n.channels[u.channel], ""; ch != nil {
			nick, _ = n.relay.called(u.spokenFor)
			if mask = n.relayMask(ch, u.spokenFor, nick); mask != "" {
				mask = decode(nick) + " (" + decode(mask) + ")"
			}
		}
	})
	if mask != "" {
		return errors.New("IRC has banned " + mask)
	}
	return ctx.Err()
}

// takeOver has the bot say what somebody's connection cannot, as there will be none.
func (n *network) takeOver(user matrix.UserID, u *utterance) (taken bool) {
	if u.guise != nil || u.message != nil || u.direct {
		return false
	}
	n.ask(n.ctx, func() {
		if !n.relays(u.channel, user) {
			return
		}
		if s, err := n.voiceFor(user, u); err == nil {
			s.add(u)
			taken = true
		}
	})
	return taken
}

// relayMask is the ban of a channel that means somebody who is spoken for there, by the name that the bot gives them or by the
// connection that they have, or had: to have none any more ends no ban.
func (n *network) relayMask(ch *channel, user matrix.UserID, nick string) string {
	for _, mask := range ch.masks {
		if n.meansRelayed(mask, user, nick) {
			return mask
		}
	}
	return ""
}

// meansRelayed tells whether a mask means somebody for whom the bot speaks, or would.
func (n *network) meansRelayed(mask string, user matrix.UserID, nick string) bool {
	if n.means(mask, wire.Prefix{Nick: nick}) || n.means(mask, wire.Prefix{Nick: n.relay.shown(nick)}) {
		return true
	}
	if p := n.puppets[user]; p != nil && p.prefix().Nick != "" {
		return n.means(mask, p.prefix())
	}
	// Since the bridge was started they have had no connection, and what they are called on one is all there is.
	name := n.service.names.known(n.config.ID, user, n.service.config.ServerName, int(n.identRoom.Load()))
	_, address, _ := strings.Cut(mask, "!")
	called, host, _ := strings.Cut(address, "@")
	return name != "" && host == "*" && strings.Trim(called, "*~") != "" && (n.means(mask, wire.Prefix{Nick: nick, User: name, Host: "*"}) || n.means(mask, wire.Prefix{Nick: nick, User: "~" + name, Host: "*"}))
}

// relayMasked tells a room of a mask that means somebody for whom the bot speaks there.
func (n *network) relayMasked(ch *channel, by wire.Prefix, change wire.ModeChange) {
	if change.Mode != 'b' || n.relayMode(ch.key) == RelayOff {
		return
	}
	for user := range ch.portal.People() {
		nick, known := n.relay.called(user)
		if known && n.relays(ch.key, user) && n.meansRelayed(change.Arg, user, nick) {
			ch.portal.Notice(decode(by.Nick) + " of IRC has banned " + string(user) + " (" + decode(change.Arg) + "): what they say here does not reach IRC.")
		}
	}
}

// relaysAsked is relays for those who are not on the loop.
func (n *network) relaysAsked(ctx context.Context, p *bridge.Portal, user matrix.UserID) (relays bool) {
	n.ask(ctx, func() { relays = n.relays(p.Key().Channel, user) })
	return relays
}
