package format

import (
	"html"
	"strings"
	"unicode/utf8"
)

// FromOptions says what FromIRC may link.
type FromOptions struct {
	// Mention, if not nil, is asked for each word that could be a nick. For those that it
	// knows the HTML gets a pill with the user's Matrix ID. A message is addressed to the nick
	// with which it begins, if a colon or a comma follows.
	Mention func(nick string, addressed bool) (userID string, ok bool)
	// Suffix may stand at the end of a nick though it is not made of what nicks are made of.
	Suffix string
}

// FromIRC turns one or more lines of IRC text (joined by "\n") into the two forms of
// a Matrix message: the plain body without codes, and HTML, which is empty when
// there was no formatting. Links are left alone, so that clients make them
// clickable. Both are valid UTF-8 whatever came in (see Decode).
func FromIRC(text string, opts FromOptions) (body, formatted string) {
	w := &htmlWriter{mention: opts.Mention, suffix: opts.Suffix, open: plainStyle}
	for i, line := range strings.Split(Decode(text), "\n") {
		if i > 0 {
			w.newline()
		}
		w.line(line)
	}
	w.to(plainStyle)
	if w.formatted {
		formatted = w.html.String()
	}
	return w.body.String(), formatted
}

// An htmlWriter writes both forms.
type htmlWriter struct {
	mention   func(string, bool) (string, bool)
	suffix    string
	asked     int // words that were looked at
	body      strings.Builder
	html      strings.Builder
	open      style // of the elements that are open
	formatted bool  // the HTML says more than the body
}

func (w *htmlWriter) newline() {
	w.to(plainStyle)
	w.body.WriteByte('\n')
	w.html.WriteString("<br>")
}

// line writes one line, whose formatting ends with it.
func (w *htmlWriter) line(line string) {
	current, start := plainStyle, 0
	for i := 0; i < len(line); {
		next, n := takeCode(line[i:], current)
		if n == 0 {
			i++
			continue
		}
		w.run(line[start:i], current)
		current = next
		i += n
		start = i
	}
	w.run(line[start:], current)
}

// run writes text of one style.
func (w *htmlWriter) run(text string, s style) {
	text = Strip(text)
	if text == "" {
		return
	}
	w.to(s)
	w.body.WriteString(text)
	w.words(text)
}

// to closes and opens elements until they make a style. They nest in a fixed order, so
// what is inside of what changes is closed and opened again.
func (w *htmlWriter) to(s style) {
	if s == w.open {
		return
	}
	now, next := elements(w.open), elements(s)
	same := 0
	for same < len(now) && same < len(next) && now[same] == next[same] {
		same++
	}
	for i := len(now) - 1; i >= same; i-- {
		name, _, _ := strings.Cut(now[i], " ")
		w.html.WriteString("</" + name + ">")
	}
	for _, element := range next[same:] {
		w.html.WriteString("<" + element + ">")
		w.formatted = true
	}
	w.open = s
}

// elements are what makes a style, from the outside in.
func elements(s style) []string {
	var list []string
	if attributes := colors(s); attributes != "" {
		list = append(list, "span"+attributes)
	}
	for _, flag := range []struct {
		on      bool
		element string
	}{{s.bold, "strong"}, {s.italic, "em"}, {s.underline, "u"}, {s.strike, "del"}, {s.mono, "code"}} {
		if flag.on {
			list = append(list, flag.element)
		}
	}
	return list
}

// colors are the attributes of a span. Text in the colour of its background is how one hides it
// on IRC.
func colors(s style) string {
	fore, back := s.fore, s.back
	if fore != noColor && fore == back {
		return " data-mx-spoiler"
	}
	if s.reverse {
		fore, back = back, fore
		if back == noColor {
			back = 0x000000
		}
		if fore == noColor {
			fore = 0xffffff
		}
	}
	attributes := ""
	if fore != noColor {
		attributes += ` data-mx-color="` + fore.hex() + `"`
	}
	if back != noColor {
		attributes += ` data-mx-bg-color="` + back.hex() + `"`
	}
	return attributes
}

// text escapes, and keeps what HTML would make one space of.
func (w *htmlWriter) text(s string) {
	s = strings.ReplaceAll(s, "\t", "    ")
	w.html.WriteString(html.EscapeString(strings.ReplaceAll(s, "  ", " \u00a0")))
}

// maxMentions bounds the words of a message that are looked at.
const maxMentions = 500

// words writes text with pills for nicks.
func (w *htmlWriter) words(text string) {
	if w.mention == nil {
		w.text(text)
		return
	}
	first := w.body.Len() == len(text) // of the message
	done := 0
	for i := 0; i < len(text); {
		size := nickLength(text[i:])
		if size == 0 {
			_, size = utf8.DecodeRuneInString(text[i:])
			i += size
			continue
		}
		start, end := i, i+size
		i = end
		if w.asked++; w.asked > maxMentions {
			break
		}
		if w.suffix != "" && strings.HasPrefix(text[end:], w.suffix) && nickLength(text[end+len(w.suffix):]) == 0 {
			end += len(w.suffix)
			i = end
		}
		if isLink(text, start, end) {
			continue
		}
		start, end, user, ok := w.lookUp(text, start, end, first && start == 0)
		if !ok {
			continue
		}
		w.text(text[done:start])
		w.html.WriteString(`<a href="https://matrix.to/#/` + html.EscapeString(escapeID(user)) + `">`)
		w.html.WriteString(html.EscapeString(text[start:end]) + "</a>")
		w.formatted = true
		done = end
	}
	w.text(text[done:])
}

// lookUp asks for a word, and then for what is within its brackets and the like, which nicks
// may have and people put around them.
func (w *htmlWriter) lookUp(text string, start, end int, first bool) (from, to int, user string, ok bool) {
	addressed := first && end < len(text) && strings.IndexByte(":,", text[end]) >= 0
	if user, ok = w.mention(text[start:end], addressed); ok {
		return start, end, user, true
	}
	const around = "[]{}|\\`^_-"
	inner := strings.TrimLeft(text[start:end], around)
	from = end - len(inner)
	to = from + len(strings.TrimRight(inner, around))
	if from == to || from == start && to == end {
		return 0, 0, "", false
	}
	user, ok = w.mention(text[from:to], false)
	return from, to, user, ok
}

// nickLength is how long the word at the beginning of a text is, of what nicks are made of.
func nickLength(text string) int {
	n := 0
	for n < len(text) && (text[n] >= 0x80 || isNickByte(text[n])) {
		n++
	}
	return n
}

func isNickByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-[]\\`_^{|}", c) >= 0
}

// isLink tells whether a word is part of a link, an address or a channel's name.
func isLink(text string, start, end int) bool {
	token := start
	for token > 0 && text[token-1] != ' ' && start-token < 2000 {
		token--
	}
	before := text[token:start]
	if strings.Contains(before, "://") || strings.HasSuffix(before, "/") || strings.ContainsAny(before, "#&") {
		return true
	}
	if len(before) > 0 && strings.HasSuffix(before, ".") || strings.HasSuffix(before, "@") && len(before) > 1 {
		return true
	}
	if end+1 >= len(text) || !isNickByte(text[end+1]) && text[end+1] != '/' {
		return false
	}
	return text[end] == '.' || text[end] == '@' || text[end] == '/' || strings.HasPrefix(text[end:], "://")
}
