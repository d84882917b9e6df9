package irc

import (
	"context"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// redactionCap is what servers call the ability to take messages back.
const redactionCap = "draft/message-redaction"

// hearRedact takes a message back that IRC takes back.
func (n *network) hearRedact(m *wire.Message) {
	ch := n.known(m.Param(0))
	if ch == nil || m.Param(1) == "" {
		return
	}
	if u := n.users[n.fold(m.Prefix.Nick)]; u != nil && (u.puppet != nil || u.bot) {
		return // it comes from Matrix
	}
	ch.portal.Redact(m.Param(1), redactionReason(m))
}

// takesBack takes, on the loop, that somebody takes back what they have said to a puppet alone.
func (p *puppet) takesBack(m *wire.Message) {
	if portal := p.net.service.bridge.Find(p.net.directKey(m.Prefix.Nick, p.user)); portal != nil {
		portal.Redact(m.Param(1), redactionReason(m))
	}
}

// redactionReason is why a message is taken back, as IRC says it; mostly it says nothing.
func redactionReason(m *wire.Message) string {
	if len(m.Params) > 2 {
		return plain(m.Param(2))
	}
	return ""
}

// redacted is the event that a redaction is about.
func redacted(e *client.Event) matrix.EventID {
	if e.Redacts == "" { // from room version 11 on
		return matrix.EventID(e.Content.AsRedaction().Redacts)
	}
	return matrix.EventID(e.Redacts)
}

// redact has a person's puppet take a message back on IRC, where the server knows how and has named
// the message.
func (n *network) redact(ctx context.Context, p *bridge.Portal, e *client.Event, done func()) {
	redacts := redacted(e)
	if n.unreact(ctx, p, redacts, done) {
		return
	}
	by := matrix.UserID(e.Sender)
	ids, err := p.RemoteIDs(ctx, redacts)
	if err != nil {
		n.log.Error("a redaction does not reach IRC", "event", e.ID, "err", err)
	}
	if len(ids) == 0 || !n.mayRedact(ctx, p, redacts, by) {
		done()
		return
	}
	var lines []*wire.Message
	for _, id := range ids {
		line := wire.NewMessage("REDACT", p.Name(), id)
		if reason := reasonLine(e.Content.AsRedaction().Reason); reason != "" {
			line.Params = append(line.Params, reason)
		}
		lines = append(lines, line)
	}
	n.sequence(ctx, by, p, lines, func(err error) {
		if err != nil {
			p.Notice("IRC did not take a message back for " + string(by) + ": " + reasonOf(err))
		}
		done()
	})
}

// mayRedact tells whether the server knows how to take back what somebody wants to; whether they may, it
// will say. What the bot has said it takes back for those for whom it speaks, and nothing else.
func (n *network) mayRedact(ctx context.Context, p *bridge.Portal, event matrix.EventID, by matrix.UserID) bool {
	sent, _, err := p.Message(ctx, event)
	if err != nil {
		return false
	}
	able := false
	n.ask(ctx, func() {
		channel := p.Key().Channel
		if !p.Direct() && n.relays(channel, by) {
			able = n.bot.online && n.bot.link.conn.HasCap(redactionCap) && n.relays(channel, sent.Sender)
			return
		}
		if puppet := n.puppets[by]; puppet != nil && puppet.link != nil && puppet.link.conn != nil {
			able = puppet.link.conn.HasCap(redactionCap)
		}
	})
	return able
}

// idOf is the server's ID of a line, if it has told.
func (s *speech) idOf(l *line) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.id == "" {
		return nil
	}
	return []string{l.id}
}

// noteSent remembers what an event has become on IRC.
func (n *network) noteSent(p *bridge.Portal, event matrix.EventID, sent bridge.Sent, ids []string) {
	if len(ids) > 0 {
		sent.RemoteID = ids[0]
		p.NoteParts(event, ids[1:], sent.Time)
	}
	p.NoteMessage(event, sent)
}
