package format

import (
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// leaf writes elements without content.
func (r *renderer) leaf(token html.Token, parent *element) bool {
	switch token.DataAtom {
	case atom.Br:
		r.newline()
	case atom.Hr:
		r.write("---", parent)
		r.newline()
	case atom.Img:
		r.write(r.image(token), parent)
	case atom.Wbr, atom.Input, atom.Meta, atom.Link, atom.Col, atom.Area, atom.Base, atom.Embed, atom.Source, atom.Track, atom.Param:
	default:
		return false
	}
	return true
}

// image is the text for a picture: what it shows, and where. Emoticons are their names.
func (r *renderer) image(token html.Token) string {
	name := strings.TrimSpace(attribute(token, "alt"))
	if name == "" {
		name = strings.TrimSpace(attribute(token, "title"))
	}
	if _, emoticon := lookUp(token, "data-mx-emoticon"); emoticon && name != "" {
		return name
	}
	if name == "" {
		name = "image"
	}
	if source := attribute(token, "src"); r.opts.Media != nil && strings.HasPrefix(source, "mxc://") {
		if url, ok := r.opts.Media(source); ok {
			return name + " (" + url + ")"
		}
	}
	return name
}

// shape says what an element does to its content.
func (r *renderer) shape(token html.Token, e, parent *element) {
	switch e.tag {
	case atom.B, atom.Strong, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Summary, atom.Caption, atom.Dt:
		e.style.bold = true
	case atom.I, atom.Em, atom.Cite, atom.Var, atom.Dfn:
		e.style.italic = true
	case atom.U, atom.Ins:
		e.style.underline = true
	case atom.Del, atom.S, atom.Strike:
		e.style.strike = true
	case atom.Code, atom.Tt, atom.Kbd, atom.Samp:
		e.style.mono = true
	case atom.Pre:
		e.style.mono, e.pre = true, true
	case atom.Script, atom.Style, atom.Head, atom.Title, atom.Template, atom.Iframe, atom.Object, atom.Noscript, atom.Textarea:
		e.hidden = true
	case atom.A:
		r.startLink(token, e, parent)
	case atom.Span, atom.Font:
		r.span(token, e, parent)
	case atom.Sup:
		r.write("^", parent)
	case atom.Sub:
		r.write("_", parent)
	case atom.Ol, atom.Ul, atom.Li, atom.Td, atom.Th:
		r.shapeList(token, e, parent)
	}
	if e.name == "mx-reply" {
		e.hidden = true
	}
}

// shapeList is shape for lists and tables.
func (r *renderer) shapeList(token html.Token, e, parent *element) {
	switch e.tag {
	case atom.Ol:
		e.number = 1
		if start, err := strconv.Atoi(attribute(token, "start")); err == nil && start > 0 && start < 1e6 {
			e.number = start
		}
	case atom.Li:
		e.marker = "• "
		if parent.tag == atom.Ol {
			e.marker = strconv.Itoa(parent.number) + ". "
			parent.number++
		}
	case atom.Td, atom.Th:
		e.style.bold = e.style.bold || e.tag == atom.Th
		if parent.cells++; parent.cells > 1 {
			r.blank = false
			r.write(" | ", parent)
		}
	}
}

// span takes colours and spoilers. A spoiler is text in the colour of its background, after its
// reason.
func (r *renderer) span(token html.Token, e, parent *element) {
	for _, name := range []string{"color", "data-mx-color"} {
		if c, ok := parseColor(attribute(token, name)); ok {
			e.style.fore = c
		}
	}
	if c, ok := parseColor(attribute(token, "data-mx-bg-color")); ok {
		e.style.back = c
	}
	reason, spoiler := lookUp(token, "data-mx-spoiler")
	if !spoiler {
		return
	}
	if reason = strings.TrimSpace(reason); reason != "" {
		r.write("("+reason+")", parent)
		r.blank = true
	}
	e.style.fore, e.style.back = palette[1], palette[1]
}

// startLink writes pills by their names on IRC. Other links are followed by where they lead.
func (r *renderer) startLink(token html.Token, e, parent *element) {
	e.href = strings.TrimSpace(attribute(token, "href"))
	id, onMatrix := target(e.href)
	name := r.opts.Room
	if strings.HasPrefix(id, "@") {
		name = r.opts.User
	}
	if onMatrix && name != nil {
		if known, ok := name(id); ok {
			r.write(known, parent)
			e.hidden = true
			return
		}
	}
	if strings.HasPrefix(id, "@") || !linkable(e.href) {
		return
	}
	e.text = &strings.Builder{}
}

// endLink writes where a link leads, unless its text says so.
func (r *renderer) endLink(e *element) {
	switch text := e.text.String(); {
	case strings.TrimSpace(text) == "":
		r.write(e.href, r.top())
	case !sameLink(text, e.href):
		r.blank = false
		r.write(" ("+e.href+")", r.top())
	}
}

func attribute(token html.Token, name string) string {
	value, _ := lookUp(token, name)
	return value
}

func lookUp(token html.Token, name string) (value string, ok bool) {
	for _, a := range token.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}
