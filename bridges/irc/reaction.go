package irc

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/format"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// maxReaction bounds what people react with, in bytes: an emoji, or a word or two.
const maxReaction = 64

// react takes a reaction to IRC: as tags, which clients show beside the message, or
// as a line.
func (n *network) react(ctx context.Context, p *bridge.Portal, e *client.Event, done func()) {
	mode, relates := n.config.Reactions, e.Content.AsReaction().RelatesTo
	key := reactionKey(relates.Key, e.Content.VeryRaw)
	sent, known, err := p.Message(ctx, matrix.EventID(relates.EventID))
	if err != nil || !known || key == "" || mode == "off" || relates.Type != event.RelAnnotation {
		done()
		return
	}
	if mode != "lines" && sent.RemoteID != "" && n.hasTags(ctx) {
		tags := replyTags(sent.RemoteID)
		tags["+draft/react"] = key
		u := &utterance{
			channel: p.Key().Channel, optional: true,
			message: &wire.Message{Tags: tags, Command: "TAGMSG", Params: []string{p.Name()}},
		}
		n.utter(ctx, matrix.UserID(e.Sender), u, func(error) { done() })
		return
	}
	nick, _ := n.nickOf(string(sent.Sender))
	if mode == "tags" || nick == "" {
		done()
		return
	}
	line := fmt.Sprintf("reacted to %s (“%s”) with %s", nick, sent.Excerpt, key)
	n.speak(ctx, p, e, saying{kind: wire.Action, lines: format.Plain(line, format.ToOptions{}).Text}, done)
}

// reactionKey is what somebody reacts with. Pictures of one's own have names at best.
func reactionKey(key string, content []byte) string {
	if strings.HasPrefix(key, "mxc://") {
		var named struct {
			Shortcode string `json:"shortcode"`
			Beeper    string `json:"com.beeper.reaction.shortcode"`
		}
		_ = json.Unmarshal(content, &named)
		if key = named.Shortcode; key == "" {
			key = named.Beeper
		}
		if key == "" {
			key = "a picture"
		}
	}
	key = oneLine(format.Strip(strings.ToValidUTF8(key, "")))
	if len(key) > maxReaction {
		return clip(key, maxReaction)
	}
	return key
}

// hasTags tells whether the server passes clients' tags on.
func (n *network) hasTags(ctx context.Context) bool {
	has := false
	n.ask(ctx, func() {
		if n.bot.online {
			has = n.bot.link.conn.HasCap("message-tags")
		}
	})
	return has
}

// hearTags takes a TAGMSG in a channel: a reaction, or that somebody types.
func (n *network) hearTags(c *wire.Conn, m *wire.Message) {
	target, ok := c.Support().Channel(m.Param(0))
	ch := n.known(target)
	if !ok || ch == nil || c.FromSelf(m) || m.Replayed() {
		return
	}
	u := n.users[n.fold(m.Prefix.Nick)]
	if u == nil || !u.visible() || !ch.members[u] {
		return
	}
	if typing := m.Tag("+typing"); typing != "" {
		n.hearTyping(ch, u, typing)
	}
	key := m.Tag("+draft/react")
	if key == "" {
		key = m.Tag("+react")
	}
	if key = reactionKey(decode(key), nil); key != "" && replied(m) != "" && n.config.Reactions != "off" {
		ch.portal.React(n.ghost(u.nick), replied(m), key, m.Time)
	}
}
