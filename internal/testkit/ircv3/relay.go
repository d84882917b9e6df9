package ircv3

import "strings"

const relayCap = "draft/relaymsg"

// runRelay is RELAYMSG: a channel's operator says something under another name.
func runRelay(s *Server, c *Client, m *Message) {
	if !c.caps[relayCap] {
		c.Reply("421", m.Command, "Unknown command")
		return
	}
	nick, text := m.Param(1), m.Param(2)
	ch := s.at(c, m.Param(0))
	switch {
	case ch == nil:
		return
	case text == "":
		c.Fail("RELAYMSG", "BLANK_MSG", "The message must not be blank")
		return
	case nick == "" || strings.ContainsAny(nick, " !+%@&#$:'\"?*,."),
		s.options.RelaySeparators != "" && !strings.ContainsAny(nick, s.options.RelaySeparators), s.nicks[s.fold(nick)] != nil:
		c.Fail("RELAYMSG", "INVALID_NICK", "Invalid nickname")
		return
	case !s.rules(ch, c):
		c.Fail("RELAYMSG", "PRIVS_NEEDED", "You are not allowed to relay messages in this channel")
		return
	}
	said := NewMessage(nick+"!relay@"+name, "PRIVMSG", ch.name, text)
	for key, value := range m.Tags {
		if strings.HasPrefix(key, "+") {
			said = said.with(key, value)
		}
	}
	said = s.stamp(c, said, true).with(relayCap, c.nick)
	ch.history = append(ch.history, said)
	for _, member := range ch.sorted() {
		if member != c {
			member.show(said)
		}
	}
	c.echo(said)
}
