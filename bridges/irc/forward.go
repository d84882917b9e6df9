package irc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// forwardWait is how long after a 470 the JOIN may come that belongs to it.
const forwardWait = 10 * time.Second

// forwarded is returned for a channel that leads to another one, whose room is to be used.
type forwarded struct{ to string }

func (f *forwarded) Error() string { return "the channel forwards to " + f.to }

// hearForward notes that the server will put the bot into a channel that it has not asked for.
func (n *network) hearForward(m *wire.Message) {
	ch := n.channels[n.fold(m.Param(1))]
	asked := ch == nil || ch.portal == nil || ch.portal.Room() == "" // else it has a room of its own
	maps.DeleteFunc(n.expected, func(_ string, at time.Time) bool { return time.Since(at) > forwardWait })
	if n.now().FollowForwards && asked && len(m.Params) > 3 && len(n.expected) < maxInvited {
		n.expected[n.fold(m.Param(2))] = time.Now()
	}
}

// strayed is called when the server has put the bot, or somebody else, into a channel that nobody asked
// for. The bot stays if it is to follow; else it leaves.
func (n *network) strayed(c *wire.Conn, m *wire.Message) *channel {
	if !c.FromSelf(m) {
		return nil
	}
	key := n.fold(m.Param(0))
	at, follow := n.expected[key]
	delete(n.expected, key)
	if follow && time.Since(at) < forwardWait {
		return n.channel(m.Param(0))
	}
	n.log.Info("the server has put the bot into a channel that it did not ask for", "channel", m.Param(0))
	n.bot.send(wire.NewMessage("PART", m.Param(0)))
	return nil
}

// strayed is called when the puppet is in a channel. Where it is not wanted, a forward has led it: it
// leaves, and nobody is in a room of which they do not know.
func (p *puppet) strayed(c *wire.Conn, m *wire.Message) {
	if p.wanted[p.net.fold(m.Param(0))] != nil {
		return
	}
	p.net.sendLater(c, wire.NewMessage("PART", m.Param(0)))
}

// follow makes the alias of a channel that forwards lead to the other's room, and says so there.
func (n *network) follow(ctx context.Context, from, to string, alias matrix.RoomAlias) (*bridge.Portal, error) {
	p, err := n.open(ctx, to, "")
	if _, again := errors.AsType[*forwarded](err); again {
		return nil, matrix.Forbidden("%s forwards to %s, which forwards on.", decode(from), decode(to))
	}
	if err != nil {
		return nil, err
	}
	if alias == "" {
		alias = n.aliasOf(from)
	}
	if err := p.CreateRoom(ctx, bridge.RoomSpec{Alias: alias}); err != nil {
		return nil, err
	}
	n.ask(ctx, func() {
		if n.followed[n.fold(from)] == p.Room() { // however often somebody asks
			return
		}
		if len(n.followed) >= maxInvited {
			clear(n.followed)
		}
		n.followed[n.fold(from)] = p.Room()
		p.Notice(fmt.Sprintf("On IRC %s forwards to %s: whoever joins it comes here.", decode(from), decode(to)))
	})
	return p, nil
}

// invited asks a Matrix user into the room of a channel into which IRC has invited the puppet.
func (p *puppet) invited(m *wire.Message) {
	n := p.net
	portal := n.service.bridge.Find(n.key(m.Param(1)))
	if portal == nil || portal.Room() == "" || portal.Plumbed() || p.wanted[portal.Key().Channel] != nil || n.barredOnIRC(m.Prefix) || !p.invites.take(time.Now()) {
		return
	}
	user := p.user
	n.goRun(func() {
		if err := n.service.bridge.Client().Bot().Invite(n.ctx, portal.Room(), user); err != nil && n.ctx.Err() == nil {
			n.log.Info("no invitation", "room", portal.Room(), "user", user, "err", err)
		}
	})
}
