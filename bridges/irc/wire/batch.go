package wire

import "strings"

// A Batch is an open group of messages (IRCv3 batch). It is complete when the
// message "BATCH -reference" comes.
type Batch struct {
	Reference string
	Type      string // "netsplit", "chathistory", …
	Params    []string
	Tags      map[string]string
	Parent    *Batch

	text *multiline // if it is one text of several lines
}

const (
	maxBatches        = 64    // open at the same time
	maxBatchDepth     = 8     // of one in others, whether those are still open or not
	maxMultilineBytes = 65536 // of one text; the rest is dropped
)

// A multiline is a text under way (draft/multiline).
type multiline struct {
	start *Message
	first *Message // whose command it has
	text  strings.Builder
}

// batches are the open ones, by reference.
type batches map[string]*Batch

// depth is in how many batches something is that is in this one.
func (b *Batch) depth() (n int) {
	for ; b != nil; b = b.Parent {
		n++
	}
	return n
}

// Replayed tells whether a message is part of a history, rather than happening now.
func (m *Message) Replayed() bool {
	for b := m.Batch; b != nil; b = b.Parent {
		switch b.Type {
		case "chathistory", "draft/chathistory", "znc.in/playback":
			return true
		}
	}
	return false
}

// of is the open batch that a message belongs to, or nil.
func (b batches) of(m *Message) *Batch {
	if reference := m.Tag("batch"); reference != "" {
		return b[reference]
	}
	return nil
}

// add follows batches. It returns what is to be shown: the message; nothing, while a text
// of several lines is being collected; or that text, as one message whose last parameter
// has its lines, with "\n" between them.
func (b *batches) add(m *Message) *Message {
	if m.Command == "BATCH" {
		return b.mark(m)
	}
	if m.Batch != nil && m.Batch.text != nil {
		m.Batch.text.add(m)
		return nil
	}
	return m
}

// mark begins or ends a batch.
func (b *batches) mark(m *Message) *Message {
	reference := m.Param(0)
	switch {
	case len(reference) < 2:
		return nil
	case reference[0] == '+' && len(*b) < maxBatches && m.Batch.depth() < maxBatchDepth:
		batch := &Batch{Reference: reference[1:], Type: m.Param(1), Tags: m.Tags, Parent: m.Batch}
		if len(m.Params) > 2 {
			batch.Params = m.Params[2:]
		}
		if *b == nil {
			*b = batches{}
		}
		(*b)[batch.Reference] = batch
		if m.Batch = batch; batch.Type == "draft/multiline" {
			batch.text = &multiline{start: m}
			return nil
		}
	case reference[0] == '-' && (*b)[reference[1:]] != nil:
		m.Batch = (*b)[reference[1:]]
		delete(*b, reference[1:])
		if text := m.Batch.text; text != nil {
			return text.whole(m.Batch)
		}
	default:
		return nil
	}
	return m
}

func (t *multiline) add(m *Message) {
	if m.Command != "PRIVMSG" && m.Command != "NOTICE" || len(m.Params) < 2 ||
		t.text.Len()+len(m.Last()) >= maxMultilineBytes {
		return
	}
	if _, joined := m.Tags["draft/multiline-concat"]; t.first == nil {
		t.first = m
	} else if !joined {
		t.text.WriteByte('\n')
	}
	t.text.WriteString(m.Last())
}

// whole is the text as one message, with the tags and the source of its batch.
func (t *multiline) whole(batch *Batch) *Message {
	if t.first == nil {
		return nil
	}
	m := *t.first
	m.Tags, m.Time, m.Batch = t.start.Tags, t.start.Time, batch.Parent
	if t.start.Prefix.Nick != "" {
		m.Prefix, m.own = t.start.Prefix, t.start.own
	}
	m.Params = []string{m.Param(0), t.text.String()}
	return &m
}
