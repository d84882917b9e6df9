package names

import "strings"

// A CaseMapping says which names a network takes for one and the same
// (ISUPPORT CASEMAPPING). The zero value is RFC1459, what a network that says
// nothing uses.
type CaseMapping uint8

// The mappings that networks use.
const (
	RFC1459       CaseMapping = iota // A-Z[]\^ are the capitals of a-z{}|~
	StrictRFC1459                    // the same without ^ and ~
	ASCII                            // A-Z only
)

// ParseCaseMapping reads the value of the ISUPPORT token. A mapping that is
// not known is taken for ASCII, the one that all the others include.
func ParseCaseMapping(value string) CaseMapping {
	switch strings.ToLower(value) {
	case "rfc1459":
		return RFC1459
	case "strict-rfc1459", "rfc1459-strict":
		return StrictRFC1459
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
	}
	return "ascii"
}

// Fold is the one spelling that stands for all spellings of a name.
func (m CaseMapping) Fold(name string) string {
	for i := range len(name) {
		if m.fold(name[i]) != name[i] {
			return m.foldFrom(name, i)
		}
	}
	return name
}

// Equal tells whether two spellings are one name.
func (m CaseMapping) Equal(a, b string) bool {
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
