package irc

import (
	"strings"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/bridges/irc/format"
	"trestle/bridges/irc/wire"
)

// content makes a Matrix message of what IRC said.
func (n *network) content(ch *channel, m *wire.Message) (*event.MessageEventContent, bool) {
	text, kind := m.Last(), event.MsgText
	command, args, ctcp := m.CTCP()
	switch {
	case ctcp && command == "ACTION":
		text, kind = args, event.MsgEmote
	case ctcp: // a question to everybody in the channel; ours is the bot's to answer, and it does not
		return nil, false
	case m.Command == "NOTICE":
		kind = event.MsgNotice
	}
	var mentioned event.Mentions
	body, html := format.FromIRC(text, format.FromOptions{Suffix: n.relay.suffix(), Mention: func(nick string, addressed bool) (string, bool) {
		user, ok := n.mentioned(ch, nick, addressed)
		if ok {
			mentioned.Add(id.UserID(user))
		}
		return user, ok
	}})
	if strings.TrimSpace(body) == "" {
		return nil, false
	}
	body, html = fitting(body, html)
	content := &event.MessageEventContent{MsgType: kind, Body: body, Mentions: &mentioned}
	if html != "" {
		content.Format, content.FormattedBody = event.FormatHTML, html
	}
	return content, true
}

// maxContent is how much of an event may be text, so that it is none that homeservers refuse for its size (Client-Server
// API § Size limits), also if it is encrypted.
const maxContent = 40 << 10

// fitting leaves out how a text looks, and then the end of it, if it is too large for an event.
func fitting(body, html string) (string, string) {
	if size(body)+size(html) > maxContent {
		html = ""
	}
	for size(body) > maxContent {
		body = clip(body, len(body)*3/4)
	}
	return body, html
}

// size is how many bytes a text has in JSON.
func size(text string) int {
	return len(text) + strings.Count(text, `"`) + strings.Count(text, `\`) + strings.Count(text, "\n") + strings.Count(text, "\t")
}

// mentioned is who a word of a message may mean: somebody on Matrix who is in the channel
// and, if the message is addressed to that nick, also somebody on IRC. Nicks that are words of the
// language would make pills of half the talk.
func (n *network) mentioned(ch *channel, nick string, addressed bool) (user string, ok bool) {
	nick = strings.ReplaceAll(nick, zeroWidth, "")
	folded := n.fold(nick)
	if p := n.byNick[folded]; p != nil && p.wanted[ch.key] != nil {
		return string(p.user), n.service.wants(p.user, featureMentions)
	}
	if user, ok := n.relay.mentioned(ch, nick); ok {
		return string(user), true
	}
	if u := n.users[folded]; addressed && u != nil && u.visible() && ch.members[u] {
		return string(n.ghost(u.nick).ID), true
	}
	return "", false
}

// replied is the network's ID of the message that this one answers, if it says so.
func replied(m *wire.Message) string {
	for _, tag := range []string{"+reply", "+draft/reply"} {
		if id := m.Tag(tag); id != "" && len(id) <= maxRemoteID {
			return id
		}
	}
	return ""
}

// maxRemoteID bounds what servers call their messages.
const maxRemoteID = 255
