package claims

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Template is a text with the names of claims in braces:
// "{preferred_username}", "{given_name} {family_name}". Behind a name there
// may be filters: "{email|localpart|lower}". The zero value is empty.
type Template struct{ parts []part }

// A part is a literal text or, with a name, a claim.
type part struct {
	literal string
	name    string
	filters []string
}

var filters = map[string]func(string) string{
	// What is before the last @ of an address.
	"localpart": func(text string) string {
		if i := strings.LastIndexByte(text, '@'); i >= 0 {
			return text[:i]
		}
		return text
	},
	"lower": strings.ToLower,
}

// maxTemplate bounds a template, in bytes.
const maxTemplate = 500

// Parse reads a template.
func Parse(text string) (Template, error) {
	var t Template
	if len(text) > maxTemplate {
		return t, fmt.Errorf("is longer than %d bytes", maxTemplate)
	}
	for text != "" {
		open := strings.IndexAny(text, "{}")
		if open < 0 {
			open = len(text)
		}
		if open > 0 {
			t.parts = append(t.parts, part{literal: text[:open]})
			text = text[open:]
			continue
		}
		end := strings.IndexByte(text, '}')
		if text[0] == '}' || end < 0 || strings.IndexByte(text[1:end], '{') >= 0 {
			return Template{}, errors.New("has a brace without the other one")
		}
		p, err := parseClaim(text[1:end])
		if err != nil {
			return Template{}, err
		}
		t.parts = append(t.parts, p)
		text = text[end+1:]
	}
	return t, nil
}

func parseClaim(text string) (part, error) {
	words := strings.Split(text, "|")
	for i, word := range words {
		words[i] = strings.TrimSpace(word)
		if words[i] == "" {
			return part{}, errors.New("has braces without a name")
		}
	}
	for _, filter := range words[1:] {
		if filters[filter] == nil {
			return part{}, fmt.Errorf("%.80q is no filter; there are localpart and lower", filter)
		}
	}
	return part{name: words[0], filters: words[1:]}, nil
}

// Names are the claims that a template needs.
func (t Template) Names() []string {
	var names []string
	for _, p := range t.parts {
		if p.name != "" && !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	return names
}

// Apply puts the claims in. Where one of them is missing or empty so is the
// whole: half a name is none.
func (t Template) Apply(c Claims) string {
	var b strings.Builder
	for _, p := range t.parts {
		text := p.literal
		if p.name != "" {
			text = c.Text(p.name)
			for _, filter := range p.filters {
				text = filters[filter](text)
			}
			if text == "" {
				return ""
			}
		}
		b.WriteString(text)
		if b.Len() > 2*maxText {
			break
		}
	}
	return clean(b.String())
}

// String is the template as it could have been written.
func (t Template) String() string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.literal)
			continue
		}
		b.WriteString("{" + strings.Join(append([]string{p.name}, p.filters...), "|") + "}")
	}
	return b.String()
}
