package names

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
)

// A CaseMapping says which names a network takes for one and the same
// (ISUPPORT CASEMAPPING). The zero value is RFC1459, what a network that says
// nothing uses.
type CaseMapping uint8

// The mappings that networks use.
const (
	RFC1459       CaseMapping = iota // A-Z[]\^ are the capitals of a-z{}|~
	StrictRFC1459                    // the same without ^ and ~
	ASCII                            // A-Z only
	Unicode                          // all capitals, wide letters and composition, as PRECIS has it (RFC 8265 § 3.3)
)

// ParseCaseMapping reads the value of the ISUPPORT token. A mapping that is
// not known is taken for ASCII, the one that all the others include.
func ParseCaseMapping(value string) CaseMapping {
	switch strings.ToLower(value) {
	case "rfc1459":
		return RFC1459
	case "strict-rfc1459", "rfc1459-strict":
		return StrictRFC1459
	case "rfc7613", "rfc8265", "precis", "utf8", "utf-8", "unicode":
		return Unicode
	}
	return ASCII
}

// String is the value of the ISUPPORT token.
func (m CaseMapping) String() string {
	switch m {
	case RFC1459:
		return "rfc1459"
	case StrictRFC1459:
		return "strict-rfc1459"
	case Unicode:
		return "rfc8265"
	}
	return "ascii"
}

// Fold is the one spelling that stands for all spellings of a name.
func (m CaseMapping) Fold(name string) string {
	if m == Unicode && !ascii(name) {
		return foldUnicode(name)
	}
	for i := range len(name) {
		if m.fold(name[i]) != name[i] {
			return m.foldFrom(name, i)
		}
	}
	return name
}

// Equal tells whether two spellings are one name.
func (m CaseMapping) Equal(a, b string) bool {
	if m == Unicode && !(ascii(a) && ascii(b)) {
		return m.Fold(a) == m.Fold(b)
	}
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if m.fold(a[i]) != m.fold(b[i]) {
			return false
		}
	}
	return true
}

func (m CaseMapping) foldFrom(name string, first int) string {
	folded := []byte(name)
	for i := first; i < len(folded); i++ {
		folded[i] = m.fold(folded[i])
	}
	return string(folded)
}

// The capitals of each mapping are one run of bytes that ends at last, 32 below
// the small letters.
func (m CaseMapping) fold(c byte) byte {
	last := byte('Z')
	switch m {
	case RFC1459:
		last = '^'
	case StrictRFC1459:
		last = ']'
	}
	if 'A' <= c && c <= last {
		return c + 'a' - 'A'
	}
	return c
}

func ascii(name string) bool {
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// foldUnicode changes nothing about what it has folded. Names that are not UTF-8, or would have a
// space or a comma, which are wide before, are folded as ASCII.
func foldUnicode(name string) string {
	folded := name
	for range 8 { // composition may make a capital
		next := norm.NFC.String(strings.ToLower(width.Fold.String(folded)))
		if next == folded {
			break
		}
		folded = next
	}
	if !utf8.ValidString(name) || strings.ContainsAny(folded, " ,") {
		return ASCII.Fold(name)
	}
	return folded
}
