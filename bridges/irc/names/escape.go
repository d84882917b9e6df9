package names

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// EscapeNick turns a nick into a part of a Matrix localpart, which may hold
// a-z, 0-9 and ._=-/+ only: each other byte, capitals and "=" among them,
// becomes "=" and two lower-case hexadecimal digits (Appendices § Mapping from
// other character sets). Fold first, or one person has several Matrix IDs:
//
//	user := "@irc_local_" + names.EscapeNick(mapping.Fold(nick)) + ":" + server
func EscapeNick(nick string) string {
	var b strings.Builder
	for i := range len(nick) {
		if localpartByte(nick[i]) {
			b.WriteByte(nick[i])
		} else {
			escapeByte(&b, nick[i])
		}
	}
	return b.String()
}

// UnescapeNick is the inverse of EscapeNick; it reports false for what
// EscapeNick never returns, so that no nick has two Matrix IDs.
func UnescapeNick(part string) (nick string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		c := part[i]
		if c != '=' {
			if !localpartByte(c) {
				return "", false
			}
			b.WriteByte(c)
			continue
		}
		c, ok := unescapeByte(part[i:])
		if !ok || localpartByte(c) || part[i:i+3] != strings.ToLower(part[i:i+3]) {
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	return b.String(), b.Len() > 0
}

// EscapeChannel turns a channel's name into a part of an alias localpart.
// Aliases may hold nearly everything, so that "#trestle" stays as it is; control
// and invisible characters, white space, ":", "=" and bytes that are not UTF-8
// become "=" and two hexadecimal digits for each byte. Fold first, or one channel
// has several aliases.
func EscapeChannel(channel string) string {
	var b strings.Builder
	for i := 0; i < len(channel); {
		r, size := utf8.DecodeRuneInString(channel[i:])
		broken := r == utf8.RuneError && size == 1
		if broken || r == ':' || r == '=' || r == ' ' || !unicode.IsPrint(r) {
			for _, c := range []byte(channel[i : i+size]) {
				escapeByte(&b, c)
			}
		} else {
			b.WriteString(channel[i : i+size])
		}
		i += size
	}
	return b.String()
}

// UnescapeChannel is the inverse of EscapeChannel, and forgiving, since people
// type aliases: "=" before anything but two hexadecimal digits is itself. The
// name comes back as it was typed; fold it before comparing. It reports false
// when the name could not go into an IRC command (empty, a space, a comma,
// a bell, CR, LF, NUL).
func UnescapeChannel(part string) (channel string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		if c, ok := unescapeByte(part[i:]); ok {
			b.WriteByte(c)
			i += 2
		} else {
			b.WriteByte(part[i])
		}
	}
	channel = b.String()
	return channel, channel != "" && !strings.ContainsAny(channel, " ,\a\r\n\x00")
}

func localpartByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' ||
		c == '.' || c == '_' || c == '-' || c == '/' || c == '+'
}

func escapeByte(b *strings.Builder, c byte) {
	const digits = "0123456789abcdef"
	b.WriteByte('=')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
}

func unescapeByte(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '=' {
		return 0, false
	}
	high, ok1 := hexDigit(s[1])
	low, ok2 := hexDigit(s[2])
	return high<<4 | low, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
