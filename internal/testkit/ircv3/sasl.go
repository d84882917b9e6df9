package ircv3

import (
	"encoding/base64"
	"strings"
)

// runAuthenticate is SASL PLAIN, in one chunk.
func runAuthenticate(s *Server, c *Client, m *Message) {
	if !c.caps["sasl"] {
		c.Reply("421", m.Command, "Unknown command")
		return
	}
	if m.Param(0) == "PLAIN" {
		c.Send(NewMessage("", "AUTHENTICATE", "+"))
		return
	}
	raw, err := base64.StdEncoding.DecodeString(m.Param(0))
	fields := strings.Split(string(raw), "\x00")
	if err != nil || len(fields) != 3 || s.options.Accounts[fields[1]] == "" || s.options.Accounts[fields[1]] != fields[2] {
		c.Reply("904", "SASL authentication failed")
		return
	}
	c.account = fields[1]
	c.Reply("900", c.source(), c.account, "You are now logged in as "+c.account)
	c.Reply("903", "SASL authentication successful")
}

// LogOut has services log a client out.
func (s *Server) LogOut(nick string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.nicks[s.fold(nick)]; c != nil {
		c.account = ""
		delete(s.accounts, s.fold(nick))
		c.Reply("901", c.source(), "You are now logged out")
	}
}
