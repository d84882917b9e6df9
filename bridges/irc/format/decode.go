package format

import (
	"strings"
	"unicode/utf8"
)

// Decode makes valid UTF-8 of bytes from IRC: what is not UTF-8 is read as
// Windows-1252, which is what old clients send. A character that a server or client has
// cut in two at the end or the beginning of a line does not make the rest something else.
// Each line has its own encoding.
func Decode(raw string) string {
	if utf8.ValidString(raw) {
		return raw
	}
	lines := strings.Split(raw, "\n")
	for i, line := range lines {
		lines[i] = decodeLine(line)
	}
	return strings.Join(lines, "\n")
}

func decodeLine(raw string) string {
	if utf8.ValidString(raw) {
		return raw
	}
	head, middle, tail := trimBroken(raw)
	if utf8.ValidString(middle) && !isASCII(middle) {
		return strings.Repeat("\ufffd", min(head, 1)) + middle + strings.Repeat("\ufffd", min(tail, 1))
	}
	var b strings.Builder
	for i := range len(raw) {
		switch c := raw[i]; {
		case c < 0x80 || c >= 0xa0:
			b.WriteRune(rune(c))
		default:
			b.WriteRune(windows1252[c-0x80])
		}
	}
	return b.String()
}

// trimBroken takes the rest of a character off the beginning, and the start of one off the
// end.
func trimBroken(raw string) (head int, middle string, tail int) {
	for head < 3 && head < len(raw) && !utf8.RuneStart(raw[head]) {
		head++
	}
	middle = raw[head:]
	for n := 1; n <= 3 && n <= len(middle); n++ {
		end := middle[len(middle)-n:]
		if utf8.RuneStart(end[0]) {
			if !utf8.FullRuneInString(end) {
				return head, middle[:len(middle)-n], n
			}
			break
		}
	}
	return head, middle, 0
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// windows1252 are the characters 0x80 to 0x9f.
var windows1252 = [32]rune{
	'€', '\ufffd', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\ufffd', 'Ž', '\ufffd',
	'\ufffd', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\ufffd', 'ž', 'Ÿ',
}

// Strip is the text without formatting codes, and without other control
// characters, line feeds aside.
func Strip(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		if _, n := takeCode(text[i:], plainStyle); n > 0 {
			i += n
			continue
		}
		_, size := utf8.DecodeRuneInString(text[i:])
		if !isControl(text[i : i+size]) {
			b.WriteString(text[i : i+size])
		}
		i += size
	}
	return b.String()
}

// isControl tells whether a character is one that is never shown: C0 and C1 controls but for the
// line feed and the tab.
func isControl(character string) bool {
	r, _ := utf8.DecodeRuneInString(character)
	return r < 0x20 && r != '\n' && r != '\t' || 0x7f <= r && r < 0xa0
}
