package irc

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"trestle/bridges/irc/format"
	"trestle/bridges/irc/wire"
)

// writes is the tap: the line is about to be handed to the kernel, or has been.
func (s *speech) writes(b []byte, done bool) {
	s.mu.Lock()
	l := s.line
	s.mu.Unlock()
	switch {
	case l == nil || len(l.end) == 0 || !bytes.Contains(b, l.end):
	case done:
		s.mark(l)
	default:
		s.intend(l)
	}
}

// intend puts into the journal that a line may be said from now on.
func (s *speech) intend(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.begun = true
	if !l.sent && l.seq != 0 {
		s.net.service.journal.set(l.seq, progress{l.after.Line, l.after.Offset, true})
	}
}

// mark notes that a line was said, once: when it has been handed to the kernel,
// or when it is known to be taken, which may be seen before the writer gets to say so.
func (s *speech) mark(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.sent {
		return
	}
	l.sent, l.sentAt = true, time.Now()
	close(l.written)
}

// confirm puts into the journal that a line is known to be taken. Until then it is in doubt there: with this
// process the server may end too, or throw away what it has not read of a connection that is reset.
func (s *speech) confirm(l *line) {
	if l.seq != 0 {
		s.net.service.journal.set(l.seq, l.after)
	}
}

// echoed takes the server's echo.
func (s *speech) echoed(m *wire.Message) {
	s.mu.Lock()
	l := s.line
	if l != nil && l.text != "" && same(l.text, textOf(m)) {
		l.id = m.ID()
	} else {
		l = nil
	}
	s.mu.Unlock()
	if l != nil {
		s.decide(l, verdict{taken: true}, true)
	}
}

// refused takes the server's errors. One about the line's channel is about the
// line: there is no other under way. Of what else the connection asks for meanwhile, the bot's modes for instance, the
// errors are others.
func (s *speech) refused(m *wire.Message) {
	s.mu.Lock()
	l := s.line
	begun := l != nil && l.begun // the answer may be here before the writer gets to say that it has written
	s.mu.Unlock()
	if !begun {
		return
	}
	if l.batch && m.Command == "FAIL" && m.Param(0) == "BATCH" && strings.HasPrefix(m.Param(1), "MULTILINE_") {
		s.decide(l, verdict{single: true}, false)
		return
	}
	if l.relayed && refusesRelay(m) {
		s.decide(l, verdict{plain: true}, false)
		return
	}
	if l.text != "" && !answersText(m) {
		return
	}
	n := s.net
	for _, param := range m.Params {
		if folded := n.fold(param); folded == l.channel || folded == l.target {
			s.decide(l, verdict{refused: &wire.SendError{Target: param, Code: m.Command, Text: m.Last()}}, false)
			return
		}
	}
}

// answersText tells whether an error can be about a message, and not only about a mode, a kick or an invitation.
func answersText(m *wire.Message) bool {
	switch m.Command {
	case "441", "443", "467", "472", "478", "482", "696", "697", "698":
		return false
	case "FAIL":
		return slices.Contains([]string{"*", "PRIVMSG", "NOTICE", "BATCH", "RELAYMSG"}, strings.ToUpper(m.Param(0)))
	}
	return true
}

// observed takes what the bot has seen us say. It is the line under way, or one that is
// known to be taken already: the first of these that looks like it, in order.
func (p *puppet) observed(channel string, m *wire.Message) {
	s := &p.speech
	s.mu.Lock()
	defer s.mu.Unlock()
	text := textOf(m)
	for i, o := range s.owed {
		if o.channel == channel && same(o.text, text) && time.Now().Before(o.until) {
			s.owed = append(s.owed[:0], s.owed[i+1:]...)
			return
		}
	}
	if l := s.line; l != nil && l.channel == channel && l.text != "" && !l.seen {
		s.owed = s.owed[:0]
		l.seen, l.id = true, m.ID()
		// Echoes and the bot's eyes come in no order: while one of them counts, the
		// other must not, or a late one would be taken for that of the next line.
		if !l.echoes || l.lost {
			l.decide(verdict{taken: true})
		}
	}
}

// textOf is what a message says, an action without its wrapping.
func textOf(m *wire.Message) string {
	if command, args, ok := m.CTCP(); ok && command == "ACTION" {
		return args
	}
	return m.Last()
}

// same compares a line that we sent with what others see: servers may take colours out
// and cut the end off.
func same(sent, seen string) bool {
	if strings.HasPrefix(sent, seen) {
		return seen != "" || sent == ""
	}
	stripped := strings.TrimSpace(format.Strip(seen))
	return stripped != "" && strings.HasPrefix(strings.TrimSpace(format.Strip(sent)), stripped)
}

// lost is called on the loop when the connection has ended and all that it brought was
// worked off.
func (s *speech) lost(nick string) {
	s.mu.Lock()
	l := s.line
	if l != nil {
		l.lost = true
	}
	s.mu.Unlock()
	switch {
	case l == nil:
	case !l.sent, l.seen:
		s.decide(l, verdict{taken: l.seen}, false)
	default:
		s.net.settle(s, l, nick)
	}
}
