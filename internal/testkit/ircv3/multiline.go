package ircv3

import (
	"fmt"
	"strings"
)

// What a text of several lines may have.
const (
	multilineLines = 20
	multilineBytes = 4096
)

// A multiline is a text of several lines on its way in.
type multiline struct {
	reference string
	start     *Message
	lines     []*Message
}

// runBatch begins or ends a text of several lines.
func runBatch(s *Server, c *Client, m *Message) {
	reference := m.Param(0)
	switch {
	case strings.HasPrefix(reference, "+") && m.Param(1) == "draft/multiline" && c.caps["draft/multiline"] && c.text == nil:
		c.text = &multiline{reference: reference[1:], start: m}
	case c.text != nil && reference == "-"+c.text.reference:
		text := c.text
		c.text = nil
		if code, about := text.fault(); code != "" {
			c.Fail("BATCH", code, about, "This text cannot be said")
			return
		}
		s.speakLines(c, text)
	default:
		c.Fail("BATCH", "INVALID_REFTAG", reference, "No such batch")
	}
}

// collect takes a line of the text; false if it is none.
func (c *Client) collect(m *Message) bool {
	if c.text == nil || m.Tags["batch"] != c.text.reference {
		return false
	}
	c.text.lines = append(c.text.lines, m)
	return true
}

// fault is what is wrong with a text.
func (t *multiline) fault() (code, about string) {
	bytes, words := 0, false
	for i, line := range t.lines {
		_, joined := line.Tags["draft/multiline-concat"]
		for tag := range line.Tags {
			if tag != "batch" && tag != "draft/multiline-concat" {
				return "MULTILINE_INVALID", tag
			}
		}
		switch {
		case len(line.Params) != 2 || line.Command != t.lines[0].Command || joined && line.Param(1) == "":
			return "MULTILINE_INVALID", line.Command
		case line.Param(0) != t.start.Param(2):
			return "MULTILINE_INVALID_TARGET", line.Param(0)
		}
		bytes += len(line.Param(1))
		if i > 0 && !joined {
			bytes++
		}
		words = words || line.Param(1) != ""
	}
	switch {
	case !words:
		return "MULTILINE_INVALID", "blank"
	case len(t.lines) > multilineLines:
		return "MULTILINE_MAX_LINES", fmt.Sprint(multilineLines)
	case bytes > multilineBytes:
		return "MULTILINE_MAX_BYTES", fmt.Sprint(multilineBytes)
	}
	return "", ""
}

// speakLines says a text in a channel: as a batch to those who know such, as lines to others.
func (s *Server) speakLines(c *Client, t *multiline) {
	ch := s.channels[s.fold(t.start.Param(2))]
	if ch == nil || !s.heard(ch, c) {
		c.Reply("404", t.start.Param(2), "Cannot send to channel")
		return
	}
	start := NewMessage(c.source(), "BATCH", "+"+s.number("m"), "draft/multiline", ch.name)
	for key, value := range t.start.Tags {
		if strings.HasPrefix(key, "+") {
			start = start.with(key, value)
		}
	}
	start = s.stamp(c, start, true)
	var whole strings.Builder
	for i, line := range t.lines {
		if _, joined := line.Tags["draft/multiline-concat"]; i > 0 && !joined {
			whole.WriteByte('\n')
		}
		whole.WriteString(line.Param(1))
	}
	said := NewMessage(c.source(), t.lines[0].Command, ch.name, whole.String())
	said.Tags = start.Tags
	ch.history = append(ch.history, said)
	for _, member := range ch.sorted() {
		if member != c {
			member.showLines(start, c.source(), t.lines)
		}
	}
	if c.caps["echo-message"] {
		c.showLines(start, c.source(), t.lines)
	}
}

// showLines sends a text of several lines to somebody.
func (c *Client) showLines(start *Message, source string, lines []*Message) {
	if c.caps["draft/multiline"] && c.caps["batch"] {
		reference := start.Param(0)[1:]
		c.Send(start)
		for _, line := range lines {
			shown := NewMessage(source, line.Command, line.Params...).with("batch", reference)
			if _, joined := line.Tags["draft/multiline-concat"]; joined {
				shown = shown.with("draft/multiline-concat", "")
			}
			c.Send(shown)
		}
		c.Send(NewMessage(source, "BATCH", "-"+reference))
		return
	}
	tags := start.Tags
	for _, line := range lines {
		if line.Param(1) == "" {
			continue
		}
		shown := NewMessage(source, line.Command, line.Params...)
		shown.Tags = tags
		tags = nil
		c.Send(shown)
	}
}
