package matrix

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxInteger is the largest integer in Canonical JSON; -MaxInteger is the smallest.
const MaxInteger = 1<<53 - 1

// plain is how many bytes at the start of s stand for themselves in a JSON
// string, and whether all of them are ASCII. It looks at eight bytes at a
// time: subtracting borrows into the high bit of a byte that was smaller, so
// the lowest high bit set marks the first byte that needs a closer look.
func plain(s []byte) (n int, ascii bool) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	var seen uint64
	for ; n+8 <= len(s); n += 8 {
		w := binary.LittleEndian.Uint64(s[n:])
		quote, backslash := w^ones*'"', w^ones*'\\'
		special := (w-ones*' ')&^w | (quote-ones)&^quote | (backslash-ones)&^backslash
		if special &= highs; special != 0 {
			before := bits.TrailingZeros64(special) / 8
			seen |= w & (1<<(8*before) - 1)
			return n + before, seen&highs == 0
		}
		seen |= w
	}
	for ; n < len(s); n++ {
		b := s[n]
		if b < ' ' || b == '"' || b == '\\' {
			break
		}
		seen |= uint64(b)
	}
	return n, seen&highs == 0
}

// string copies a string and reports whether it has escapes as written.
func (c *canonicalizer) string() (escaped bool, err error) {
	c.out = append(c.out, '"')
	c.pos++
	for {
		n, ascii := plain(c.in[c.pos:])
		run := c.in[c.pos : c.pos+n]
		if !ascii && !utf8.Valid(run) {
			return false, NotJSON("The JSON is not valid UTF-8 behind byte %d.", c.pos)
		}
		c.out = append(c.out, run...)
		c.pos += n
		switch c.peek() {
		case '"':
			c.pos++
			c.out = append(c.out, '"')
			return escaped, nil
		case '\\':
			before := len(c.out)
			if err := c.escape(); err != nil {
				return false, err
			}
			escaped = escaped || c.out[before] == '\\'
		default:
			return false, c.syntax()
		}
	}
}

// escape reads one escape sequence and writes it in its canonical form.
func (c *canonicalizer) escape() error {
	r, size := decodeEscape(c.in[c.pos:])
	switch {
	case size == 0:
		return c.syntax()
	case r < 0:
		return BadJSON("The JSON has half of a surrogate pair at byte %d.", c.pos)
	}
	c.pos += size
	c.out = appendEscaped(c.out, r)
	return nil
}

// decodeEscape decodes the escape sequence at the start of s, a surrogate
// pair included. Its size is 0 if it is none, and r is -1 for a lone
// surrogate.
func decodeEscape(s []byte) (r rune, size int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	r = hexEscape(s)
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if low := hexEscape(s[6:]); low >= 0 {
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return -1, 6
}

// hexEscape is the code unit of a \uXXXX at the start of s, or -1.
func hexEscape(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	var r rune
	for _, b := range s[2:6] {
		switch {
		case '0' <= b && b <= '9':
			b -= '0'
		case 'a' <= b && b <= 'f':
			b -= 'a' - 10
		case 'A' <= b && b <= 'F':
			b -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(b)
	}
	return r
}

// appendEscaped appends a character of a string as Canonical JSON has it.
func appendEscaped(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	if r < 0x20 {
		return append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
	}
	return utf8.AppendRune(dst, r)
}

// appendString appends s, quoted, as Canonical JSON has it. Invalid UTF-8
// becomes U+FFFD.
func appendString[T ~string](dst []byte, s T) []byte {
	start := len(dst) + 1
	dst = append(append(dst, '"'), s...)
	n, ascii := plain(dst[start:])
	if ascii && n == len(s) {
		return append(dst, '"')
	}
	dst = dst[:start]
	for _, r := range string(s) {
		dst = appendEscaped(dst, r)
	}
	return append(dst, '"')
}

// unescape is the text of a string literal without its quotes, whose escapes
// are known to be valid.
func unescape(s []byte) string {
	var text strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			text.WriteByte(s[i])
			i++
			continue
		}
		r, size := decodeEscape(s[i:])
		if size == 0 {
			return text.String()
		}
		text.WriteRune(r)
		i += size
	}
	return text.String()
}

func (c *canonicalizer) number() error {
	start := c.pos
	if c.peek() == '-' {
		c.pos++
	}
	digits := c.pos
	c.digits()
	if c.pos == digits || c.in[digits] == '0' && c.pos-digits > 1 {
		c.pos = digits
		return c.syntax()
	}
	if b := c.peek(); b == '.' || b == 'e' || b == 'E' {
		return c.float(start)
	}
	text := c.in[start:c.pos]
	if c.in[digits] == '0' && digits > start {
		if c.strict {
			return BadJSON("The JSON has the number -0, which Matrix does not allow.")
		}
		text = text[1:]
	}
	if c.strict && !safeInteger(c.in[digits:c.pos]) {
		return BadJSON("The JSON has the number %.40s, which is outside ±(2^53-1).", text)
	}
	c.out = append(c.out, text...)
	return nil
}

func (c *canonicalizer) digits() {
	for c.pos < len(c.in) && '0' <= c.in[c.pos] && c.in[c.pos] <= '9' {
		c.pos++
	}
}

func safeInteger(digits []byte) bool {
	if len(digits) < 16 {
		return true
	}
	if len(digits) > 16 {
		return false
	}
	var n int64
	for _, b := range digits {
		n = n*10 + int64(b-'0')
	}
	return n <= MaxInteger
}

// float reads the rest of a number that has a fraction or an exponent.
func (c *canonicalizer) float(start int) error {
	fraction := c.peek() == '.'
	if fraction {
		c.pos++
		from := c.pos
		if c.digits(); c.pos == from {
			return c.syntax()
		}
	}
	if b := c.peek(); b == 'e' || b == 'E' {
		c.pos++
		if b := c.peek(); b == '+' || b == '-' {
			c.pos++
		}
		from := c.pos
		if c.digits(); c.pos == from {
			return c.syntax()
		}
	}
	text := c.in[start:c.pos]
	if c.strict {
		return BadJSON("The JSON has the number %.40s, but Matrix allows integers only.", text)
	}
	number, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return BadJSON("The JSON has the number %.40s, which is out of range.", text)
	}
	c.out = appendFloat(c.out, number, fraction)
	return nil
}

// appendFloat writes a float as old rooms have it in their hashes: an
// exponent without a fraction is written out (the specification's 1e10 is
// 10000000000), and the rest is what Python, which made those events, prints.
func appendFloat(dst []byte, number float64, fraction bool) []byte {
	if !fraction && number == math.Trunc(number) && math.Abs(number) <= MaxInteger {
		return strconv.AppendInt(dst, int64(number), 10)
	}
	if abs := math.Abs(number); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.AppendFloat(dst, number, 'e', -1, 64)
	}
	before := len(dst)
	dst = strconv.AppendFloat(dst, number, 'f', -1, 64)
	if !strings.Contains(string(dst[before:]), ".") {
		dst = append(dst, ".0"...)
	}
	return dst
}
