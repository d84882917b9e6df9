package irc

import (
	"maps"
	"strings"
	"time"

	"trestle/bridges/irc/format"
	"trestle/bridges/irc/wire"
)

// hear works off what the bot receives, on the loop.
func (n *network) hear(c *wire.Conn, m *wire.Message) {
	switch m.Command {
	case "PRIVMSG", "NOTICE":
		n.hearText(c, m)
	case "TAGMSG":
		n.hearTags(c, m)
	case "JOIN":
		n.hearJoin(c, m)
	case "PART":
		n.hearPart(c, m)
	case "KICK":
		n.hearKick(c, m)
	case "QUIT":
		n.hearQuit(m)
	case "NICK":
		n.hearNick(c, m)
	case "CHGHOST":
		if u := n.users[n.fold(m.Prefix.Nick)]; u != nil && len(m.Params) > 1 {
			n.look(u, wire.Prefix{Nick: u.nick, User: m.Params[0], Host: m.Params[1]})
		}
	case "TOPIC":
		n.hearTopic(m.Param(0), m.Last(), m)
	case "331": // no topic is set
		n.hearTopic(m.Param(1), "", m)
	case "332":
		n.hearTopic(m.Param(1), m.Last(), m)
	case "353":
		if name, members := c.Support().Names(m); n.channels[n.fold(name)] != nil {
			ch := n.channels[n.fold(name)]
			ch.names = append(ch.names, members[:min(len(members), maxUsers-len(ch.names))]...)
		}
	case "366":
		if ch := n.channels[n.fold(m.Param(1))]; ch != nil && ch.joined {
			ch.endOfNames(c)
		}
	case "324":
		if len(m.Params) > 2 {
			n.hearModes(m.Prefix, m.Param(1), c.Support().ModeChanges(m.Params[2:]), true)
		}
	case "MODE":
		if c.Support().IsChannel(m.Param(0)) {
			n.hearModes(m.Prefix, m.Param(0), c.Support().ModeChanges(m.Params[1:]), false)
		}
	case "367", "368":
		n.hearMasks(m)
	case "REDACT":
		n.hearRedact(m)
	case "INVITE":
		n.hearInvite(m)
	case "CAP", "005":
	default:
		if m.Numeric() >= 400 {
			n.hearRefusal(m)
		}
	}
}

// known is a channel that the bot is in, or nil.
func (n *network) known(name string) *channel {
	if ch := n.channels[n.fold(name)]; ch != nil && ch.joined {
		return ch
	}
	return nil
}

func (n *network) hearJoin(c *wire.Conn, m *wire.Message) {
	ch := n.channels[n.fold(m.Param(0))]
	if ch == nil {
		if ch = n.strayed(c, m); ch == nil {
			return
		}
	}
	if c.FromSelf(m) {
		n.leave(ch) // who was in it before is not known any more
		if err := ch.bind(); err != nil {
			n.log.Error("channel has no portal", "channel", ch.name, "err", err)
			return
		}
		ch.joined, ch.refused = true, false
		n.skew = max(time.Since(m.Time), 0)
		n.watched.Store(ch.key, true)
		n.show(n.enter(ch, m.Prefix), m.Prefix)
		n.askModes(ch, m.Param(0))
		return
	}
	if !ch.joined || n.strange(m.Prefix.Nick) {
		return
	}
	u := n.enter(ch, m.Prefix)
	n.show(u, m.Prefix)
	n.found(ch, u)
	if u.puppet != nil && u.puppet.wanted[ch.key] != nil {
		u.puppet.wanted[ch.key].kicked = ""
	}
	if u.visible() {
		ch.portal.Join(n.ghost(u.nick))
	}
}

func (n *network) hearPart(c *wire.Conn, m *wire.Message) {
	ch := n.known(m.Param(0))
	switch {
	case ch == nil:
	case c.FromSelf(m):
		n.leave(ch)
		n.bot.rejoin(ch, "")
	default:
		reason := ""
		if len(m.Params) > 1 {
			reason = plain(m.Last())
		}
		n.gone(ch, n.users[n.fold(m.Prefix.Nick)], reason)
	}
}

func (n *network) hearKick(c *wire.Conn, m *wire.Message) {
	ch := n.known(m.Param(0))
	if ch == nil {
		return
	}
	reason := "Kicked by " + decode(m.Prefix.Nick)
	if len(m.Params) > 2 && m.Param(2) != m.Prefix.Nick {
		reason += ": " + plain(m.Param(2))
	}
	if n.bot.is(m.Param(1)) {
		ch.portal.Notice("The bridge was kicked from " + decode(ch.name) + " on IRC. " + reason + ". Until it is back, what is said there cannot be seen here.")
		n.leave(ch)
		ch.refused = true
		n.relay.wake(ch.key)
		n.bot.rejoin(ch, "")
		return
	}
	u := n.users[n.fold(m.Param(1))]
	if u != nil && u.puppet != nil && ch.members[u] {
		u.puppet.kickSeen(ch.key, m.Param(1), reason)
	}
	n.gone(ch, u, reason)
}

// gone takes a user out of a channel, and its ghost out of the room.
func (n *network) gone(ch *channel, u *user, reason string) {
	if u == nil || !ch.members[u] {
		return
	}
	if u.visible() {
		ch.portal.Leave(n.ghost(u.nick), reason)
	}
	n.exit(ch, u)
	n.settleGone(u, ch)
}

func (n *network) hearQuit(m *wire.Message) {
	u := n.users[n.fold(m.Prefix.Nick)]
	if u == nil {
		return
	}
	reason := plain(m.Last())
	if reason == "" {
		reason = "Quit"
	}
	leave := n.gone
	if netsplit(m) {
		leave = n.miss
	}
	for ch := range maps.Clone(u.channels) {
		leave(ch, u, reason)
	}
}

func (n *network) hearNick(c *wire.Conn, m *wire.Message) {
	nick := m.Param(0)
	if c.FromSelf(m) {
		n.bot.nick = nick
	}
	u := n.users[n.fold(m.Prefix.Nick)]
	if u == nil || nick == "" {
		return
	}
	if n.strange(nick) {
		for ch := range maps.Clone(u.channels) {
			n.gone(ch, u, "")
		}
		return
	}
	n.recognise(u, wire.Prefix{Nick: nick, User: m.Prefix.User, Host: m.Prefix.Host})
	before, after := n.ghost(u.nick), n.ghost(nick)
	if u.visible() {
		n.followNick(u.nick, nick)
	}
	was := u.visible()
	n.rename(u, nick)
	n.show(u, wire.Prefix{})
	for ch := range u.channels {
		n.found(ch, u)
	}
	n.renamedRights(u)
	if was && u.barred {
		for ch := range u.channels {
			ch.portal.Leave(before, "Not bridged")
		}
	}
	if !u.visible() || before == after {
		return
	}
	for ch := range u.channels {
		// First the new one: a room never looks as if somebody had left it.
		ch.portal.Join(after)
		if before.ID != after.ID {
			ch.portal.Leave(before, "is now known as "+decode(nick))
		}
	}
}

func (n *network) hearTopic(name, topic string, m *wire.Message) {
	ch := n.known(name)
	if ch == nil {
		return
	}
	ch.topic = plain(topic)
	ch.portal.SetTopic(ch.topic, m.Time)
}

// hearInvite joins a channel to whose people the bridge was recommended.
func (n *network) hearInvite(m *wire.Message) {
	name := m.Param(1)
	if !n.bot.is(m.Param(0)) || !n.bot.link.conn.Support().ValidChannel(name) || n.barredOnIRC(m.Prefix) {
		return
	}
	if n.channels[n.fold(name)] == nil && n.lonely() >= maxInvited {
		n.log.Warn("not there: the bot listens in too many channels already", "channel", name, "by", m.Prefix.Nick)
		return
	}
	if !n.bot.invited.take(time.Now()) {
		n.log.Debug("invited too often", "channel", name, "by", m.Prefix.Nick)
		return
	}
	n.log.Info("invited", "channel", name, "by", m.Prefix.Nick)
	n.want(name)
	if n.known(name) == nil {
		n.bot.join([]string{name})
	}
}

// hearRefusal tries a channel again that would not let the bot in.
func (n *network) hearRefusal(m *wire.Message) {
	if m.Command == "470" {
		n.hearForward(m)
	}
	n.hearModesRefused(m)
	ch := n.channels[n.fold(m.Param(1))]
	if ch != nil && !ch.joined && len(m.Params) > 2 {
		n.log.Warn("the bot may not join", "channel", ch.name, "code", m.Command, "text", m.Last())
		n.shutOut(ch, m)
		n.relay.wake(ch.key)
		n.bot.rejoin(ch, m.Command)
	}
}

// hearText takes a message to a channel, or to the bot.
func (n *network) hearText(c *wire.Conn, m *wire.Message) {
	target, ok := c.Support().Channel(m.Param(0))
	if !ok {
		if n.bot.is(m.Param(0)) && m.Prefix.Nick != "" {
			n.hearPrivate(m)
		}
		return
	}
	ch := n.known(target)
	if ch == nil || target != m.Param(0) || c.FromSelf(m) || n.relay.mine(c, m) || n.remember(ch, m) {
		return // what is for those with a status only is not for the room; see puppet.confided
	}
	if u := n.users[n.fold(m.Prefix.Nick)]; u != nil {
		if n.recognise(u, m.Prefix); u.puppet != nil {
			u.puppet.observed(ch.key, m)
			return
		}
	}
	if n.barredOnIRC(m.Prefix) || n.strange(m.Prefix.Nick) {
		return
	}
	content, ok := n.content(ch, m)
	if !ok || (n.guarded() || n.now().NoPortals) && ch.portal.Room() == "" { // nobody is here who could read it, ever
		return
	}
	if n.looped(ch, m.Prefix.Nick, content.Body) {
		return
	}
	n.hold(ch)
	if ch.is('m') {
		n.settleRights(ch)
	}
	if m.Prefix.User == "" && strings.Contains(m.Prefix.Nick, ".") { // a server
		ch.portal.Notice(content.Body)
		return
	}
	n.tell(ch, m, content)
}

// trim bounds the log of a channel that has no room yet.
func (n *network) trim(ch *channel) {
	if ch.portal.Room() != "" && !ch.portal.Moving() {
		return
	}
	ch.untrimmed++
	if ch.untrimmed < max(n.now().Scrollback/2, 10) {
		return
	}
	ch.untrimmed = 0
	n.goRun(func() {
		if err := ch.portal.Trim(n.ctx, n.now().Scrollback); err != nil && n.ctx.Err() == nil {
			n.log.Warn("the channel's log was not trimmed", "channel", ch.name, "err", err)
		}
	})
}

// hearPrivate answers those who speak to the bot itself.
func (n *network) hearPrivate(m *wire.Message) {
	if m.Command == "NOTICE" || strings.Contains(m.Prefix.Nick, ".") {
		return
	}
	nick := m.Prefix.Nick
	command, args, ctcp := m.CTCP()
	switch {
	case !ctcp && n.answered(m):
	case !ctcp:
		if n.bot.questions.take(time.Now()) {
			n.bot.send(wire.NewMessage("NOTICE", nick, "I bridge channels to Matrix. Invite me to a channel and I will listen there."))
		}
	case command == "PING" && n.bot.pings.take(time.Now()):
		// The answer says more than that we are there: what the channels said
		// before the question is stored.
		answer := ctcpAnswer(command, clipBytes(args), time.Now())
		n.service.bridge.Stored(func() { n.post(func() { n.bot.ctcpReply(nick, answer) }) })
	case command != "PING" && n.bot.questions.take(time.Now()):
		if answer := ctcpAnswer(command, "", time.Now()); answer != "" {
			n.bot.ctcpReply(nick, answer)
		}
	}
}

// decode makes text of what IRC sent; plain takes its formatting out too.
func decode(s string) string { return format.Decode(s) }

func plain(s string) string { return oneLine(format.Strip(format.Decode(s))) }

// ago is for people.
func ago(t time.Time) string { return time.Since(t).Round(time.Second).String() }
