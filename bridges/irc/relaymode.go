package irc

import (
	"cmp"
	"fmt"
	"strings"
	"unicode"

	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

// A RelayMode says for whom the bot speaks.
type RelayMode string

// The modes.
const (
	RelayOff  RelayMode = "off"
	RelayOn   RelayMode = "on"   // for those who have no connection of their own
	RelayOnly RelayMode = "only" // for all; nobody has one
)

// A Relay is how the bot speaks for people. Zero values mean the defaults named.
type Relay struct {
	Mode   RelayMode // RelayOff
	Prefix string    // before each line where there is no RELAYMSG, with {nick}; "<{nick}> "
	Colors bool      // of nicks in the prefix
	Break  bool      // puts a space without width into nicks in the prefix, so that nobody is notified of themselves
}

const (
	maxRelayPrefix = 40 // bytes
	relayPlace     = "{nick}"
)

func (r *Relay) complete(mappings []Mapping) error {
	r.Mode = cmp.Or(r.Mode, RelayOff)
	setDefault(&r.Prefix, "<"+relayPlace+"> ")
	for _, mode := range append([]Mapping{{Relay: r.Mode}}, mappings...) {
		switch mode.Relay {
		case "", RelayOff, RelayOn, RelayOnly:
		default:
			return fmt.Errorf("relay: %q is not a mode", mode.Relay)
		}
	}
	if strings.Count(r.Prefix, relayPlace) != 1 || len(r.Prefix) > maxRelayPrefix || strings.ContainsFunc(r.Prefix, unicode.IsControl) {
		return fmt.Errorf("relay: the prefix %q needs %s exactly once, and at most %d bytes", r.Prefix, relayPlace, maxRelayPrefix)
	}
	return nil
}

// relayMode is a channel's.
func (n *network) relayMode(channel string) RelayMode {
	for _, m := range n.now().Mappings {
		if m.Relay != "" && n.fold(m.Channel) == channel {
			return m.Relay
		}
	}
	return n.now().Relay.Mode
}

// relays tells whether the bot speaks for somebody in a channel: it does for all, or the
// user wants no connection, or there is none left. It never does for those whom the network or the
// channel refuses. It is called on the loop.
func (n *network) relays(channel string, user matrix.UserID) bool {
	switch n.relayMode(channel) {
	case RelayOnly:
		return true
	case RelayOn:
		return n.relay.full[user] || n.relay.wants(user)
	}
	return false
}

// relayJoined lets somebody in for whom the bot speaks; false if somebody else's connection has to. The
// bot is in the channel for them: who it is, the channel sees.
func (n *network) relayJoined(p *bridge.Portal, user matrix.UserID, display string) bool {
	channel := p.Key().Channel
	if n.openPuppets() < n.now().MaxConnections {
		delete(n.relay.full, user)
	}
	if !n.relays(channel, user) {
		return false
	}
	nick, ch := n.relay.nick(user, display), n.known(channel)
	if ch != nil && n.relayMask(ch, user, nick) != "" {
		p.Remove(user, "Banned from "+decode(p.Name())+" on IRC")
		return true
	}
	p.SetPresent(user, true)
	return true
}

// relayLeft notes that somebody has left the room for whom the bot spoke.
func (n *network) relayLeft(p *bridge.Portal, user matrix.UserID) {
	if n.relays(p.Key().Channel, user) {
		p.SetPresent(user, false)
	}
}

// spokenFor has the bot speak, in channels where it may, for somebody for whom there is no connection
// left; false if they still need one.
func (n *network) spokenFor(p *puppet) bool {
	for channel, w := range p.wanted {
		if n.relayMode(channel) != RelayOn {
			continue
		}
		delete(p.wanted, channel)
		if !n.relay.full[p.user] {
			w.portal.Notice(fmt.Sprintf("No connection to %s is free for %s: the bridge's bot speaks for them.", n.now().Name, p.user))
		}
		n.relay.full[p.user] = true
		w.portal.SetPresent(p.user, true)
	}
	p.speech.wake()
	return !p.needed() && n.relay.full[p.user]
}

// regainConnection gives somebody a connection who had none because there were too many.
func (n *network) regainConnection(channel string, user matrix.UserID) {
	ch := n.channels[channel]
	if !n.relay.full[user] || ch == nil || ch.portal == nil || n.openPuppets() >= n.now().MaxConnections {
		return
	}
	n.log.Info("there is a connection again for somebody", "user", user)
	for _, p := range n.service.bridge.Portals() {
		name, in := p.Person(user)
		if in && p.Key().Network == n.config.ID && !p.Direct() && n.relayMode(p.Key().Channel) == RelayOn {
			p.SetPresent(user, false)
			n.personJoined(p, user, name)
		}
	}
}
