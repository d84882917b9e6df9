package format

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

const (
	// maxDepth bounds the elements that are open at the same time; deeper ones are taken for
	// their text.
	maxDepth = 100
	// maxToken bounds one tag or piece of text; Matrix events have no more than 64 KiB.
	maxToken = 1 << 20
)

// A renderer walks over HTML token by token, which takes linear time whatever the
// nesting, and keeps the elements that are open.
type renderer struct {
	opts  ToOptions
	out   *lineWriter
	open  []*element
	blank bool // a space is owed, if text follows in the same line
}

// An element is one that is open.
type element struct {
	name   string
	tag    atom.Atom // 0 if HTML does not know it
	style  style     // of what is in it
	pre    bool      // white space counts
	hidden bool      // its text is left out
	marker string    // of a list item, until it is written
	number int       // of the next item of a list; 0: no numbers
	cells  int       // of a table row, so far
	href   string
	text   *strings.Builder // of a link: what was written so far
}

func (r *renderer) render(source string) {
	r.open = []*element{{style: plainStyle}}
	tokens := html.NewTokenizer(strings.NewReader(source))
	tokens.SetMaxBuf(maxToken)
	for !r.out.cut {
		kind := tokens.Next()
		token := tokens.Token()
		switch kind {
		case html.ErrorToken:
			r.closeTo(1)
			return
		case html.TextToken:
			r.text(token.Data)
		case html.StartTagToken, html.SelfClosingTagToken:
			r.start(token)
		case html.EndTagToken:
			r.end(token)
		}
	}
}

func (r *renderer) top() *element { return r.open[len(r.open)-1] }

// start opens an element.
func (r *renderer) start(token html.Token) {
	r.implyEnds(token.DataAtom)
	parent := r.top()
	e := &element{name: token.Data, tag: token.DataAtom, style: parent.style, pre: parent.pre, hidden: parent.hidden}
	if !e.hidden {
		if isBlock(e.tag) {
			r.block()
		}
		if r.leaf(token, parent) {
			return
		}
		r.shape(token, e, parent)
	}
	if token.Type != html.SelfClosingTagToken && len(r.open) < maxDepth {
		r.open = append(r.open, e)
	}
}

// implyEnds closes what an element ends without saying so.
func (r *renderer) implyEnds(tag atom.Atom) {
	var closes, within []atom.Atom
	switch tag {
	case atom.Li:
		closes, within = []atom.Atom{atom.Li}, []atom.Atom{atom.Ul, atom.Ol}
	case atom.Tr:
		closes, within = []atom.Atom{atom.Tr}, []atom.Atom{atom.Table}
	case atom.Td, atom.Th:
		closes, within = []atom.Atom{atom.Td, atom.Th}, []atom.Atom{atom.Tr, atom.Table}
	case atom.P:
		closes, within = []atom.Atom{atom.P}, []atom.Atom{atom.Div, atom.Blockquote, atom.Li, atom.Td}
	default:
		return
	}
	for i := len(r.open) - 1; i > 0; i-- {
		for _, boundary := range within {
			if r.open[i].tag == boundary {
				return
			}
		}
		for _, other := range closes {
			if r.open[i].tag == other {
				r.closeTo(i)
				return
			}
		}
	}
}

// end closes an element, and those within it that were not closed. A tag that
// closes nothing is ignored.
func (r *renderer) end(token html.Token) {
	if token.DataAtom == atom.Br && !r.top().hidden {
		r.newline()
		return
	}
	for i := len(r.open) - 1; i > 0; i-- {
		if r.open[i].name == token.Data {
			r.closeTo(i)
			return
		}
	}
}

// closeTo leaves n elements open.
func (r *renderer) closeTo(n int) {
	for len(r.open) > n {
		e := r.top()
		r.open = r.open[:len(r.open)-1]
		if e.text != nil {
			r.endLink(e)
		}
		if !e.hidden && isBlock(e.tag) {
			r.block()
		}
	}
}

func isBlock(tag atom.Atom) bool {
	switch tag {
	case atom.P, atom.Div, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Ul, atom.Ol, atom.Li,
		atom.Blockquote, atom.Pre, atom.Hr, atom.Table, atom.Tr, atom.Caption, atom.Details, atom.Summary,
		atom.Dl, atom.Dt, atom.Dd, atom.Section, atom.Article, atom.Header, atom.Footer:
		return true
	}
	return false
}

// block begins a new line unless this one has nothing yet.
func (r *renderer) block() {
	if !r.out.empty() {
		r.newline()
	}
	r.blank = false
}

func (r *renderer) newline() {
	r.out.newline()
	r.blank = false
}

// prefix is what a line begins with in quotes and lists.
func (r *renderer) prefix() string {
	prefix := ""
	for _, e := range r.open {
		switch {
		case e.tag == atom.Blockquote:
			prefix += "> "
		case e.marker != "":
			prefix += e.marker
			e.marker = ""
		case e.tag == atom.Li:
			prefix += "  "
		}
	}
	return prefix
}
