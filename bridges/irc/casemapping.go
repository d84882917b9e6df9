package irc

import (
	"fmt"

	"trestle/bridges/irc/names"
	"trestle/bridges/irc/wire"
)

// firstMapping is called when any connection is up. Until the bot is, people's connections, which may be
// there earlier, must take the same spellings for one as the server does.
func (n *network) firstMapping(conn *wire.Conn) {
	select {
	case <-n.met:
	default:
		n.setMapping(conn.Support().CaseMapping)
	}
}

// setMapping notes which spellings the network takes for one: it says so on each connection, and may have
// changed its mind. Channels are known by what they are called, and get their new keys.
func (n *network) setMapping(mapping names.CaseMapping) {
	if n.mapping.Swap(uint32(mapping)) == uint32(mapping) && n.spelt {
		return
	}
	n.spelt = true
	moved := map[string]string{}
	for _, p := range n.service.bridge.Portals() {
		before := p.Key()
		after := n.key(p.Name())
		if before.Network != n.config.ID || p.Direct() || before == after {
			continue
		}
		if err := p.Rename(after); err != nil {
			n.log.Error("a channel does not follow the network's spelling", "channel", p.Name(), "err", err)
			p.Notice(fmt.Sprintf("%s takes %s and another channel for one now, which has a room of its own: what is said on IRC appears there, and no longer here.", n.now().Name, decode(p.Name())))
			continue
		}
		n.log.Info("a channel is spelled otherwise", "channel", p.Name(), "before", before.Channel, "after", after.Channel)
		moved[before.Channel] = after.Channel
	}
	n.respell(moved)
}

// respell has what is known of channels, and of people's nicks, under new keys.
func (n *network) respell(moved map[string]string) {
	for before, after := range moved {
		if ch := n.channels[before]; ch != nil {
			n.leave(ch)
			delete(n.channels, before)
			ch.key = after
			n.channels[after] = ch
		}
	}
	clear(n.byNick)
	clear(n.former)
	for _, p := range n.puppets {
		if p.link != nil && p.link.conn != nil {
			n.byNick[n.fold(p.link.conn.Nick())] = p
		}
		for before, after := range moved {
			if w := p.wanted[before]; w != nil {
				delete(p.wanted, before)
				p.wanted[after] = w
				p.speech.setIn(after, p.speech.isIn(before))
			}
		}
	}
}
