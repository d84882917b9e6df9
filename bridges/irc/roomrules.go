package irc

import (
	"context"
	"strings"
	"time"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// ruleKind is what a rule's event is about: users, servers, rooms, or empty.
func ruleKind(eventType string) string {
	switch eventType {
	case "m.policy.rule.user", "m.room.rule.user", "org.matrix.mjolnir.rule.user":
		return "user"
	case "m.policy.rule.server", "m.room.rule.server", "org.matrix.mjolnir.rule.server":
		return "server"
	case "m.policy.rule.room", "m.room.rule.room", "org.matrix.mjolnir.rule.room":
		return "room"
	}
	return ""
}

// barredRoom tells why a channel's room is not bridged, if a rule says so of the room's ID or of
// one of its aliases. It is called on the loop.
func (n *network) barredRoom(channel string, room matrix.RoomID, more ...string) (reason string, barred bool) {
	about := append(more, string(n.aliasOf(channel)))
	if room != "" {
		about = append(about, string(room))
	}
	for _, m := range n.now().Mappings {
		if n.fold(m.Channel) == n.fold(channel) {
			about = append(about, string(m.Alias), m.Room)
		}
	}
	for _, name := range about {
		if rule, found := n.policies.find("room", name); found && name != "" {
			return strings.TrimSuffix("A rule says that this room is not bridged to "+n.now().Name+": "+rule.reason, ": "), true
		}
	}
	return "", false
}

// mayOpen refuses the room of a channel that a rule bans.
func (n *network) mayOpen(ctx context.Context, channel string, aliases ...string) error {
	reason, barred := "", false
	n.ask(ctx, func() { reason, barred = n.barredRoom(channel, "", aliases...) })
	if barred {
		return matrix.Forbidden("%s", reason)
	}
	return nil
}

// applyRoomRules ends and resumes links, as the rules now have it.
func (n *network) applyRoomRules() {
	for _, ch := range n.channels {
		if ch.portal == nil {
			continue
		}
		reason, barred := n.barredRoom(ch.name, ch.portal.Room())
		switch was, _ := n.shut.Load(ch.key); {
		case barred && was != shutRule:
			n.shutLink(ch, shutRule, reason)
		case was == shutRule && !barred:
			n.resumeLink(ch)
		}
	}
}

// Why links are shut.
const (
	shutRule   = "a rule bans the room"
	shutDouble = "another bridge is there"
)

// shutLink ends what a channel and a room have to do with each other, for as long as there is a reason:
// the bot and all puppets leave the one, the virtual users the other.
func (n *network) shutLink(ch *channel, why, text string) {
	n.log.Error("a link has ended", "why", why, "channel", ch.name, "room", ch.portal.Room(), "text", text)
	n.shut.Store(ch.key, why)
	reason := text
	n.sayDirectly(ch.portal, reason)
	for user := range ch.portal.People() {
		n.personLeft(ch.portal, user, "Not bridged")
	}
	if ch.joined {
		n.bot.send(wire.NewMessage("PART", ch.name, "Not bridged"))
	}
	ch.portal.Empty()
}

// resumeLink begins anew when the rule has gone.
func (n *network) resumeLink(ch *channel) {
	n.log.Info("no rule bans a room any more: its link is resumed", "channel", ch.name, "room", ch.portal.Room())
	n.shut.Delete(ch.key)
	if n.bot.online && !ch.joined && ch.wanted() {
		n.bot.join([]string{ch.name})
	}
	if ch.portal.Plumbed() {
		return // who speaks there gets a connection
	}
	for user, name := range ch.portal.People() {
		n.personJoined(ch.portal, user, name)
	}
}

// isShut tells whether a rule has ended a channel's link. It is safe for concurrent use.
func (n *network) isShut(channel string) bool {
	_, shut := n.shut.Load(channel)
	return shut
}

// sayDirectly has the bridge say something in a room that does not wait for what the channel has said.
func (n *network) sayDirectly(p *bridge.Portal, text string) {
	room, transaction := p.Room(), "direct."+time.Now().Format(time.RFC3339Nano)
	if room == "" {
		return
	}
	n.goRun(func() {
		err := client.Retry(n.ctx, nil, func(ctx context.Context) error { return p.NoticeNow(ctx, room, transaction, text) })
		if err != nil && n.ctx.Err() == nil {
			n.log.Warn("a room was not told something", "room", room, "err", err)
		}
	})
}
