package wire

import (
	"strings"
	"unicode/utf8"
)

// RelayCap is the capability of speaking under the names of others (IRCv3 relaymsg). Only a connection
// that does asks for it.
const RelayCap = "draft/relaymsg"

// A Guise is how somebody appears for whom a connection speaks.
type Guise struct {
	Nick   string // by RELAYMSG, under this nick; empty: by what stands before each line
	Before string
}

// reserved are the characters that no nick of RELAYMSG may have.
const reserved = "!+%@&#$:'\"?*,."

// RelaySeparator is a character that nicks of RELAYMSG must have, and others cannot; false if
// the connection cannot use that command.
func (c *Conn) RelaySeparator() (separator string, ok bool) {
	if !c.HasCap(RelayCap) {
		return "", false
	}
	value := c.CapValue(RelayCap)
	if value == "" {
		return "/", true
	}
	for _, r := range value {
		if r > ' ' && r != utf8.RuneError && r != 0x7f && !strings.ContainsRune(reserved, r) {
			return string(r), true
		}
	}
	return "", false
}

// Relayed is [Conn.Paragraph] for somebody else: one message, since each has to say who it is from.
func (c *Conn) Relayed(as Guise, kind Kind, target string, lines []string, from Place) (p Paragraph, next Place) {
	p = Paragraph{Kind: kind, Target: target, As: as}
	for at := from; at.Line < len(lines); at = next {
		text, taken, more := pieceAt(lines[at.Line], at.Offset, max(minRoom, c.roomAs(as, kind, target)), false)
		next = Place{Line: at.Line + 1}
		if text == "" {
			continue
		}
		if more {
			next = Place{at.Line, at.Offset + taken}
		}
		p.Pieces = []Piece{{Text: text}}
		return p, next
	}
	return p, Place{Line: len(lines)}
}

// roomAs is how many bytes of text fit into one message for somebody else.
func (c *Conn) roomAs(as Guise, kind Kind, target string) int {
	limit := c.Support().LineLen
	if as.Nick == "" {
		return room(limit, c.widest(), kind, target) - len(as.Before)
	}
	// What we send is shorter than what others receive, whatever user and host the server makes up.
	shown := Prefix{as.Nick, strings.Repeat("u", usualUserLen), strings.Repeat("h", max(c.Support().HostLen, usualHostLen))}
	return room(limit, shown, kind, target)
}

// relayed is a paragraph's only message, if it is said for somebody else.
func (p Paragraph) relayed() *Message {
	text := p.Kind.wrap(p.Pieces[0].Text)
	if p.As.Nick == "" {
		return &Message{Tags: p.Tags, Command: p.Kind.command(), Params: []string{p.Target, p.Kind.wrap(p.Text())}}
	}
	return &Message{Tags: p.Tags, Command: "RELAYMSG", Params: []string{p.Target, p.As.Nick, text}}
}

// Relay is by whom a message was sent that appears to be from somebody else; empty if it
// was not, or the connection has not asked to be told.
func (m *Message) Relay() string {
	if by := m.Tag(RelayCap); by != "" {
		return by
	}
	return m.Tag("relaymsg")
}
