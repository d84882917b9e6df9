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

// words are what somebody has said.
type words struct {
	by   matrix.UserID
	text string
}

// edited says what became of a message: one line, unless the operator wants all of it. Nobody edits what others have
// said (Client-Server API § Validity of replacement events).
func (n *network) edited(ctx context.Context, p *bridge.Portal, e *client.Event) saying {
	content := e.Content.AsMessage()
	original := matrix.EventID(content.RelatesTo.GetReplaceID())
	fresh, by := content.NewContent, matrix.UserID(e.Sender)
	before := n.spokenWords(ctx, p, original)
	if before.by != "" && before.by != by {
		return saying{}
	}
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
		line = format.Difference(before.text, after)
	}
	n.service.spoken.Put(original, words{by, after})
	if line != "" && !strings.HasPrefix(line, "s/") {
		line = editMark + line
	}
	said := saying{kind: kind, lines: format.Plain(line, format.ToOptions{}).Text}
	if sent, ok, err := p.Message(ctx, original); err == nil && ok {
		said.tags = replyTags(sent.RemoteID)
	}
	return said
}

// spokenWords are what a message last said; nobody's and empty if it is not known.
func (n *network) spokenWords(ctx context.Context, p *bridge.Portal, original matrix.EventID) words {
	if said, ok := n.service.spoken.Get(original); ok {
		return said
	}
	e, err := p.Event(ctx, original)
	if err != nil {
		return words{}
	}
	said := words{by: matrix.UserID(e.Sender)}
	if e.Type == event.EventMessage {
		said.text = bodyOf(e.Content.AsMessage())
	}
	return said
}
