package irc

import (
	"trestle/bridges/bridge"
	"trestle/internal/config"
	"trestle/internal/matrix"
)

// A Mapping is what the operator says about a channel. All but its name may be empty.
type Mapping struct {
	Channel string
	Key     string           // that the channel wants; it lets everybody in who may join the room
	Alias   matrix.RoomAlias // one more that leads to the channel's room
	Room    string           // the ID or an alias of a room that exists, which becomes the channel's
	Relay   RelayMode        // in this channel; empty: as on the network
}

// mapped is the channel to which the operator has an alias lead.
func (n *network) mapped(alias matrix.RoomAlias) (channel string, ok bool) {
	for _, m := range n.now().Mappings {
		if m.Alias != "" && m.Alias == alias {
			return m.Channel, true
		}
	}
	return "", false
}

// attach gives channels the rooms that the operator has chosen for them.
func (n *network) attach() {
	for _, m := range n.now().Mappings {
		if reason, barred := n.barredRoom(m.Channel, ""); m.Room == "" || barred {
			if barred {
				n.log.Warn("a rule bans a room: the channel does not get it", "channel", m.Channel, "reason", reason)
			}
			continue
		}
		portal, err := n.service.bridge.Portal(n.ctx, n.key(m.Channel), m.Channel)
		if err != nil {
			n.log.Error("channel has no portal", "channel", m.Channel, "err", err)
			continue
		}
		n.goRun(func() {
			if err := portal.Attach(n.ctx, m.Room); err != nil {
				n.log.Error("the channel does not get its room", "channel", m.Channel, "room", m.Room, "err", err)
				return
			}
			n.post(func() { n.attached(portal) })
		})
	}
}

// attached brings the bot, and those who are in the room already, into the channel.
func (n *network) attached(p *bridge.Portal) {
	if ch := n.channel(p.Name()); n.bot.online && !ch.joined {
		n.bot.join([]string{ch.name})
	}
	n.applyRoomRules() // now that the room's ID is known
	for user, name := range p.People() {
		n.personJoined(p, user, name)
	}
}

func mappingsOf(from []config.IRCMapping) []Mapping {
	mappings := make([]Mapping, len(from))
	for i, m := range from {
		mappings[i] = Mapping{Channel: m.Channel, Key: m.Key.Reveal(), Alias: matrix.RoomAlias(m.Alias), Room: m.Room, Relay: RelayMode(m.Relay)}
	}
	return mappings
}
