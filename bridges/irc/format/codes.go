package format

import (
	"strconv"
	"strings"
)

// The codes of IRC formatting (modern.ircdocs.horse/formatting).
const (
	codeBold      = '\x02'
	codeColor     = '\x03'
	codeHexColor  = '\x04'
	codeReset     = '\x0f'
	codeMono      = '\x11'
	codeReverse   = '\x16'
	codeItalic    = '\x1d'
	codeStrike    = '\x1e'
	codeUnderline = '\x1f'
)

// A color is 0xRRGGBB, or noColor.
type color int32

const noColor color = -1

// A style is how a character looks. Its zero value is not plain: see plainStyle.
type style struct {
	bold, italic, underline, strike, mono, reverse bool
	fore, back                                     color
}

var plainStyle = style{fore: noColor, back: noColor}

// palette are the colours 0 to 98; 99 is none.
var palette = [99]color{
	0xffffff, 0x000000, 0x00007f, 0x009300, 0xff0000, 0x7f0000, 0x9c009c, 0xfc7f00,
	0xffff00, 0x00fc00, 0x009393, 0x00ffff, 0x0000fc, 0xff00ff, 0x7f7f7f, 0xd2d2d2,
	0x470000, 0x472100, 0x474700, 0x324700, 0x004700, 0x00472c, 0x004747, 0x002747, 0x000047, 0x2e0047, 0x470047, 0x47002a,
	0x740000, 0x743a00, 0x747400, 0x517400, 0x007400, 0x007449, 0x007474, 0x004074, 0x000074, 0x4b0074, 0x740074, 0x740045,
	0xb50000, 0xb56300, 0xb5b500, 0x7db500, 0x00b500, 0x00b571, 0x00b5b5, 0x0063b5, 0x0000b5, 0x7500b5, 0xb500b5, 0xb5006b,
	0xff0000, 0xff8c00, 0xffff00, 0xb2ff00, 0x00ff00, 0x00ffa0, 0x00ffff, 0x008cff, 0x0000ff, 0xa500ff, 0xff00ff, 0xff0098,
	0xff5959, 0xffb459, 0xffff71, 0xcfff60, 0x6fff6f, 0x65ffc9, 0x6dffff, 0x59b4ff, 0x5959ff, 0xc459ff, 0xff66ff, 0xff59bc,
	0xff9c9c, 0xffd39c, 0xffff9c, 0xe2ff9c, 0x9cff9c, 0x9cffdb, 0x9cffff, 0x9cd3ff, 0x9c9cff, 0xdc9cff, 0xff9cff, 0xff94d3,
	0x000000, 0x131313, 0x282828, 0x363636, 0x4d4d4d, 0x656565, 0x818181, 0x9f9f9f, 0xbcbcbc, 0xe2e2e2, 0xffffff,
}

// hex is "#rrggbb".
func (c color) hex() string {
	digits := strconv.FormatInt(int64(c), 16)
	return "#" + "000000"[len(digits):] + digits
}

// number is the palette's number of a colour: its own, or that of the one among the first 16,
// which every client knows, that looks most like it.
func (c color) number() int {
	best, least := 0, int64(1)<<62
	for i, p := range palette {
		if p == c {
			return i
		}
		// Weights of the three by how the eye sees them.
		distance := 3*square(c>>16-p>>16) + 6*square(c>>8&0xff-p>>8&0xff) + square(c&0xff-p&0xff)
		if i < 16 && distance < least {
			best, least = i, distance
		}
	}
	return best
}

func square(c color) int64 { return int64(c) * int64(c) }

// parseColor reads "#rgb", "#rrggbb" or one of HTML's first names of colours.
func parseColor(s string) (color, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	if c, ok := colorNames[s]; ok {
		return c, true
	}
	digits, ok := strings.CutPrefix(s, "#")
	if !ok {
		return noColor, false
	}
	if len(digits) == 3 {
		digits = digits[:1] + digits[:1] + digits[1:2] + digits[1:2] + digits[2:] + digits[2:]
	}
	if len(digits) != 6 {
		return noColor, false
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	return color(n), err == nil
}

var colorNames = map[string]color{
	"black": 0x000000, "silver": 0xc0c0c0, "gray": 0x808080, "grey": 0x808080, "white": 0xffffff,
	"maroon": 0x800000, "red": 0xff0000, "purple": 0x800080, "fuchsia": 0xff00ff, "magenta": 0xff00ff,
	"green": 0x008000, "lime": 0x00ff00, "olive": 0x808000, "yellow": 0xffff00, "navy": 0x000080,
	"blue": 0x0000ff, "teal": 0x008080, "aqua": 0x00ffff, "cyan": 0x00ffff, "orange": 0xffa500,
}

// takeCode reads the formatting code at the beginning of a text, if there is one, and
// tells its length and the style after it.
func takeCode(text string, s style) (style, int) {
	switch text[0] {
	case codeBold:
		s.bold = !s.bold
	case codeItalic:
		s.italic = !s.italic
	case codeUnderline:
		s.underline = !s.underline
	case codeStrike:
		s.strike = !s.strike
	case codeMono:
		s.mono = !s.mono
	case codeReverse:
		s.reverse = !s.reverse
	case codeReset:
		s = plainStyle
	case codeColor:
		return takeColors(text, s, takePaletteColor)
	case codeHexColor:
		return takeColors(text, s, takeHexColor)
	default:
		return s, 0
	}
	return s, 1
}

// takeColors reads "4", "4,12" or nothing, which ends both, behind the code.
func takeColors(text string, s style, take func(string) (color, int)) (style, int) {
	n := 1
	fore, length := take(text[n:])
	if length == 0 {
		s.fore, s.back = noColor, noColor
		return s, n
	}
	s.fore = fore
	n += length
	if n < len(text) && text[n] == ',' {
		if back, length := take(text[n+1:]); length > 0 {
			s.back = back
			n += 1 + length
		}
	}
	return s, n
}

func takePaletteColor(text string) (color, int) {
	n := 0
	for n < 2 && n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	if n == 0 {
		return noColor, 0
	}
	number, _ := strconv.Atoi(text[:n])
	if number >= len(palette) {
		return noColor, n
	}
	return palette[number], n
}

func takeHexColor(text string) (color, int) {
	if len(text) < 6 {
		return noColor, 0
	}
	n, err := strconv.ParseUint(text[:6], 16, 32)
	if err != nil {
		return noColor, 0
	}
	return color(n), 6
}
