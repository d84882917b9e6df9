package ircv3

import "strings"

// early are the commands that may come before registration is complete.
var early = []string{"CAP", "AUTHENTICATE", "PASS", "NICK", "USER", "PING", "QUIT"}

// commands are all that the server knows.
var commands map[string]Command

func init() {
	commands = map[string]Command{
		"CAP": runCap, "AUTHENTICATE": runAuthenticate, "PASS": runPass, "NICK": runNick, "USER": runUser, "QUIT": runQuit, "PING": runPing, "PONG": runPong,
		"JOIN": runJoin, "PART": runPart, "KICK": runKick, "INVITE": runInvite, "TOPIC": runTopic, "NAMES": runNames,
		"MODE": runMode, "PRIVMSG": runText, "NOTICE": runText, "TAGMSG": runText, "BATCH": runBatch, "REDACT": runRedact, "RELAYMSG": runRelay, "CHATHISTORY": runHistory,
		"WHOIS": runWhois, "USERHOST": runUserhost,
	}
}

func runPass(_ *Server, c *Client, m *Message) { c.pass = m.Param(0) }

func runUser(s *Server, c *Client, m *Message) {
	if len(m.Params) < 4 {
		c.Reply("461", "USER", "Not enough parameters")
		return
	}
	c.user, c.real = m.Param(0), m.Param(3)
	if s.options.UserLen > 0 {
		c.user = "~" + c.user
		c.user = c.user[:min(len(c.user), s.options.UserLen)]
	}
	s.register(c)
}

func runNick(s *Server, c *Client, m *Message) {
	nick := m.Param(0)
	switch holder := s.nicks[s.fold(nick)]; {
	case nick == "":
		c.Reply("431", "No nickname given")
		return
	case strings.ContainsAny(nick, " ,*?!@:") || s.isChannel(nick) || len(nick) > 30:
		c.Reply("432", nick, "Erroneous nickname")
		return
	case holder != nil && holder != c:
		c.Reply("433", nick, "Nickname is already in use")
		return
	}
	before := c.source()
	if account := s.accounts[s.fold(c.nick)]; c.welcome && account != "" { // it is the client's, whatever its nick
		delete(s.accounts, s.fold(c.nick))
		s.accounts[s.fold(nick)] = account
	}
	delete(s.nicks, s.fold(c.nick))
	s.nicks[s.fold(nick)] = c
	c.nick = nick
	if !c.welcome {
		s.register(c)
		return
	}
	s.tellNeighbours(c, s.stamp(c, NewMessage(before, "NICK", nick), true), true)
}

// register lets a client in that has said all it must.
func (s *Server) register(c *Client) {
	if c.welcome || c.negotiating || c.nick == "" || c.user == "" {
		return
	}
	if c.pass != s.options.Password && s.options.Password != "" {
		c.Reply("464", "Password incorrect")
		s.quit(c, "Bad password")
		return
	}
	c.welcome = true
	if c.account != "" {
		s.accounts[s.fold(c.nick)] = c.account
	}
	greeting := "Welcome, " + c.source()
	if s.options.Curt {
		greeting = "Welcome"
	}
	c.Reply("001", greeting)
	tokens := s.support()
	for len(tokens) > 0 {
		n := min(len(tokens), 12)
		c.Reply("005", append(tokens[:n:n], "are supported by this server")...)
		tokens = tokens[n:]
	}
	c.Reply("422", "There is no message of the day")
}

func runQuit(s *Server, c *Client, m *Message) {
	c.Send(NewMessage("", "ERROR", "Closing link"))
	s.quit(c, "Quit: "+m.Param(0))
}

// quit takes a client out of everything.
func (s *Server) quit(c *Client, reason string) {
	if c.gone {
		return
	}
	c.gone = true
	if c.welcome {
		s.tellNeighbours(c, s.stamp(c, NewMessage(c.source(), "QUIT", reason), true), false)
	}
	for ch := range c.channels {
		s.leave(ch, c)
	}
	delete(s.clients, c)
	if s.nicks[s.fold(c.nick)] == c {
		delete(s.nicks, s.fold(c.nick))
	}
	c.end()
}

// tellNeighbours sends a message, once each, to all who share a channel with a client.
func (s *Server) tellNeighbours(c *Client, m *Message, itself bool) {
	told := map[*Client]bool{c: true}
	if itself {
		c.Send(m)
	}
	for ch := range c.channels {
		for _, other := range ch.sorted() {
			if !told[other] {
				told[other] = true
				other.Send(m)
			}
		}
	}
}

func runPing(_ *Server, c *Client, m *Message) {
	c.Send(NewMessage(name, "PONG", name, m.Param(0)))
}

func runPong(*Server, *Client, *Message) {}

func runWhois(s *Server, c *Client, m *Message) {
	nick := m.Param(len(m.Params) - 1)
	if other := s.nicks[s.fold(nick)]; other != nil {
		c.Reply("311", other.nick, other.user, host, "*", other.real)
		if account := s.accounts[s.fold(other.nick)]; account != "" {
			c.Reply("330", other.nick, account, "is logged in as")
		}
	} else {
		c.Reply("401", nick, "No such nick")
	}
	c.Reply("318", nick, "End of WHOIS")
}

func runUserhost(s *Server, c *Client, m *Message) {
	var found []string
	for _, nick := range m.Params {
		if other := s.nicks[s.fold(nick)]; other != nil {
			found = append(found, other.nick+"=+"+other.user+"@"+host)
		}
	}
	c.Reply("302", strings.Join(found, " "))
}
