package irc

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

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
	mode, relates := n.now().Reactions, e.Content.AsReaction().RelatesTo
	key := reactionKey(relates.Key, e.Content.VeryRaw)
	sent, known, err := p.Message(ctx, matrix.EventID(relates.EventID))
	if err != nil || !known || key == "" || mode == "off" || relates.Type != event.RelAnnotation {
		done()
		return
	}
	spokenFor := !p.Direct() && n.relaysAsked(ctx, p, matrix.UserID(e.Sender)) // tags would say that it is the bot who reacts
	if mode != "lines" && sent.RemoteID != "" && !spokenFor && n.hasTags(ctx) {
		tags := replyTags(sent.RemoteID)
		tags["+draft/react"] = key
		u := tagged(p, tags)
		// Before it is said: it may be taken back at once, and that comes behind.
		p.NoteReaction(matrix.EventID(e.ID), bridge.Reaction{Sender: matrix.UserID(e.Sender), RemoteID: sent.RemoteID, Key: key}, time.Now())
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

// tagged is tags alone, of no message, which are not worth connecting for.
func tagged(p *bridge.Portal, tags map[string]string) *utterance {
	return &utterance{
		channel: p.Key().Channel, target: p.Name(), direct: p.Direct(), portal: p, optional: true,
		message: &wire.Message{Tags: tags, Command: "TAGMSG", Params: []string{p.Name()}},
	}
}

// unreact takes a reaction back on IRC that somebody has redacted; false if the event is none of which IRC
// was told by tags.
func (n *network) unreact(ctx context.Context, p *bridge.Portal, event matrix.EventID, done func()) bool {
	reaction, ok, err := p.Reaction(ctx, event)
	if err != nil {
		n.log.Error("nobody knows whether a reaction was redacted", "event", event, "err", err)
	}
	if !ok {
		return false
	}
	tags := replyTags(reaction.RemoteID)
	tags["+draft/unreact"] = reaction.Key
	u := tagged(p, tags)
	n.utter(ctx, reaction.Sender, u, func(error) {
		p.ForgetReaction(event)
		done()
	})
	return true
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
	if !ok || ch == nil || target != m.Param(0) || c.FromSelf(m) || m.Replayed() {
		return
	}
	u := n.users[n.fold(m.Prefix.Nick)]
	if u == nil || !u.visible() || !ch.members[u] {
		return
	}
	if typing := m.Tag("+typing"); typing != "" {
		n.hearTyping(ch, u, typing)
	}
	n.hearReaction(ch.portal, u.nick, m)
}

// hearReaction takes a reaction, or that it is taken back.
func (n *network) hearReaction(portal *bridge.Portal, nick string, m *wire.Message) {
	if replied(m) == "" || n.now().Reactions == "off" {
		return
	}
	if key := reactionTag(m, "react"); key != "" {
		portal.React(n.ghost(nick), replied(m), key, m.Time)
	}
	if key := reactionTag(m, "unreact"); key != "" {
		portal.Unreact(n.ghost(nick), replied(m), key)
	}
}

// reactionTag is what a tag says, under the name that it has or the one that it had.
func reactionTag(m *wire.Message, name string) string {
	key := m.Tag("+draft/" + name)
	if key == "" {
		key = m.Tag("+" + name)
	}
	return reactionKey(decode(key), nil)
}
