package irc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// banKick is how long after a kick a ban still belongs to it.
const banKick = time.Minute

// maxMasks bounds the masks of a channel that are remembered.
const maxMasks = 1000

// hearMask works off a change of a channel's list of bans, or of quiets.
func (n *network) hearMask(ch *channel, by wire.Prefix, change wire.ModeChange) {
	if change.Arg == "" || change.Mode != 'b' && change.Mode != 'q' {
		return
	}
	if change.Mode == 'b' {
		ch.masks = slices.DeleteFunc(ch.masks, func(mask string) bool { return mask == change.Arg })
		if change.Add && len(ch.masks) < maxMasks {
			ch.masks = append(ch.masks, change.Arg)
		}
	}
	if ch.portal == nil {
		return
	}
	if !change.Add {
		n.lifted(ch, change.Arg)
		return
	}
	n.relayMasked(ch, by, change)
	var meant []string
	for _, p := range n.puppets {
		if p.link == nil || p.link.conn == nil || !n.means(change.Arg, p.link.conn.Self()) {
			continue
		}
		switch {
		case p.wanted[ch.key] != nil:
			meant = append(meant, string(p.user))
		case change.Mode == 'b' && time.Since(p.kicked[ch.key]) < banKick:
			n.banned(ch, p.user, change.Arg, "Banned by "+decode(by.Nick))
		}
	}
	if len(meant) > 0 {
		does := "banned"
		if change.Mode == 'q' {
			does = "silenced"
		}
		ch.portal.Notice(fmt.Sprintf("%s of IRC has %s %s (%s): what they say here does not reach IRC.", decode(by.Nick), does, several(meant), decode(change.Arg)))
	}
}

// maxNamedUsers is how many people a notice names: a mask may mean everybody.
const maxNamedUsers = 5

// several lists people, or some of them.
func several(users []string) string {
	slices.Sort(users)
	if more := len(users) - maxNamedUsers; more > 1 {
		return fmt.Sprintf("%s and %d others", strings.Join(users[:maxNamedUsers], ", "), more)
	}
	return strings.Join(users, ", ")
}

// banned bans a Matrix user from the room as IRC has.
func (n *network) banned(ch *channel, user matrix.UserID, mask, reason string) {
	ch.portal.NoteBan(user, mask)
	ch.portal.Ban(user, reason)
}

// lifted ends the bans in the room that belong to a mask.
func (n *network) lifted(ch *channel, mask string) {
	for _, ban := range ch.portal.Bans() {
		if ban.Mask == mask {
			ch.portal.NoteBan(ban.User, "")
			ch.portal.Unban(ban.User)
		}
	}
}

// hearMasks takes a line of the list of bans, and compares when it is at its end: bans may have ended
// while the bridge was away.
func (n *network) hearMasks(m *wire.Message) {
	ch := n.known(m.Param(1))
	switch {
	case ch == nil || ch.portal == nil:
	case m.Command == "367" && len(ch.listed) < maxMasks:
		ch.listed = append(ch.listed, m.Param(2))
	case m.Command == "368":
		ch.masks, ch.listed = ch.listed, nil
		for _, ban := range ch.portal.Bans() {
			if !slices.Contains(ch.masks, ban.Mask) {
				n.lifted(ch, ban.Mask)
			}
		}
	}
}

// maskOf is the mask by which a channel bans somebody, or empty.
func (n *network) maskOf(ch *channel, who wire.Prefix) string {
	for _, mask := range ch.masks {
		if n.means(mask, who) {
			return mask
		}
	}
	return ""
}

// removed tells whether a puppet that was kicked is banned too; then the Matrix user is.
func (p *puppet) removed(channel, reason string) bool {
	n := p.net
	if p.kicked == nil {
		p.kicked = map[string]time.Time{}
	}
	p.kicked[channel] = time.Now()
	ch := n.known(channel)
	if ch == nil || p.link == nil || p.link.conn == nil {
		return false
	}
	mask := n.maskOf(ch, p.link.conn.Self())
	if mask != "" {
		n.banned(ch, p.user, mask, reason)
	}
	return mask != ""
}

// moderates works off bans, and their ends, by people; false if the event is neither.
func (n *network) moderates(ctx context.Context, p *bridge.Portal, e *client.Event, done func()) bool {
	content, by, target := e.Content.AsMember(), matrix.UserID(e.Sender), matrix.UserID(e.GetStateKey())
	ghost, isGhost := n.service.Ghost(target)
	mask, known := p.BanOf(target)
	switch {
	case content.Membership == event.MembershipBan && isGhost:
		n.ban(ctx, p, by, ghost, content.Reason, done)
	case content.Membership == event.MembershipLeave && known && by != target:
		n.unban(ctx, p, by, target, mask, done)
	default:
		return false
	}
	return true
}

// ban has a person's puppet ban somebody on IRC, and kick them. If IRC refuses, the ban is taken
// back in the room.
func (n *network) ban(ctx context.Context, p *bridge.Portal, by matrix.UserID, ghost bridge.Ghost, reason string, done func()) {
	var lines []*wire.Message
	mask, nick := "", ""
	said := n.kickReason(ctx, strings.TrimSuffix("Banned by "+string(by)+": "+reason, ": "))
	if !n.ask(ctx, func() {
		nick, _ = n.templates.ghostNick(ghost.ID.Localpart())
		mask = nick + "!*@*"
		ch, u := n.known(p.Key().Channel), n.users[nick]
		if ch == nil || u == nil || !ch.members[u] || u.puppet != nil || u.bot {
			return
		}
		mask, nick = n.banMask(ch, u), u.nick
		lines = append(lines, wire.NewMessage("KICK", p.Name(), nick, said))
	}) {
		return
	}
	lines = append([]*wire.Message{wire.NewMessage("MODE", p.Name(), "+b", mask)}, lines...)
	p.NoteBan(ghost.ID, mask)
	n.sequence(ctx, by, p, lines, func(err error) {
		if err != nil {
			p.Notice("IRC did not let " + string(by) + " ban " + decode(nick) + ": " + reasonOf(err))
			p.NoteBan(ghost.ID, "")
			n.takeBack(p.Key().Channel, "ban "+string(ghost.ID), func() {
				p.Unban(ghost.ID)
				folded, _ := n.templates.ghostNick(ghost.ID.Localpart())
				if ch, u := n.known(p.Key().Channel), n.users[folded]; ch != nil && u != nil && ch.members[u] && u.visible() {
					p.Return(n.ghost(u.nick))
				}
			})
		}
		done()
	})
}

// unban has a person's puppet end a ban on IRC. If IRC refuses, the room bans again.
func (n *network) unban(ctx context.Context, p *bridge.Portal, by, target matrix.UserID, mask string, done func()) {
	p.NoteBan(target, "") // so that IRC's echo ends nothing
	line := wire.NewMessage("MODE", p.Name(), "-b", mask)
	n.sequence(ctx, by, p, []*wire.Message{line}, func(err error) {
		if err != nil {
			p.Notice("IRC did not let " + string(by) + " end the ban of " + string(target) + ": " + reasonOf(err))
			p.NoteBan(target, mask)
			n.takeBack(p.Key().Channel, "unban "+string(target), func() {
				if _, banned := p.BanOf(target); banned {
					p.Ban(target, "Banned on IRC")
				}
			})
		}
		done()
	})
}
