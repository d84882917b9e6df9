package mail

import (
	"fmt"
	htmltemplate "html/template"
	"strings"
	"text/template"
)

// A Template makes messages: of the same values a text and an HTML page, in
// which they are escaped. There may be no page.
type Template struct {
	subject, text *template.Template
	html          *htmltemplate.Template
}

// MustTemplate parses the three parts; templates are written with the program,
// so that a mistake in one panics.
func MustTemplate(subject, text, html string) *Template {
	return &Template{
		subject: template.Must(template.New("subject").Parse(subject)),
		text:    template.Must(template.New("text").Parse(text)),
		html:    htmltemplate.Must(htmltemplate.New("html").Parse(html)),
	}
}

// Message fills the template in.
func (t *Template) Message(to string, values any) (Message, error) {
	m := Message{To: to}
	for _, part := range []struct {
		into *string
		fill func(*strings.Builder) error
	}{
		{&m.Subject, func(b *strings.Builder) error { return t.subject.Execute(b, values) }},
		{&m.Text, func(b *strings.Builder) error { return t.text.Execute(b, values) }},
		{&m.HTML, func(b *strings.Builder) error { return t.page(b, values) }},
	} {
		var b strings.Builder
		if err := part.fill(&b); err != nil {
			return Message{}, fmt.Errorf("fill in a mail: %w", err)
		}
		*part.into = b.String()
	}
	return m, nil
}

// page fills in what there is beside the text.
func (t *Template) page(b *strings.Builder, values any) error {
	if t.html == nil {
		return nil
	}
	return t.html.Execute(b, values)
}
