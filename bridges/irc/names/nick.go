package names

import (
	"hash/fnv"
	"iter"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// A Person is the Matrix user for whom a nick is made.
type Person struct {
	UserID      string // @alice:example.org
	DisplayName string // may be empty
}

// defaultNickLength is what RFC 1459 allows.
const defaultNickLength = 9

// minNickLength leaves room for the suffixes of Nicks; a server that says less lies.
const minNickLength = 4

// maxNameLength bounds how much of a name is looked at.
const maxNameLength = 512

// Nick fills a template with $DISPLAY, $LOCALPART and $USERID, and makes a legal
// nick of at most maxLength bytes (0: the 9 of RFC 1459) of it: accents and
// look-alikes of ASCII are folded to it, separators become "_", what IRC does not
// allow is left out. A display name of which nothing is left falls back to the localpart,
// and that to a number that belongs to the user. When the nick is too long, the
// names in it are shortened, not the text around them. Equal input gives an equal nick.
func Nick(template string, who Person, maxLength int) string {
	maxLength = bounded(maxLength)
	localpart, _, _ := strings.Cut(strings.TrimPrefix(who.UserID, "@"), ":")
	local := firstOf(sanitize(localpart), number(who.UserID))
	display := firstOf(sanitize(who.DisplayName), local)
	userID := firstOf(sanitize(strings.TrimPrefix(who.UserID, "@")), local)
	fill := func(most int) string {
		return start(keepNick(strings.NewReplacer(
			"$DISPLAY", cut(display, most),
			"$LOCALPART", cut(local, most),
			"$USERID", cut(userID, most),
		).Replace(template)))
	}
	for most := maxLength; most > 0; most-- {
		if nick := fill(most); nick != "" && len(nick) <= maxLength {
			return nick
		}
	}
	return cut(start(firstOf(fill(1), local)), maxLength)
}

// Nicks is what to try, in this order, when a nick is taken: the nick itself, a few
// with "_" after it, then with numbers. It does not end.
func Nicks(nick string, maxLength int) iter.Seq[string] {
	maxLength = bounded(maxLength)
	with := func(suffix string) string {
		suffix = suffix[:min(len(suffix), maxLength-1)]
		return cut(nick, maxLength-len(suffix)) + suffix
	}
	return func(yield func(string) bool) {
		first := with("")
		if !yield(first) {
			return
		}
		for _, suffix := range []string{"_", "__"} {
			if next := with(suffix); next != first && !yield(next) {
				return
			}
		}
		for n := 1; ; n++ {
			if next := with(strconv.Itoa(n)); next != first && !yield(next) {
				return
			}
		}
	}
}

// ValidNick tells whether RFC 2812 allows the nick. Servers may allow more.
func ValidNick(nick string) bool {
	return nick != "" && start(nick) == nick && keepNick(nick) == nick
}

func bounded(maxLength int) int {
	if maxLength <= 0 {
		return defaultNickLength
	}
	return max(maxLength, minNickLength)
}

// sanitize keeps what a nick may hold of a name, without separators at its ends.
func sanitize(name string) string {
	if len(name) > maxNameLength {
		name = name[:maxNameLength]
	}
	var b strings.Builder
	for _, r := range norm.NFKD.String(strings.ToValidUTF8(name, "")) {
		switch letters, known := latin[r]; {
		case known:
			b.WriteString(letters)
		case unicode.IsSpace(r) || strings.ContainsRune(".:/=+", r):
			if !strings.HasSuffix(b.String(), "_") {
				b.WriteByte('_')
			}
		case r < 0x80 && nickByte(byte(r)):
			b.WriteByte(byte(r))
		}
	}
	return strings.TrimRight(strings.TrimLeft(b.String(), "_-"), "_")
}

// latin are letters that Unicode does not decompose.
var latin = map[rune]string{
	'ß': "ss", 'ẞ': "SS", 'æ': "ae", 'Æ': "AE", 'œ': "oe", 'Œ': "OE", 'ø': "o", 'Ø': "O",
	'ł': "l", 'Ł': "L", 'đ': "d", 'Đ': "D", 'ð': "d", 'Ð': "D", 'þ': "th", 'Þ': "Th", 'ı': "i",
}

func nickByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-[]\\`_^{|}", c) >= 0
}

func keepNick(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && nickByte(byte(r)) {
			return r
		}
		return -1
	}, s)
}

// start makes a nick begin with a letter or a special character.
func start(nick string) string {
	if nick != "" && (nick[0] == '-' || '0' <= nick[0] && nick[0] <= '9') {
		return "_" + nick
	}
	return nick
}

// number is a nick for people whose names have nothing that IRC allows.
func number(userID string) string {
	hash := fnv.New32a()
	hash.Write([]byte(userID))
	return "m" + strconv.FormatUint(uint64(hash.Sum32()%1e6), 10)
}

func cut(s string, length int) string { return s[:min(len(s), max(length, 0))] }

func firstOf(s, fallback string) string {
	if s != "" {
		return s
	}
	return fallback
}
