package wire

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

var errNotPrepared = errors.New("has characters that SASL does not allow (RFC 4013)")

// saslprep is the one spelling of a name or a password (RFC 4013), as a stored string. What is
// assigned is decided by the Unicode of this program, which is newer than the RFC's 3.2.
func saslprep(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errNotPrepared
	}
	mapped := strings.Map(func(r rune) rune {
		switch {
		case isOtherSpace(r):
			return ' '
		case unicode.Is(mappedToNothing, r):
			return -1
		}
		return r
	}, s)
	prepared := norm.NFKC.String(mapped)
	for _, r := range prepared {
		if unicode.Is(saslProhibited, r) || isOtherSpace(r) || r&0xfffe == 0xfffe || unicode.Is(unicode.Cn, r) {
			return "", errNotPrepared
		}
	}
	if !validDirection(prepared) {
		return "", errNotPrepared
	}
	return prepared, nil
}

// isOtherSpace is RFC 3454 table C.1.2.
func isOtherSpace(r rune) bool {
	return r == 0x200b || r != ' ' && unicode.Is(unicode.Zs, r)
}

// validDirection is RFC 3454 § 6: a text with letters from right to left has none from
// left to right, and begins and ends with the former.
func validDirection(s string) bool {
	var first, last, toLeft, toRight bool
	for i, r := range s {
		properties, _ := bidi.LookupRune(r)
		class := properties.Class()
		last = class == bidi.R || class == bidi.AL
		if i == 0 {
			first = last
		}
		toLeft = toLeft || last
		toRight = toRight || class == bidi.L
	}
	return !toLeft || first && last && !toRight
}

// mappedToNothing is RFC 3454 table B.1.
var mappedToNothing = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x00ad, Hi: 0x00ad, Stride: 1}, {Lo: 0x034f, Hi: 0x034f, Stride: 1}, {Lo: 0x1806, Hi: 0x1806, Stride: 1},
	{Lo: 0x180b, Hi: 0x180d, Stride: 1}, {Lo: 0x200b, Hi: 0x200d, Stride: 1}, {Lo: 0x2060, Hi: 0x2060, Stride: 1},
	{Lo: 0xfe00, Hi: 0xfe0f, Stride: 1}, {Lo: 0xfeff, Hi: 0xfeff, Stride: 1},
}, LatinOffset: 1}

// saslProhibited is RFC 3454 tables C.2 to C.9; spaces and noncharacters are looked at
// elsewhere.
var saslProhibited = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x0000, Hi: 0x001f, Stride: 1}, {Lo: 0x007f, Hi: 0x009f, Stride: 1},
		{Lo: 0x0340, Hi: 0x0341, Stride: 1}, {Lo: 0x06dd, Hi: 0x06dd, Stride: 1},
		{Lo: 0x070f, Hi: 0x070f, Stride: 1}, {Lo: 0x180e, Hi: 0x180e, Stride: 1},
		{Lo: 0x200c, Hi: 0x200f, Stride: 1}, {Lo: 0x2028, Hi: 0x202e, Stride: 1},
		{Lo: 0x2060, Hi: 0x2063, Stride: 1}, {Lo: 0x206a, Hi: 0x206f, Stride: 1},
		{Lo: 0x2ff0, Hi: 0x2ffb, Stride: 1}, {Lo: 0xd800, Hi: 0xf8ff, Stride: 1},
		{Lo: 0xfdd0, Hi: 0xfdef, Stride: 1}, {Lo: 0xfeff, Hi: 0xfeff, Stride: 1},
		{Lo: 0xfff9, Hi: 0xfffd, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x1d173, Hi: 0x1d17a, Stride: 1}, {Lo: 0xe0001, Hi: 0xe0001, Stride: 1},
		{Lo: 0xe0020, Hi: 0xe007f, Stride: 1}, {Lo: 0xf0000, Hi: 0x10ffff, Stride: 1},
	},
	LatinOffset: 2,
}
