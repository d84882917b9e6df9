package wire

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// multilineCap is the capability of texts of several lines (IRCv3 multiline).
const multilineCap = "draft/multiline"

// A Paragraph is the part of a text that goes out as one: one message, or, on servers that
// have draft/multiline, a batch of them, which others see as one text.
type Paragraph struct {
	Kind   Kind
	Target string
	Tags   map[string]string // the client's own ("+draft/reply"); left out where the server has none
	Pieces []Piece
	As     Guise // who says it, if not we; there is one piece then
}

// A Piece is one message of a paragraph.
type Piece struct {
	Text   string
	Joined bool // it goes on where the last one ended, without a new line between
}

// Place is where in the lines of a text something begins: a line, and a byte of it.
type Place struct{ Line, Offset int }

// Text is what the paragraph says, as others see it.
func (p Paragraph) Text() string {
	if len(p.Pieces) == 1 {
		return p.As.Before + p.Pieces[0].Text
	}
	var text strings.Builder
	for i, piece := range p.Pieces {
		if i > 0 && !piece.Joined {
			text.WriteByte('\n')
		}
		text.WriteString(piece.Text)
	}
	return text.String()
}

// Paragraph takes from a text, from a place on, what can be said at once, and tells where the
// next begins. single has it say one message, whatever the server can do.
func (c *Conn) Paragraph(kind Kind, target string, lines []string, from Place, single bool) (p Paragraph, next Place) {
	p = Paragraph{Kind: kind, Target: target}
	most, bytes := c.multilineLimits()
	if single || kind == Action || most < 2 {
		most = 1
	}
	for at := from; at.Line < len(lines); at = next {
		joined := len(p.Pieces) > 0 && at.Offset > 0
		text, taken, more := pieceAt(lines[at.Line], at.Offset, c.room(kind, target), joined)
		next = Place{Line: at.Line + 1}
		if text == "" {
			continue // IRC has no empty messages
		}
		piece := Piece{Text: text, Joined: joined}
		if more {
			next = Place{at.Line, at.Offset + taken}
		}
		bytes -= len(piece.Text)
		if len(p.Pieces) > 0 && !piece.Joined {
			bytes-- // for the line feed
		}
		if len(p.Pieces) == most || len(p.Pieces) > 0 && bytes < 0 {
			return p, at
		}
		p.Pieces = append(p.Pieces, piece)
	}
	return p, Place{Line: len(lines)}
}

// multilineLimits are how many messages a batch may have, and how many bytes; 1 if there are
// no such batches.
func (c *Conn) multilineLimits() (lines, bytes int) {
	if !c.HasCap(multilineCap) || !c.HasCap("batch") || !c.HasCap("message-tags") {
		return 1, 0
	}
	lines = c.opts.QueueSize / 2
	for token := range strings.SplitSeq(c.CapValue(multilineCap), ",") {
		key, value, _ := strings.Cut(token, "=")
		n, err := strconv.Atoi(value)
		switch {
		case err != nil || n < 1:
		case key == "max-lines":
			lines = min(lines, n)
		case key == "max-bytes":
			bytes = min(n, maxMultilineBytes)
		}
	}
	if bytes == 0 { // it must be said; without it nobody knows what is refused
		return 1, 0
	}
	return lines, bytes
}

// A Block is a paragraph as it goes over the wire: all of it at once, with nothing between.
type Block struct {
	bytes   []byte
	command string
	cost    int
}

// Bytes are what will be written, by which one knows when it has been.
func (b *Block) Bytes() []byte { return b.bytes }

// Block encodes a paragraph for this connection.
func (c *Conn) Block(p Paragraph) (*Block, error) {
	for _, piece := range p.Pieces {
		if !clean(piece.Text) || piece.Text == "" {
			return nil, fmt.Errorf("%w: a text with CR, LF, NUL or \\x01, or without anything", ErrMalformed)
		}
	}
	if len(p.Pieces) == 0 || len(p.Pieces) > c.opts.QueueSize {
		return nil, fmt.Errorf("%w: a batch of %d lines", ErrMalformed, len(p.Pieces))
	}
	tags := p.Tags
	if !c.HasCap("message-tags") {
		tags = nil
	}
	command := p.Kind.command()
	b := &Block{command: command, cost: len(p.Pieces)}
	if p.As != (Guise{}) {
		p.Tags = tags
		m := p.relayed()
		b.command = m.Command
		return b, c.add(b, m)
	}
	if len(p.Pieces) == 1 {
		return b, c.add(b, &Message{Tags: tags, Command: command, Params: []string{p.Target, p.Kind.wrap(p.Pieces[0].Text)}})
	}
	reference := c.token()
	err := c.add(b, &Message{Tags: tags, Command: "BATCH", Params: []string{"+" + reference, multilineCap, p.Target}})
	for _, piece := range p.Pieces {
		own := map[string]string{"batch": reference}
		if piece.Joined {
			own["draft/multiline-concat"] = ""
		}
		err = errors.Join(err, c.add(b, &Message{Tags: own, Command: command, Params: []string{p.Target, piece.Text}}))
	}
	return b, errors.Join(err, c.add(b, NewMessage("BATCH", "-"+reference)))
}

// add appends a message to a block.
func (c *Conn) add(b *Block, m *Message) error {
	line, err := c.encode(m)
	b.bytes = append(b.bytes, line...)
	return err
}

// encode is a message that is within the server's limits.
func (c *Conn) encode(m *Message) ([]byte, error) {
	line, err := m.Append(nil)
	if err != nil {
		return nil, err
	}
	if limit := c.Support().LineLen; len(line)-tagsLength(line) > limit {
		return nil, fmt.Errorf("%w: %s of more than %d bytes", ErrMalformed, m.Command, limit)
	}
	return line, nil
}

// SendBlock queues a block; it waits while the queue is full. It costs as many of the flood
// control's tokens as it has lines.
func (c *Conn) SendBlock(ctx context.Context, b *Block) error {
	return c.enqueue(ctx, b.bytes, b.command, b.cost)
}

// Spare sends a message only if nothing else waits and the flood control has most of its
// tokens: what may be left out must not keep texts waiting.
func (c *Conn) Spare(m *Message) (sent bool) {
	line, err := c.encode(m)
	return err == nil && c.Err() == nil && c.queue.spare(line, m.Command)
}
