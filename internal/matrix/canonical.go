package matrix

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// MaxJSONDepth is how deeply arrays and objects may be nested.
const MaxJSONDepth = 512

// CanonicalJSON encodes any JSON text as Canonical JSON (Appendices §
// Canonical JSON): keys sorted by code point, no white space, the shortest
// escapes. It is strict, as room versions from 6 on want it: floats,
// exponents, -0, integers beyond ±(2^53-1), duplicate keys and lone
// surrogates are M_BAD_JSON; what isn't JSON in UTF-8 is M_NOT_JSON.
func CanonicalJSON(raw []byte) ([]byte, error) {
	return AppendCanonicalJSON(make([]byte, 0, len(raw)), raw)
}

// AppendCanonicalJSON appends what [CanonicalJSON] returns to dst. Upon an
// error dst is returned as it was.
func AppendCanonicalJSON(dst, raw []byte) ([]byte, error) {
	return appendCanonical(dst, raw, true)
}

// MarshalCanonical encodes a Go value as Canonical JSON.
func MarshalCanonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return CanonicalJSON(raw)
}

// appendCanonical in its loose form serves room versions 1 to 5, whose events
// may hold any number; of duplicate keys the last one counts there.
func appendCanonical(dst, raw []byte, strict bool) ([]byte, error) {
	c := canonicalizers.Get().(*canonicalizer)
	c.in, c.out, c.pos, c.depth, c.strict = raw, dst, 0, 0, strict
	err := c.document()
	out := c.out
	c.in, c.out, c.members = nil, nil, c.members[:0]
	canonicalizers.Put(c)
	if err != nil {
		return dst, err
	}
	return out, nil
}

var canonicalizers = sync.Pool{New: func() any { return new(canonicalizer) }}

// A canonicalizer reads JSON from in and appends it, canonical, to out in one
// pass. Members of an object are written as they come, and are put in order
// afterwards if they did not come in order.
type canonicalizer struct {
	in      []byte
	pos     int
	out     []byte
	depth   int
	strict  bool
	members []member // of all objects that are open
	scratch []byte   // for reordering
}

// A member is one key and value as written to out.
type member struct {
	start, keyEnd, end int  // offsets in out: the key's opening quote, behind its closing quote, behind the value
	escaped            bool // the key has an escape, so its bytes don't sort like its text
}

func (c *canonicalizer) document() error {
	c.space()
	if err := c.value(); err != nil {
		return err
	}
	c.space()
	if c.pos < len(c.in) {
		return NotJSON("There is text after the JSON value, at byte %d.", c.pos)
	}
	return nil
}

func (c *canonicalizer) space() {
	for c.pos < len(c.in) {
		switch c.in[c.pos] {
		case ' ', '\t', '\n', '\r':
			c.pos++
		default:
			return
		}
	}
}

// peek is the next byte, or 0 at the end: NUL is nowhere allowed.
func (c *canonicalizer) peek() byte {
	if c.pos < len(c.in) {
		return c.in[c.pos]
	}
	return 0
}

func (c *canonicalizer) value() error {
	switch b := c.peek(); b {
	case '{':
		return c.object()
	case '[':
		return c.array()
	case '"':
		_, err := c.string()
		return err
	case 't':
		return c.literal("true")
	case 'f':
		return c.literal("false")
	case 'n':
		return c.literal("null")
	default:
		if b == '-' || '0' <= b && b <= '9' {
			return c.number()
		}
		return c.syntax()
	}
}

func (c *canonicalizer) syntax() error {
	if c.pos >= len(c.in) {
		return NotJSON("The JSON ends too early.")
	}
	return NotJSON("The JSON is malformed at byte %d.", c.pos)
}

func (c *canonicalizer) enter() error {
	if c.depth++; c.depth > MaxJSONDepth {
		return BadJSON("The JSON is nested more than %d levels deep.", MaxJSONDepth)
	}
	return nil
}

func (c *canonicalizer) literal(text string) error {
	if end := c.pos + len(text); end <= len(c.in) && string(c.in[c.pos:end]) == text {
		c.pos = end
		c.out = append(c.out, text...)
		return nil
	}
	return c.syntax()
}

func (c *canonicalizer) array() error {
	if err := c.enter(); err != nil {
		return err
	}
	c.pos++
	c.out = append(c.out, '[')
	c.space()
	if c.peek() == ']' {
		return c.leave(']')
	}
	for {
		if err := c.value(); err != nil {
			return err
		}
		c.space()
		switch c.peek() {
		case ',':
			c.out = append(c.out, ',')
			c.pos++
			c.space()
		case ']':
			return c.leave(']')
		default:
			return c.syntax()
		}
	}
}

func (c *canonicalizer) leave(closing byte) error {
	c.depth--
	c.pos++
	c.out = append(c.out, closing)
	return nil
}

func (c *canonicalizer) object() error {
	if err := c.enter(); err != nil {
		return err
	}
	c.pos++
	c.out = append(c.out, '{')
	base, sorted := len(c.members), true
	c.space()
	if c.peek() == '}' {
		return c.leave('}')
	}
	for {
		inOrder, err := c.member(base)
		if err != nil {
			return err
		}
		sorted = sorted && inOrder
		c.space()
		b := c.peek()
		if b == ',' {
			c.out = append(c.out, ',')
			c.pos++
			c.space()
			continue
		}
		if b != '}' {
			return c.syntax()
		}
		if !sorted {
			if err := c.sort(base); err != nil {
				return err
			}
		}
		c.members = c.members[:base]
		return c.leave('}')
	}
}

// member writes a key and its value, and reports whether the key sorts after
// the one before. The members of this object begin at base.
func (c *canonicalizer) member(base int) (inOrder bool, err error) {
	if c.peek() != '"' {
		return false, c.syntax()
	}
	m := member{start: len(c.out)}
	if m.escaped, err = c.string(); err != nil {
		return false, err
	}
	m.keyEnd = len(c.out)
	c.space()
	if c.peek() != ':' {
		return false, c.syntax()
	}
	c.pos++
	c.out = append(c.out, ':')
	c.space()
	at := len(c.members)
	inOrder = at == base || c.compare(c.members[at-1], m) < 0
	c.members = append(c.members, m)
	if err := c.value(); err != nil {
		return false, err
	}
	c.members[at].end = len(c.out)
	return inOrder, nil
}

// compare orders members by the code points of their keys, which is the order
// of their bytes in UTF-8.
func (c *canonicalizer) compare(a, b member) int {
	keyA, keyB := c.out[a.start+1:a.keyEnd-1], c.out[b.start+1:b.keyEnd-1]
	if a.escaped || b.escaped {
		return strings.Compare(unescape(keyA), unescape(keyB))
	}
	return bytes.Compare(keyA, keyB)
}

// sort puts the members from base on, which fill the end of out, in order.
func (c *canonicalizer) sort(base int) error {
	members := c.members[base:]
	start := members[0].start
	slices.SortStableFunc(members, c.compare)
	c.scratch = c.scratch[:0]
	for i, m := range members {
		if i+1 < len(members) && c.compare(m, members[i+1]) == 0 {
			if c.strict {
				return BadJSON("The JSON has the key %.100s twice in one object.", c.out[m.start:m.keyEnd])
			}
			continue
		}
		if len(c.scratch) > 0 {
			c.scratch = append(c.scratch, ',')
		}
		c.scratch = append(c.scratch, c.out[m.start:m.end]...)
	}
	c.out = append(c.out[:start], c.scratch...)
	return nil
}
