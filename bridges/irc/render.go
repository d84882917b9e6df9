package irc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/format"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	maxText     = 16 << 10         // bytes of one message on IRC; a longer one is cut
	maxExcerpt  = 60               // bytes of a message that are kept for quoting
	freshReply  = 10 * time.Minute // a reply to something newer does not quote it
	cutNotice   = "… (the message was too long)"
	editMark    = "* "
	mediaNotice = "sent"
)

// render makes IRC's lines of a Matrix message; none if there is nothing to say.
func (n *network) render(ctx context.Context, p *bridge.Portal, e *client.Event) (wire.Kind, []string) {
	content := e.Content.AsMessage()
	if content.Body == "" && content.FormattedBody == "" && content.NewContent == nil {
		return 0, nil
	}
	edited := false
	if content.RelatesTo.GetReplaceID() != "" && content.NewContent != nil {
		relates := content.RelatesTo
		content, edited = content.NewContent, true
		content.RelatesTo = relates
	}
	lines := n.lines(content)
	if e.Type == event.EventSticker {
		lines = []string{"[" + oneLine(content.Body) + "]"}
	}
	if len(lines) == 0 {
		return 0, nil
	}
	if edited {
		lines[0] = editMark + lines[0]
	} else if to := content.RelatesTo.GetNonFallbackReplyTo(); to != "" {
		lines[0] = n.address(ctx, p, matrix.EventID(to)) + lines[0]
	}
	switch content.MsgType {
	case event.MsgEmote:
		return wire.Action, lines
	case event.MsgNotice:
		return wire.Notice, lines
	}
	return wire.Privmsg, lines
}

// lines is a message's own text.
func (n *network) lines(content *event.MessageEventContent) []string {
	options := format.ToOptions{User: n.nickOf, Room: n.channelOf, Media: n.mediaLink, MaxBytes: maxText}
	switch content.MsgType {
	case event.MsgImage, event.MsgFile, event.MsgAudio, event.MsgVideo:
		return format.Plain(n.media(content), options).Text
	case event.MsgLocation:
		return format.Plain(strings.TrimSpace(content.Body+" "+content.GeoURI), options).Text
	}
	var text format.Lines
	if content.Format == event.FormatHTML && content.FormattedBody != "" {
		text = format.ToIRC(content.FormattedBody, options)
	} else {
		body := content.Body
		if content.RelatesTo.GetReplyTo() != "" {
			body = event.TrimReplyFallbackText(body)
		}
		text = format.Plain(body, options)
	}
	if text.Cut {
		text.Text = append(text.Text, cutNotice)
	}
	return text.Text
}

// media is a line that leads to a file.
func (n *network) media(content *event.MessageEventContent) string {
	name := content.FileName
	if name == "" {
		name = content.Body
	}
	caption := ""
	if content.FileName != "" && content.Body != content.FileName {
		caption = " " + content.Body
	}
	link, ok := n.mediaLink(string(content.URL))
	if !ok {
		return fmt.Sprintf("%s %s%s", mediaNotice, name, caption)
	}
	return fmt.Sprintf("%s %s%s: %s", mediaNotice, name, caption, link)
}

// mediaLink is a file's address on the web.
func (n *network) mediaLink(mxc string) (string, bool) {
	path, ok := strings.CutPrefix(mxc, "mxc://")
	server, id, found := strings.Cut(path, "/")
	if !ok || !found || server == "" || id == "" || strings.ContainsAny(path, " \r\n\x00?#%") {
		return "", false
	}
	return strings.TrimSuffix(n.service.config.PublicURL, "/") + "/_matrix/media/v3/download/" + server + "/" + id, true
}

// nickOf is how a Matrix user is called on this network.
func (n *network) nickOf(user string) (string, bool) {
	if nick, ok := n.nicks.Load(matrix.UserID(user)); ok {
		return nick.(string), true
	}
	id := matrix.UserID(user)
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
// of that if it was long ago.
func (n *network) address(ctx context.Context, p *bridge.Portal, to matrix.EventID) string {
	sent, ok, err := p.Message(ctx, to)
	if err != nil || !ok {
		return ""
	}
	nick, known := n.nickOf(string(sent.Sender))
	switch {
	case !known:
		return ""
	case time.Since(sent.Time) < freshReply || sent.Excerpt == "":
		return nick + ": "
	}
	return fmt.Sprintf("%s (“%s”): ", nick, sent.Excerpt)
}

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
	body, html := format.FromIRC(text, format.FromOptions{Mention: func(nick string) (string, bool) {
		p := n.byNick[n.fold(nick)]
		if p == nil || p.wanted[ch.key] == nil {
			return "", false
		}
		mentioned.Add(id.UserID(p.user))
		return string(p.user), true
	}})
	if body == "" {
		return nil, false
	}
	content := &event.MessageEventContent{MsgType: kind, Body: body, Mentions: &mentioned}
	if html != "" {
		content.Format, content.FormattedBody = event.FormatHTML, html
	}
	return content, true
}

// excerpt is the beginning of a text, on one line.
func excerpt(text string) string {
	text = plain(text)
	if len(text) <= maxExcerpt {
		return text
	}
	return strings.ToValidUTF8(text[:maxExcerpt], "") + "…"
}
