package irc

import (
	"context"
	"strings"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/format"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// maxSpoken is how many bytes of what was said are kept, to tell what an edit has changed.
const maxSpoken = 2 << 20

// edited says what became of a message: one line, unless the operator wants all of it.
func (n *network) edited(ctx context.Context, p *bridge.Portal, e *client.Event) saying {
	content := e.Content.AsMessage()
	original := matrix.EventID(content.RelatesTo.GetReplaceID())
	fresh := content.NewContent
	kind := kindOf(fresh)
	if kind == wire.Action {
		kind = wire.Privmsg
	}
	after := bodyOf(fresh)
	var line string
	switch n.now().Edits {
	case "off":
		return saying{}
	case "text":
		lines := n.lines(p, e, fresh)
		if len(lines) == 0 {
			return saying{}
		}
		lines[0] = editMark + lines[0]
		return saying{kind: kind, lines: lines}
	default:
		line = format.Difference(n.spokenText(ctx, p, original), after)
	}
	n.service.spoken.Put(original, after)
	if line != "" && !strings.HasPrefix(line, "s/") {
		line = editMark + line
	}
	said := saying{kind: kind, lines: format.Plain(line, format.ToOptions{}).Text}
	if sent, ok, err := p.Message(ctx, original); err == nil && ok {
		said.tags = replyTags(sent.RemoteID)
	}
	return said
}

// spokenText is what a message last said; empty if nobody knows.
func (n *network) spokenText(ctx context.Context, p *bridge.Portal, original matrix.EventID) string {
	if text, ok := n.service.spoken.Get(original); ok {
		return text
	}
	e, err := p.Event(ctx, original)
	if err != nil || e.Type != event.EventMessage {
		return ""
	}
	return bodyOf(e.Content.AsMessage())
}
