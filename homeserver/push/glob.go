package push

import (
	"strings"
	"unicode"
)

// maxPattern is how many characters a pattern can have that is ever tried; a
// longer one never matches.
const maxPattern = 512

// A glob is a pattern of literals, ? and *, cut at the stars. Case does not
// matter.
type glob struct {
	parts    [][]rune // folded; between two parts is a star
	hopeless bool     // too long to be tried
}

// anyRune stands for ? in a part. No text has it.
const anyRune rune = -1

func compileGlob(pattern string) glob {
	var g glob
	length := 0
	for _, part := range strings.Split(pattern, "*") {
		var runes []rune
		for _, r := range part {
			if r == '?' {
				runes = append(runes, anyRune)
			} else {
				runes = append(runes, fold(r))
			}
		}
		length += len(runes) + 1
		g.parts = append(g.parts, runes)
	}
	if length > maxPattern {
		return glob{hopeless: true}
	}
	return g
}

// fold makes runes equal that differ only by case.
func fold(r rune) rune {
	if r < unicode.MaxASCII {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	return unicode.ToLower(unicode.ToUpper(r))
}

// A text is a string that patterns are held against, made ready once.
type text struct {
	folded []rune
	word   []bool // whether the rune is one of [A-Za-z0-9_]
	starts []int  // where words begin or end
}

func newText(s string) *text {
	t := new(text)
	for _, r := range s {
		t.folded = append(t.folded, fold(r))
		t.word = append(t.word, isWord(r))
	}
	for i := range len(t.folded) + 1 {
		if t.boundary(i) {
			t.starts = append(t.starts, i)
		}
	}
	return t
}

func isWord(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_'
}

// boundary reports whether words begin or end at a place in the text. What is
// between two characters that are not of words counts too: a pattern may begin
// with such a character.
func (t *text) boundary(i int) bool {
	return i == 0 || i == len(t.word) || !t.word[i-1] || !t.word[i]
}

// whole reports whether the pattern matches the whole text.
func (g *glob) whole(t *text, b *budget) bool {
	end := len(t.folded)
	return g.match(t, b, beginning, func(i int) bool { return i == end })
}

// words reports whether the pattern matches a part of the text that begins and
// ends where words do.
func (g *glob) words(t *text, b *budget) bool { return g.match(t, b, t.starts, t.boundary) }

// beginning is where a pattern begins that is for all of a text.
var beginning = []int{0}

// match takes the earliest place for every part: a star covers whatever
// is then left over, so a later place is never better. It costs at most the
// product of both lengths, and no more than the budget has.
func (g *glob) match(t *text, b *budget, begins []int, ends func(int) bool) bool {
	if g.hopeless {
		return false
	}
	first, last := g.parts[0], len(g.parts)-1
	at := -1
	for _, i := range begins {
		if !b.spend(1) || i+len(first) > len(t.folded) {
			return false
		}
		if (last > 0 || ends(i+len(first))) && equal(first, t.folded[i:], b) {
			at = i + len(first)
			break
		}
	}
	for n := 1; n <= last && at >= 0; n++ {
		at = g.find(n, at, t, b, ends)
	}
	return at >= 0
}

// find is where a part behind a star ends that begins at a place or later, or -1.
func (g *glob) find(n, at int, t *text, b *budget, ends func(int) bool) int {
	part, last := g.parts[n], n == len(g.parts)-1
	for ; at+len(part) <= len(t.folded); at++ {
		if !b.spend(1) {
			return -1
		}
		if (!last || ends(at+len(part))) && equal(part, t.folded[at:], b) {
			return at + len(part)
		}
	}
	return -1
}

func equal(part, text []rune, b *budget) bool {
	for i, r := range part {
		if r != text[i] && r != anyRune {
			b.spend(i)
			return false
		}
	}
	return b.spend(len(part))
}

// A budget is how many steps it may still take to hold an event against the
// rules of one user. Once it is spent, nothing matches any more.
type budget int

// maxSteps is about as much as a thousand words that are looked for in a long
// message. Patterns that want more are made to be slow.
const maxSteps budget = 4_000_000

func (b *budget) spend(steps int) bool {
	*b -= budget(steps)
	return *b >= 0
}
