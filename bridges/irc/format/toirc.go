package format

import (
	"strings"
)

// ToOptions says how Matrix things are named on IRC, and how much may come out.
type ToOptions struct {
	// User gives the nick for a pill of a user; without one the pill's text is used.
	User func(userID string) (nick string, ok bool)
	// Room gives the channel for a pill of a room ID or alias.
	Room func(roomIDOrAlias string) (channel string, ok bool)
	// Media gives a link that opens on the web for an mxc:// URI (images in the text).
	Media func(mxc string) (url string, ok bool)
	// MaxBytes bounds the output; longer texts are cut at a character, and Cut is
	// reported. 0: 64 KiB.
	MaxBytes int
}

// Lines is a text for IRC.
type Lines struct {
	Text []string // never empty strings, never CR, LF or NUL; formatting ends with each line
	Cut  bool     // the text was longer than MaxBytes
}

const defaultMaxBytes = 64 << 10

// ToIRC turns a message's HTML (formatted_body) into lines with formatting
// codes. The reply fallback (mx-reply) is left out. What is nested deeper than anybody
// nests loses its formatting, not its text.
func ToIRC(html string, opts ToOptions) Lines {
	r := &renderer{opts: opts, out: newLineWriter(opts.MaxBytes)}
	r.render(html)
	return r.out.finish()
}

// Plain turns a message's plain body into lines. Codes and control characters that a
// Matrix user typed are removed, so that nobody forges formatting or CTCP.
func Plain(body string, opts ToOptions) Lines {
	w := newLineWriter(opts.MaxBytes)
	for i, line := range splitLines(body) {
		if i > 0 {
			w.newline()
		}
		w.write(line, plainStyle)
	}
	return w.finish()
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n")

func splitLines(text string) []string { return strings.Split(lineEnds.Replace(text), "\n") }

// A lineWriter makes lines, each with the codes that its text needs.
type lineWriter struct {
	lines   []string
	line    strings.Builder
	current style // as codes in the line say
	left    int   // bytes that may still come
	cut     bool
}

func newLineWriter(maxBytes int) *lineWriter {
	if maxBytes <= 0 {
		maxBytes = defaultMaxBytes
	}
	return &lineWriter{current: plainStyle, left: maxBytes}
}

func (w *lineWriter) empty() bool { return w.line.Len() == 0 }

// newline ends the line; IRC has no empty ones, so these vanish.
func (w *lineWriter) newline() {
	line := strings.TrimRight(w.line.String(), " ")
	w.line.Reset()
	w.current = plainStyle
	if strings.TrimSpace(Strip(line)) != "" {
		w.lines = append(w.lines, line)
	}
}

// write adds text without line ends.
func (w *lineWriter) write(text string, s style) {
	text = printable(text)
	if text == "" || w.cut {
		return
	}
	w.add(transition(w.current, s, text))
	w.current = s
	w.add(text)
}

// space adds the space before text of a style; it has of both what they have in common.
func (w *lineWriter) space(next style) { w.write(" ", common(w.current, next)) }

// add appends as much as may come, without cutting a character.
func (w *lineWriter) add(text string) {
	if w.cut {
		return
	}
	if len(text) > w.left {
		text, w.cut = strings.ToValidUTF8(text[:w.left], ""), true
	}
	w.left -= len(text)
	w.line.WriteString(text)
}

func (w *lineWriter) finish() Lines {
	w.newline()
	return Lines{Text: w.lines, Cut: w.cut}
}

// printable removes what could be a code, and makes spaces of tabs.
func printable(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\u00a0' || r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case r < 0x20, 0x7f <= r && r < 0xa0:
			return -1
		}
		return r
	}, text)
}

// common is what two styles have in common.
func common(a, b style) style {
	s := style{
		bold: a.bold && b.bold, italic: a.italic && b.italic, underline: a.underline && b.underline,
		strike: a.strike && b.strike, mono: a.mono && b.mono, fore: noColor, back: noColor,
	}
	if a.fore == b.fore && a.back == b.back {
		s.fore, s.back = a.fore, a.back
	}
	return s
}

// transition are the codes from one style to another, before a text.
func transition(from, to style, text string) string {
	recolored := from.fore != to.fore || from.back != to.back
	toggles := toggled(from, to)
	// Colours can only be taken back together, and a bare code 3 would swallow digits behind it.
	if from.fore != noColor && to.fore == noColor || from.back != noColor && to.back == noColor ||
		to == plainStyle && len(toggles) > 1 {
		recolored = to.fore != noColor || to.back != noColor
		toggles = string([]byte{codeReset}) + toggled(plainStyle, to)
	}
	if recolored {
		toggles += colorCode(to, text)
	}
	return toggles
}

// toggled are the codes that make a style of another, colours aside.
func toggled(from, to style) string {
	var codes []byte
	for _, toggle := range []struct {
		change bool
		code   byte
	}{
		{from.bold != to.bold, codeBold}, {from.italic != to.italic, codeItalic},
		{from.underline != to.underline, codeUnderline}, {from.strike != to.strike, codeStrike},
		{from.mono != to.mono, codeMono},
	} {
		if toggle.change {
			codes = append(codes, toggle.code)
		}
	}
	return string(codes)
}

// colorCode always has two digits, so that digits in the text are the text's.
func colorCode(s style, text string) string {
	code := string([]byte{codeColor}) + twoDigits(s.fore)
	switch {
	case s.back != noColor:
		return code + "," + twoDigits(s.back)
	case len(text) > 1 && text[0] == ',' && '0' <= text[1] && text[1] <= '9':
		// Bold on and off keeps the text's comma out of the code.
		return code + string([]byte{codeBold, codeBold})
	}
	return code
}

func twoDigits(c color) string {
	if c == noColor {
		return "99"
	}
	n := c.number()
	return string([]byte{byte('0' + n/10), byte('0' + n%10)})
}
