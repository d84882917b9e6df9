package console

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxIndent is how deep lines are indented at most, so that what is nested
// deeply does not grow.
const maxIndent = 32

// pretty sets JSON in lines, up to so many bytes and hardly more; whole is false
// if that was not all. Characters that would hide others, or turn them around,
// are escaped.
func pretty(body []byte, limit int) (text string, whole bool) {
	p := prettyPrinter{}
	for i := 0; i < len(body); {
		if p.b.Len() >= limit {
			return p.b.String(), false
		}
		r, size := utf8.DecodeRune(body[i:])
		if p.quoted {
			p.inString(r)
		} else {
			p.between(r)
		}
		i += size
	}
	return p.b.String(), true
}

type prettyPrinter struct {
	b       strings.Builder
	depth   int
	quoted  bool // in a string
	escaped bool // behind its backslash
	opened  bool // an object or array was begun just now
}

func (p *prettyPrinter) line() {
	p.b.WriteByte('\n')
	p.b.WriteString(strings.Repeat("  ", min(p.depth, maxIndent)))
}

func (p *prettyPrinter) inString(r rune) {
	switch {
	case unicode.Is(unicode.Cf, r) || unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
		if r > 0xFFFF {
			fmt.Fprintf(&p.b, `\u%04x\u%04x`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		} else {
			fmt.Fprintf(&p.b, `\u%04x`, r)
		}
	default:
		p.b.WriteRune(r)
	}
	switch {
	case p.escaped:
		p.escaped = false
	case r == '\\':
		p.escaped = true
	case r == '"':
		p.quoted = false
	}
}

func (p *prettyPrinter) between(r rune) {
	if strings.ContainsRune(" \t\r\n", r) {
		return
	}
	closes := r == '}' || r == ']'
	if p.opened && !closes {
		p.line()
	}
	if closes {
		p.depth = max(0, p.depth-1)
		if !p.opened {
			p.line()
		}
	}
	p.opened = r == '{' || r == '['
	switch r {
	case '{', '[':
		p.depth++
		p.b.WriteRune(r)
	case ',':
		p.b.WriteRune(r)
		p.line()
	case ':':
		p.b.WriteString(": ")
	default:
		p.quoted = r == '"'
		p.b.WriteRune(r)
	}
}
