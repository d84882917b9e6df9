package irc

import (
	"context"
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

const (
	maxText    = 16 << 10         // bytes of one message on IRC; the rest is behind a link
	maxExcerpt = 60               // bytes of a message that are kept for quoting
	maxThread  = 30               // bytes of them that name a thread
	freshReply = 10 * time.Minute // a reply to something newer does not quote it
	editMark   = "* "
)

// A saying is a Matrix event in IRC's words; one without lines is not said.
type saying struct {
	kind  wire.Kind
	lines []string
	tags  map[string]string // the client's own, of the first line
}

// render makes IRC's lines of a Matrix event.
func (n *network) render(ctx context.Context, p *bridge.Portal, e *client.Event) saying {
	switch kindOfPoll(e.Type.Type) {
	case pollStart:
		return n.pollStarted(p, e)
	case pollResponse:
		return n.pollAnswered(ctx, p, e)
	case pollEnd:
		return n.pollEnded(ctx, p, e)
	}
	content := e.Content.AsMessage()
	if e.Type == event.EventSticker {
		name := oneLine(content.Body)
		if name == "" {
			name = "sticker"
		}
		return saying{lines: format.Plain("["+name+"]", format.ToOptions{MaxBytes: maxText}).Text}
	}
	if content.RelatesTo.GetReplaceID() != "" && content.NewContent != nil && !isEmpty(content.NewContent) {
		return n.edited(ctx, p, e)
	}
	if isEmpty(content) {
		return saying{}
	}
	said := saying{kind: kindOf(content), lines: n.lines(p, e, content)}
	if len(said.lines) == 0 {
		return saying{}
	}
	n.service.spoken.Put(matrix.EventID(e.ID), words{matrix.UserID(e.Sender), bodyOf(content)})
	mark := n.thread(ctx, p, content)
	if to := content.RelatesTo.GetNonFallbackReplyTo(); to != "" {
		address, tags := n.address(ctx, p, matrix.EventID(to))
		mark, said.tags = mark+address, tags
	}
	said.lines[0] = mark + said.lines[0]
	return said
}

// isEmpty tells whether a message has nothing in it. A file or a place needs no words.
func isEmpty(content *event.MessageEventContent) bool {
	return content.Body == "" && content.FormattedBody == "" && fileOf(content) == "" && content.GeoURI == ""
}

// kindOf is how a message is said.
func kindOf(content *event.MessageEventContent) wire.Kind {
	switch content.MsgType {
	case event.MsgEmote:
		return wire.Action
	case event.MsgNotice:
		return wire.Notice
	}
	return wire.Privmsg
}

// lines is a message's own text; a long one is its beginning, and a link.
func (n *network) lines(p *bridge.Portal, e *client.Event, content *event.MessageEventContent) []string {
	options := format.ToOptions{User: n.nickOf, Room: n.channelOf, Media: n.pictures(p, e, content), MaxBytes: maxText}
	var before []string
	switch content.MsgType {
	case event.MsgImage, event.MsgFile, event.MsgAudio, event.MsgVideo:
		before = format.Plain(n.media(p, e, content), options).Text
		if content.FileName == "" || content.FileName == content.Body {
			return before // no caption
		}
	case event.MsgLocation:
		return format.Plain(location(content), options).Text
	}
	var text format.Lines
	if content.Format == event.FormatHTML && content.FormattedBody != "" {
		text = format.ToIRC(content.FormattedBody, options)
	} else {
		text = format.Plain(bodyOf(content), options)
	}
	return append(before, n.shorten(p, e, text)...)
}

// bodyOf is a message's plain text, without what it quotes of the one that it answers.
func bodyOf(content *event.MessageEventContent) string {
	if content.RelatesTo.GetReplyTo() != "" {
		return event.TrimReplyFallbackText(content.Body)
	}
	return content.Body
}

// media is a line that leads to a file.
func (n *network) media(p *bridge.Portal, e *client.Event, content *event.MessageEventContent) string {
	name := fileName(content)
	if _, _, ok := mediaID(fileOf(content)); !ok {
		return "sent " + name
	}
	return "sent " + name + ": " + n.fileLink(p, e, 0, name)
}

// location is a place in words, if there are such, and as numbers.
func location(content *event.MessageEventContent) string {
	place, _, _ := strings.Cut(strings.TrimPrefix(content.GeoURI, "geo:"), ";")
	if place == "" || strings.Contains(content.Body, place) {
		return content.Body
	}
	return strings.TrimSpace(content.Body + " (" + place + ")")
}

// nickOf is how a Matrix user is called on this network.
func (n *network) nickOf(user string) (string, bool) {
	if nick, ok := n.nicks.Load(matrix.UserID(user)); ok {
		return nick.(string), true
	}
	id := matrix.UserID(user)
	if nick, ok := n.relay.nickOf(id); ok {
		return nick, true
	}
	if id.Server() != n.service.config.ServerName {
		return "", false
	}
	nick, ok := n.templates.ghostNick(id.Localpart())
	return decode(nick), ok
}

// channelOf is a channel's name, for its room's ID or alias.
func (n *network) channelOf(room string) (string, bool) {
	if strings.HasPrefix(room, "!") {
		if p := n.service.bridge.FindRoom(matrix.RoomID(room)); p != nil && p.Key().Network == n.config.ID {
			return p.Name(), true
		}
		return "", false
	}
	alias := matrix.RoomAlias(room)
	if alias.Server() != n.service.config.ServerName {
		return "", false
	}
	return n.templates.channel(alias.Localpart())
}

// address begins a reply: with the nick of who said the other message, and with a bit
// of that if it was long ago. The tags say the same to clients.
func (n *network) address(ctx context.Context, p *bridge.Portal, to matrix.EventID) (string, map[string]string) {
	sent, ok, err := p.Message(ctx, to)
	if err != nil || !ok {
		return "", nil
	}
	tags := replyTags(sent.RemoteID)
	nick, known := n.nickOf(string(sent.Sender))
	switch {
	case !known:
		return "", tags
	case time.Since(sent.Time) < freshReply || sent.Excerpt == "":
		return nick + ": ", tags
	}
	return fmt.Sprintf("%s (“%s”): ", nick, sent.Excerpt), tags
}

// replyTags refer to a message, under the name that the tag has, and the one that it had.
func replyTags(remoteID string) map[string]string {
	if remoteID == "" {
		return nil
	}
	return map[string]string{"+reply": remoteID, "+draft/reply": remoteID}
}

// thread marks what is said in one.
func (n *network) thread(ctx context.Context, p *bridge.Portal, content *event.MessageEventContent) string {
	root := content.RelatesTo.GetThreadParent()
	if root == "" {
		return ""
	}
	sent, ok, err := p.Message(ctx, matrix.EventID(root))
	if err != nil || !ok || sent.Excerpt == "" {
		return "[thread] "
	}
	return "[thread “" + clip(sent.Excerpt, maxThread) + "”] "
}

// excerpt is the beginning of a text, on one line.
func excerpt(text string) string { return clip(plain(text), maxExcerpt) }

// clip cuts a text between its characters.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.TrimSuffix(wire.SplitText(text, limit)[0], "…") + "…"
}
