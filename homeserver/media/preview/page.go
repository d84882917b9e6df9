package preview

import (
	"io"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"
)

// A Page is what an HTML document says about itself: the properties of the
// Open Graph protocol, as far as it has them or they can be told otherwise.
type Page struct {
	Properties map[string]string
	Images     []string // absolute URLs, the best first
}

// Limits of what is kept of a page.
const (
	maxProperties = 64
	maxValue      = 1024 // bytes
	maxText       = 400  // bytes of a description that is put together
	maxImages     = 4
	maxTokens     = 200_000
	maxName       = 100 // bytes
)

// Parse reads a document that was found at base. The content type is that of
// the answer, which may name the encoding. What is malformed is read as far as
// it goes.
func Parse(r io.Reader, contentType string, base *url.URL) *Page {
	p := &parser{base: base, meta: map[string]string{}}
	if decoded, err := charset.NewReader(r, contentType); err == nil {
		p.read(html.NewTokenizer(decoded))
	}
	return p.page()
}

// isHTML reports whether a content type is that of a document for Parse.
func isHTML(contentType string) bool {
	kind, _, _ := mime.ParseMediaType(contentType)
	return kind == "text/html" || kind == "application/xhtml+xml"
}

type parser struct {
	base *url.URL

	meta   map[string]string // by property or name; the first of each
	images []string          // og:image, in order
	others []string          // further candidates for images
	title  strings.Builder
	head   strings.Builder // the first h1
	text   strings.Builder // of paragraphs

	inside  atom.Atom // of title, h1 or p
	skipped atom.Atom // script or the like, whose text is none
	headed  bool
}

func (p *parser) read(z *html.Tokenizer) {
	z.SetMaxBuf(256 << 10)
	for range maxTokens {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.StartTagToken, html.SelfClosingTagToken:
			name, attributes := z.TagName()
			p.start(z, atom.Lookup(name), attributes)
		case html.EndTagToken:
			name, _ := z.TagName()
			p.end(atom.Lookup(name))
		case html.TextToken:
			if p.skipped == 0 && p.inside != 0 {
				p.add(z.Text())
			}
		}
	}
}

func (p *parser) start(z *html.Tokenizer, tag atom.Atom, attributes bool) {
	switch tag {
	case atom.Meta:
		a := read(z, attributes)
		name := a["property"]
		if name == "" {
			name = a["name"]
		}
		p.set(strings.ToLower(clean(name, maxName)), a["content"])
	case atom.Link:
		a := read(z, attributes)
		for _, rel := range strings.Fields(strings.ToLower(a["rel"])) {
			if rel == "image_src" || rel == "apple-touch-icon" {
				p.others = append(p.others, a["href"])
			}
		}
	case atom.Title, atom.H1, atom.P:
		if tag == atom.P && p.text.Len() > 0 {
			p.text.WriteByte('\n')
		}
		p.inside = tag
	case atom.Script, atom.Style, atom.Noscript, atom.Svg, atom.Template:
		p.skipped = tag
	}
	if len(p.others) > maxImages {
		p.others = p.others[:maxImages]
	}
}

func (p *parser) end(tag atom.Atom) {
	if tag == p.skipped {
		p.skipped = 0
	}
	if tag == p.inside {
		p.inside = 0
		p.headed = p.headed || tag == atom.H1
	}
}

func (p *parser) add(text []byte) {
	into, most := &p.text, maxText*4
	switch {
	case p.inside == atom.Title:
		into, most = &p.title, maxValue
	case p.inside == atom.H1 && !p.headed:
		into, most = &p.head, maxValue
	case p.inside == atom.H1:
		return
	}
	if left := most - into.Len(); left > 0 {
		into.Write(text[:min(len(text), left)])
	}
}

// read is the attributes of a tag, the first of each name.
func read(z *html.Tokenizer, more bool) map[string]string {
	const most = 32
	a := map[string]string{}
	for n := 0; more && n < most; n++ {
		var key, value []byte
		key, value, more = z.TagAttr()
		if _, known := a[string(key)]; !known {
			a[string(key)] = string(value)
		}
	}
	return a
}

func (p *parser) set(name, value string) {
	if name == "og:image" || name == "og:image:url" || name == "og:image:secure_url" {
		if len(p.images) < maxImages {
			p.images = append(p.images, value)
		}
		return
	}
	wanted := strings.HasPrefix(name, "og:") || strings.HasPrefix(name, "twitter:") || name == "description"
	if _, known := p.meta[name]; known || !wanted || len(p.meta) >= 2*maxProperties {
		return
	}
	if value = clean(value, maxValue); value != "" {
		p.meta[name] = value
	}
}

// page puts together what was found.
func (p *parser) page() *Page {
	page := &Page{Properties: map[string]string{}}
	for name, value := range p.meta {
		// Sizes and types of images are those of the one that is kept.
		if strings.HasPrefix(name, "og:") && !strings.HasPrefix(name, "og:image") && len(page.Properties) < maxProperties {
			page.Properties[name] = value
		}
	}
	first := func(name string, most int, candidates ...string) {
		for _, text := range candidates {
			if text = clean(text, most); text != "" && page.Properties[name] == "" {
				page.Properties[name] = text
			}
		}
	}
	first("og:title", maxValue, p.meta["twitter:title"], p.title.String(), p.head.String())
	first("og:description", maxText, p.meta["twitter:description"], p.meta["description"], p.text.String())
	first("og:site_name", maxValue, p.meta["twitter:site"])
	for _, image := range append(append(p.images, p.meta["twitter:image"], p.meta["twitter:image:src"]), p.others...) {
		if at := p.resolve(image); at != "" && len(page.Images) < maxImages {
			page.Images = append(page.Images, at)
		}
	}
	return page
}

// resolve makes a reference absolute; empty if it is not to be fetched.
func (p *parser) resolve(reference string) string {
	reference = strings.TrimSpace(reference)
	if reference == "" || len(reference) > maxURL {
		return ""
	}
	u, err := url.Parse(reference)
	if err != nil {
		return ""
	}
	if u = p.base.ResolveReference(u); u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return ""
	}
	u.Fragment = ""
	return u.String()
}

// clean makes one line of a text, without what cannot be printed, of at most
// so many bytes.
func clean(text string, most int) string {
	var b strings.Builder
	space := false
	for _, r := range text {
		switch {
		case r == utf8.RuneError || r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0x7f:
			continue
		case r == ' ' || r == '\n' || r == '\t' || r == '\r' || r == '\u00a0':
			space = b.Len() > 0
			continue
		}
		need := utf8.RuneLen(r)
		if space {
			need++
		}
		if b.Len()+need > most-len("…") {
			return b.String() + "…"
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
