package irc

import (
	"maps"
	"time"

	"trestle/bridges/irc/wire"
)

// formerFor is how long the bot's server may be behind a puppet's with a change of nick.
const formerFor = 5 * time.Minute

// A former is whose connection had a nick, until when.
type former struct {
	puppet *puppet
	until  time.Time
}

// calls notes the nick of a puppet's connection. The bot may be on another server, or behind: it may see
// the old nick for a while, or have seen the new one already.
func (n *network) calls(p *puppet, nick string) {
	now := time.Now()
	maps.DeleteFunc(n.former, func(_ string, f former) bool { return now.After(f.until) })
	for old, owner := range n.byNick {
		if owner == p {
			delete(n.byNick, old)
			n.former[old] = former{p, now.Add(formerFor)}
		}
	}
	folded := n.fold(nick)
	n.byNick[folded] = p
	n.nicks.Store(p.user, nick)
	if u := n.users[folded]; u != nil {
		n.recognise(u, u.seen())
	}
}

// puppetOf is whose connection somebody is on IRC, as far as that is known; nil for IRC's own people.
func (n *network) puppetOf(who wire.Prefix) *puppet {
	folded := n.fold(who.Nick)
	if p := n.byNick[folded]; p != nil {
		return p
	}
	if f := n.former[folded]; f.puppet != nil && f.puppet.comesFrom(who) {
		return f.puppet
	}
	return nil
}

// comesFrom tells whether user and host are those of the puppet's connection.
func (p *puppet) comesFrom(who wire.Prefix) bool {
	if p.link == nil || p.link.conn == nil {
		return false
	}
	self := p.link.conn.Self()
	return self.Host != "" && self.User == who.User && self.Host == who.Host
}

// recognise looks again whether a user, who was taken for one of IRC's own, is a puppet: or what it says
// would come back into the room.
func (n *network) recognise(u *user, who wire.Prefix) {
	if u.puppet != nil || u.bot {
		return
	}
	p := n.puppetOf(who)
	if p == nil || !p.comesFrom(who) {
		return
	}
	visible, ghost := u.visible(), n.ghost(u.nick)
	u.puppet, u.barred = p, false
	p.seen[u] = true
	for ch := range u.channels {
		if visible {
			ch.portal.Leave(ghost, "")
		}
		n.attend(ch, u)
		n.rightsChanged(ch)
	}
}
