package wire

import (
	"strings"
	"unicode/utf8"
)

// The codes that begin and end a look; colours aside.
const (
	codeReset   = '\x0f'
	codeReverse = '\x16'
	hexDigits   = 6
	toggles     = "\x02\x1d\x1f\x1e\x11\x16" // bold, italic, underline, strikethrough, monospace, reverse
)

// carried are the codes by which a text looks at the beginning of a piece as it does at the end of what was said
// before. A message begins without any: what is cut there would be plain, and a spoiler would be there to read.
func carried(before, next string) string {
	on, color := "", ""
	for i := 0; i < len(before); {
		switch c := before[i]; {
		case c == codeReset:
			on, color = "", ""
		case strings.IndexByte(toggles, c) >= 0:
			if strings.IndexByte(on, c) >= 0 {
				on = strings.ReplaceAll(on, string(rune(c)), "")
			} else {
				on += string(rune(c))
			}
		case c == codeColor || c == codeHexColor:
			end := colorEnd(before, i)
			color = recolored(color, before[i:end])
			i = end
			continue
		}
		i++
	}
	if color != "" && len(next) > 1 && next[0] == ',' && isDigit(next[1], color[0] == codeHexColor) && !strings.Contains(color, ",") {
		color += "\x02\x02" // keeps the text's comma out of the code
	}
	return on + color
}

// colorEnd is where the code of a colour ends that begins at i.
func colorEnd(text string, i int) int {
	var s segmenter
	s.take(rune(text[i]))
	for i++; i < len(text) && s.inCode(rune(text[i])); i++ {
		s.take(rune(text[i]))
	}
	if text[i-1] == ',' { // the text's
		i--
	}
	return i
}

// recolored is the colour after a code: one without a number ends colours, one without a background leaves that as it was.
func recolored(before, code string) string {
	if len(code) == 1 {
		return ""
	}
	fore, back, both := strings.Cut(code[1:], ",")
	if _, old, had := strings.Cut(before, ","); !both && had && before[0] == code[0] {
		back, both = old, true
	}
	if code[0] == codeColor {
		fore, back = twoDigits(fore), twoDigits(back)
	} else if len(fore) != hexDigits {
		return "" // as without a number
	} else if len(back) != hexDigits {
		both = false
	}
	if !both {
		return code[:1] + fore
	}
	return code[:1] + fore + "," + back
}

// twoDigits has digits of the text not be taken for the code's.
func twoDigits(number string) string {
	if len(number) == 1 {
		return "0" + number
	}
	return number
}

func isDigit(c byte, hex bool) bool {
	return '0' <= c && c <= '9' || hex && 'a' <= c|0x20 && c|0x20 <= 'f'
}

// pieceAt is what is said of a line from an offset on, in so many bytes at most, and how many of the line's bytes that
// are. It looks as it would in the line, whether or not those who see it have joined the pieces.
func pieceAt(line string, offset, limit int, joined bool) (text string, taken int, more bool) {
	offset = min(offset, len(line))
	before := carried(line[:offset], line[offset:])
	if before != "" && joined {
		before = string(rune(codeReset)) + before
	}
	if len(before) > limit/2 {
		before = ""
	}
	rest, room := line[offset:], max(limit-len(before), utf8.UTFMax)
	switch {
	case rest == "":
		return "", 0, false
	case len(rest) <= room:
		return before + rest, len(rest), false
	}
	end := cutAt(rest, room)
	return before + rest[:end], end, true
}
