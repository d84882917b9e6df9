package ircv3

import (
	"slices"
	"strconv"
	"strings"
)

// runHistory is CHATHISTORY LATEST, AFTER and BEFORE, by timestamp or msgid.
func runHistory(s *Server, c *Client, m *Message) {
	command, target, limit := strings.ToUpper(m.Param(0)), m.Param(1), s.options.ChatHistory
	ch := s.channels[s.fold(target)]
	if limit == 0 {
		c.Reply("421", m.Command, "Unknown command")
		return
	}
	if ch == nil || !c.channels[ch] {
		c.Fail("CHATHISTORY", "INVALID_TARGET", command, target, "Messages could not be retrieved")
		return
	}
	if n, err := strconv.Atoi(m.Param(3)); err == nil && n > 0 {
		limit = min(limit, n)
	}
	var page []*Message
	for _, said := range ch.history {
		if selected(command, m.Param(2), said, ch.history) {
			page = append(page, said)
		}
	}
	if len(page) > limit {
		if command == "AFTER" {
			page = page[:limit]
		} else {
			page = page[len(page)-limit:]
		}
	}
	c.Batch("chathistory", []string{target}, page)
}

// selected tells whether a message is on the side of the point that a command asks for.
func selected(command, point string, said *Message, all []*Message) bool {
	kind, value, _ := strings.Cut(point, "=")
	if kind == "msgid" {
		at := slices.IndexFunc(all, func(m *Message) bool { return m.Tags["msgid"] == value })
		here := slices.Index(all, said)
		return command == "BEFORE" && here < at || command != "BEFORE" && here > at
	}
	if point == "*" {
		return true
	}
	// Times are of one length, so that they compare as texts.
	return command == "BEFORE" && said.Tags["time"] < value || command != "BEFORE" && said.Tags["time"] > value
}
