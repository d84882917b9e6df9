package wire

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// SplitText cuts a text into pieces of at most limit bytes: before a space, unless that
// would leave more than half of the piece empty, else between graphemes, else between
// characters. Formatting codes stay whole. Joined, the pieces are the text.
//
// Spaces begin a piece and do not end one, because some servers (ngIRCd) cut them off at the
// end of a line.
func SplitText(text string, limit int) []string {
	limit = max(limit, utf8.UTFMax)
	var pieces []string
	for len(text) > limit {
		end := cutAt(text, limit)
		pieces = append(pieces, text[:end])
		text = text[end:]
	}
	if text != "" || pieces == nil {
		pieces = append(pieces, text)
	}
	return pieces
}

// cutAt is where the first piece of a text that is longer than limit ends.
func cutAt(text string, limit int) int {
	var s segmenter
	character, grapheme, space := 0, 0, 0
	for at := 0; at <= limit; {
		r, size := utf8.DecodeRuneInString(text[at:])
		if at > 0 {
			if !s.inCode(r) {
				character = at
			}
			if s.boundary(r) && !isBlank(rune(text[at-1])) {
				grapheme = at
				if isBlank(r) {
					space = at
				}
			}
		}
		s.take(r)
		at += size
	}
	switch {
	case space > limit/2:
		return space
	case grapheme > 0:
		return grapheme
	case character > 0:
		return character
	}
	return limit // a run of bytes that is one formatting code, or nothing that anybody types
}

// A segmenter finds the boundaries of graphemes while characters go by. It follows the rules of
// Unicode Annex 29 that matter for keeping people's texts readable: combining marks, emoji
// with modifiers and joiners, flags, Hangul syllables; and mIRC's codes, which are
// followed by digits that belong to them.
type segmenter struct {
	previous rune
	flags    int // regional indicators in a row
	code     rune
	digits   int  // of the code's number so far
	comma    bool // the code's second number has begun
}

const zeroWidthJoiner = '\u200d'

// boundary tells whether there is one between what was taken and r.
func (s *segmenter) boundary(r rune) bool {
	switch {
	case s.inCode(r), extends(r), s.previous == zeroWidthJoiner && !isASCII(r):
		return false
	case isFlag(r) && s.flags%2 == 1:
		return false
	}
	return true
}

func (s *segmenter) take(r rune) {
	if isFlag(r) {
		s.flags++
	} else {
		s.flags = 0
	}
	switch {
	case r == codeColor || r == codeHexColor:
		s.code, s.digits, s.comma = r, 0, false
	case !s.inCode(r):
		s.code = 0
	case r == ',':
		s.digits, s.comma = 0, true
	default:
		s.digits++
	}
	s.previous = r
}

const (
	codeColor    = '\x03' // then at most two digits, and with a comma two more
	codeHexColor = '\x04' // the same with six hexadecimal digits
)

// inCode tells whether r belongs to the formatting code before it.
func (s *segmenter) inCode(r rune) bool {
	most := 2
	isDigit := '0' <= r && r <= '9'
	switch s.code {
	case 0:
		return false
	case codeHexColor:
		most = 6
		isDigit = isDigit || 'a' <= r|0x20 && r|0x20 <= 'f'
	}
	if isDigit {
		return s.digits < most
	}
	return r == ',' && !s.comma && s.digits > 0
}

// extends tells whether a character never begins a grapheme.
func extends(r rune) bool {
	switch {
	case isASCII(r):
		return false
	case unicode.In(r, unicode.M), r == zeroWidthJoiner, r == '\u200c':
		return true
	case 0x1f3fb <= r && r <= 0x1f3ff: // skin tones
		return true
	case 0xe0020 <= r && r <= 0xe007f: // tags, of subdivisions' flags
		return true
	}
	return 0x1160 <= r && r <= 0x11ff // vowels and finals of Hangul
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' }
func isFlag(r rune) bool  { return 0x1f1e6 <= r && r <= 0x1f1ff }
func isASCII(r rune) bool { return r < utf8.RuneSelf }

// room is how many bytes of text fit into one message from us to the target, as others
// receive it: ":nick!user@host PRIVMSG target :text".
func room(lineLen int, self Prefix, kind Kind, target string) int {
	n := lineLen - len(":!@  :\r\n") - len(self.Nick) - len(self.User) - len(self.Host) -
		len(kind.command()) - len(" ") - len(target)
	if kind == Action {
		n -= len(actionStart) + len(actionEnd)
	}
	return n
}

const (
	actionStart = "\x01ACTION "
	actionEnd   = "\x01"
)

func (k Kind) command() string {
	if k == Notice {
		return "NOTICE"
	}
	return "PRIVMSG"
}

// wrap is the message's text parameter.
func (k Kind) wrap(text string) string {
	if k == Action {
		return actionStart + text + actionEnd
	}
	return text
}

// clean tells whether a text can be said: a byte 1 would make CTCP of it.
func clean(text string) bool { return !strings.ContainsAny(text, "\r\n\x00\x01") }
