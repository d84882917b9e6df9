package irc

import (
	"strings"

	"trestle/bridges/irc/wire"
)

// hearModes takes note of a channel's modes: all of them, or changes.
func (n *network) hearModes(by wire.Prefix, name string, changes []wire.ModeChange, all bool) {
	ch := n.channels[n.fold(name)]
	if ch == nil {
		return
	}
	if all {
		ch.open, ch.flags, ch.told = true, map[byte]string{}, false
	}
	support := n.bot.link.conn.Support()
	for _, change := range changes {
		switch {
		case support.IsStatus(change.Mode):
			n.hearStatus(ch, change.Arg, change.Mode, change.Add)
		case strings.IndexByte(support.ChanModes[0], change.Mode) >= 0:
			n.hearMask(ch, by, change)
		default:
			n.hearFlag(ch, change)
		}
	}
	if all {
		ch.told = true
		n.relay.enters(ch.key, ch.joined)
		n.shown(ch)
	}
}

// hearFlag takes note of a mode that a channel has or has not.
func (n *network) hearFlag(ch *channel, change wire.ModeChange) {
	if change.Add {
		ch.flags[change.Mode] = change.Arg
	} else {
		delete(ch.flags, change.Mode)
	}
	if change.Mode == 't' {
		ch.open = !change.Add
	}
	if change.Mode == 'k' {
		n.hearKey(ch, change)
	}
	if ch.told || ch.unlisted() { // else shown is to come, when all modes are known
		n.followListing(ch)
	}
	n.rightsChanged(ch)
}

// hearModesRefused is called for an error about a channel: if the server does not say
// what the modes are, nobody waits for them.
func (n *network) hearModesRefused(m *wire.Message) {
	if ch := n.known(m.Param(1)); ch != nil && !ch.told {
		ch.told = true
		n.relay.enters(ch.key, true)
		n.shown(ch)
	}
}

// shown calls those who wait for all that a join brings: members and modes.
func (n *network) shown(ch *channel) {
	if !ch.synced || !ch.told {
		return
	}
	n.nextChange(ch)
	n.rightsChanged(ch)
	n.followListing(ch)
	waiting := ch.waiting
	ch.waiting = nil
	for _, fn := range waiting {
		fn()
	}
}

// askModes asks for what a join does not bring.
func (n *network) askModes(ch *channel, name string) {
	ch.told = false
	if ch.portal != nil && len(ch.portal.Bans()) > 0 || n.relayMode(ch.key) != RelayOff {
		n.bot.send(wire.NewMessage("MODE", name, "b")) // first: whom it bans, the bot must not speak for
	}
	n.bot.send(wire.NewMessage("MODE", name))
}
