package ircv3

import (
	"slices"
	"strings"
)

// runText works off PRIVMSG, NOTICE and TAGMSG.
func runText(s *Server, c *Client, m *Message) {
	if m.Command != "TAGMSG" && len(m.Params) < 2 || len(m.Params) < 1 {
		c.Reply("461", m.Command, "Not enough parameters")
		return
	}
	if c.collect(m) {
		return
	}
	said := NewMessage(c.source(), m.Command, m.Params...)
	for key, value := range m.Tags {
		if strings.HasPrefix(key, "+") { // the client's own
			said = said.with(key, value)
		}
	}
	said = s.stamp(c, said, true)
	target := m.Param(0)
	if name := strings.TrimLeft(target, "@+"); s.isChannel(name) {
		s.speak(c, name, target[:len(target)-len(name)], said)
		return
	}
	to := s.nicks[s.fold(target)]
	if to == nil || !to.welcome {
		c.Reply("401", target, "No such nick")
		return
	}
	to.show(said)
	c.echo(said)
	s.private = append(s.private, said)
}

// speak says something in a channel: to everybody, or to those with one of some symbols or more (STATUSMSG).
func (s *Server) speak(c *Client, name, symbols string, said *Message) {
	ch := s.channels[s.fold(name)]
	if ch == nil {
		c.Reply("403", name, "No such channel")
		return
	}
	if !s.heard(ch, c) {
		c.Reply("404", name, "Cannot send to channel")
		return
	}
	if symbols == "" {
		ch.history = append(ch.history, said)
	}
	for _, member := range ch.sorted() {
		if member != c && s.ranks(ch, member, symbols) {
			member.show(said)
		}
	}
	c.echo(said)
}

// heard tells whether a client may speak in a channel.
func (s *Server) heard(ch *channel, c *Client) bool {
	_, moderated := ch.modes['m']
	_, inside := ch.modes['n']
	switch {
	case ch.members[c] != "":
		return true
	case !c.channels[ch]:
		return !inside && !moderated && !s.matches(ch.lists['b'], c)
	}
	return !moderated && !s.matches(ch.lists['b'], c) && !s.matches(ch.lists['q'], c)
}

// show sends a text to a client that can read it.
func (c *Client) show(m *Message) {
	if m.Command != "TAGMSG" || c.caps["message-tags"] {
		c.Send(m)
	}
}

// echo tells a client what it said, if it wants to know.
func (c *Client) echo(m *Message) {
	if c.caps["echo-message"] {
		c.show(m)
	}
}

// runRedact takes a message back: its author's, or an operator's of the channel.
func runRedact(s *Server, c *Client, m *Message) {
	target, id := m.Param(0), m.Param(1)
	if !c.caps["draft/message-redaction"] {
		c.Reply("421", m.Command, "Unknown command")
		return
	}
	if to := s.nicks[s.fold(target)]; to != nil {
		s.redactPrivate(c, to, m)
		return
	}
	ch := s.channels[s.fold(target)]
	if ch == nil || !c.channels[ch] {
		c.Fail("REDACT", "INVALID_TARGET", target, "You cannot delete messages from there")
		return
	}
	at := slices.IndexFunc(ch.history, func(said *Message) bool { return said.Tags["msgid"] == id })
	if at < 0 {
		c.Fail("REDACT", "UNKNOWN_MSGID", target, id, "This message does not exist or is too old")
		return
	}
	author, _, _ := strings.Cut(ch.history[at].Source, "!")
	if s.fold(author) != s.fold(c.nick) && !s.rules(ch, c) {
		c.Fail("REDACT", "REDACT_FORBIDDEN", target, id, "You are not authorised to delete this message")
		return
	}
	ch.history = slices.Delete(ch.history, at, at+1)
	redaction := s.stamp(c, NewMessage(c.source(), "REDACT", m.Params...), true)
	for _, member := range ch.sorted() {
		if member.caps["draft/message-redaction"] && (member != c || c.caps["echo-message"]) {
			member.Send(redaction)
		}
	}
}

// redactPrivate takes back what a client has said to another alone.
func (s *Server) redactPrivate(c, to *Client, m *Message) {
	at := slices.IndexFunc(s.private, func(said *Message) bool {
		author, _, _ := strings.Cut(said.Source, "!")
		return said.Tags["msgid"] == m.Param(1) && s.fold(author) == s.fold(c.nick) && s.fold(said.Param(0)) == s.fold(to.nick)
	})
	if at < 0 {
		c.Fail("REDACT", "UNKNOWN_MSGID", to.nick, m.Param(1), "This message does not exist or is too old")
		return
	}
	s.private = slices.Delete(s.private, at, at+1)
	redaction := s.stamp(c, NewMessage(c.source(), "REDACT", m.Params...), true)
	if to.caps["draft/message-redaction"] {
		to.Send(redaction)
	}
	c.echo(redaction)
}
