package format

import "strings"

// white is what HTML takes for white space; a no-break space is none.
const white = " \t\r\n\f"

// maxLinkText is how much of a link's text is compared with its address.
const maxLinkText = 4096

// text writes what is between tags. Outside of pre, runs of white space are one
// space, and none at the ends of a line.
func (r *renderer) text(text string) {
	e := r.top()
	if e.hidden {
		return
	}
	if e.pre {
		r.preformatted(text, e)
		return
	}
	for text != "" {
		if word := strings.TrimLeft(text, white); len(word) < len(text) {
			r.blank = !r.out.empty()
			text = word
			continue
		}
		end := strings.IndexAny(text, white)
		if end < 0 {
			end = len(text)
		}
		r.write(text[:end], e)
		text = text[end:]
	}
}

func (r *renderer) preformatted(text string, e *element) {
	for i, line := range splitLines(strings.ReplaceAll(text, "\t", "    ")) {
		if i > 0 {
			r.newline()
		}
		r.write(line, e)
	}
}

// write adds text to the line, after the space that is owed and, at the beginning, the
// prefixes of quotes and lists.
func (r *renderer) write(text string, e *element) {
	if text == "" || e.hidden {
		return
	}
	if r.out.empty() {
		r.out.write(r.prefix(), plainStyle)
	} else if r.blank {
		r.out.space(e.style)
	}
	r.blank = false
	r.out.write(text, e.style)
	for _, link := range r.open {
		if link.text != nil && link.text.Len() < maxLinkText {
			link.text.WriteString(text)
		}
	}
}
