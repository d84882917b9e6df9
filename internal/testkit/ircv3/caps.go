package ircv3

import (
	"maps"
	"slices"
	"strings"
)

// capabilities are what the server offers, and their values.
var capabilities = map[string]string{
	"account-tag": "", "batch": "", "cap-notify": "", "draft/message-redaction": "",
	"draft/multiline": "max-bytes=4096,max-lines=20", "echo-message": "", "extended-join": "",
	"labeled-response": "", "message-tags": "", "multi-prefix": "", "server-time": "", "standard-replies": "",
	"userhost-in-names": "",
}

// offers are the capabilities that this server has.
func (s *Server) offers() map[string]string {
	offered := maps.Clone(capabilities)
	if s.options.ChatHistory > 0 {
		offered["draft/chathistory"] = ""
	}
	if s.options.Accounts != nil {
		offered["sasl"] = "PLAIN"
	}
	if s.options.Relay {
		offered[relayCap] = s.options.RelaySeparators
	}
	for _, name := range s.options.Without {
		delete(offered, name)
	}
	return offered
}

func runCap(s *Server, c *Client, m *Message) {
	nick := c.nick
	if nick == "" {
		nick = "*"
	}
	say := func(command, text string) { c.Send(NewMessage(name, "CAP", nick, command, text)) }
	if !c.welcome && m.Param(0) != "END" {
		c.negotiating = true
	}
	switch m.Param(0) {
	case "LS":
		var list []string
		for _, capability := range slices.Sorted(maps.Keys(s.offers())) {
			if value := s.offers()[capability]; value != "" && m.Param(1) != "" {
				capability += "=" + value
			}
			list = append(list, capability)
		}
		say("LS", strings.Join(list, " "))
	case "LIST":
		say("LIST", strings.Join(slices.Sorted(maps.Keys(c.caps)), " "))
	case "REQ":
		say(c.request(m.Param(1)), m.Param(1))
	case "END":
		c.negotiating = false
		s.register(c)
	}
}

// request switches capabilities on and off, all or none, and tells what to answer.
func (c *Client) request(names string) string {
	offered := c.server.offers()
	for name := range strings.FieldsSeq(names) {
		if _, ok := offered[strings.TrimPrefix(name, "-")]; !ok {
			return "NAK"
		}
	}
	for name := range strings.FieldsSeq(names) {
		if off, ok := strings.CutPrefix(name, "-"); ok {
			delete(c.caps, off)
		} else {
			c.caps[name] = true
		}
	}
	return "ACK"
}
