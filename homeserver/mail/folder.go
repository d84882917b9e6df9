package mail

import (
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// A Kind is a mail that operators can put in words of their own.
type Kind struct {
	Template *Template // the server's words
	Sample   any       // values like those with which it is filled in
}

// maxPart is how long a part of a template may be.
const maxPart = 256 << 10

// ReadFolder is the template of each kind, by its name, in the words that a
// folder has for it: NAME.subject, NAME.txt and NAME.html. A text without a
// page is a plain mail; what the folder says nothing of stays in the server's
// words, which all do without a folder. Files that stand for nothing are
// errors, and so is what cannot be filled in.
func ReadFolder(folder string, kinds map[string]Kind) (map[string]*Template, error) {
	templates := make(map[string]*Template, len(kinds))
	for name, kind := range kinds {
		templates[name] = kind.Template
	}
	if folder == "" {
		return templates, nil
	}
	given, err := readParts(folder, kinds)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		t, err := kinds[name].Template.reworded(name, given[name])
		if err == nil {
			_, err = t.Message("", kinds[name].Sample)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", folder, err)
		}
		templates[name] = t
	}
	return templates, nil
}

// readParts is what a folder has for each kind, by the ends of its files' names.
func readParts(folder string, kinds map[string]Kind) (map[string]map[string]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	given := map[string]map[string]string{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue // what editors and mounts leave
		}
		path := filepath.Join(folder, entry.Name())
		name, part, _ := strings.Cut(entry.Name(), ".")
		if _, known := kinds[name]; !known || part != "subject" && part != "txt" && part != "html" {
			return nil, fmt.Errorf("%s is no part of a mail: names are %s, with .subject, .txt or .html",
				path, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
		}
		text, err := readPart(path)
		if err != nil {
			return nil, err
		}
		if given[name] == nil {
			given[name] = map[string]string{}
		}
		given[name][part] = text
	}
	return given, nil
}

func readPart(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxPart+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxPart {
		return "", fmt.Errorf("%s has more than %d bytes", path, maxPart)
	}
	return string(text), nil
}

// reworded is the template with other parts.
func (t *Template) reworded(name string, parts map[string]string) (*Template, error) {
	r := *t
	var err error
	if subject, ok := parts["subject"]; ok {
		if r.subject, err = template.New(name + ".subject").Parse(strings.TrimSpace(subject)); err != nil {
			return nil, err
		}
	}
	text, hasText := parts["txt"]
	page, hasPage := parts["html"]
	if hasText {
		if r.text, err = template.New(name + ".txt").Parse(text); err != nil {
			return nil, err
		}
		r.html = nil // not in two languages
	}
	if hasPage {
		if !hasText {
			return nil, errors.New(name + ".html needs " + name + ".txt, for those who read plain text")
		}
		if r.html, err = htmltemplate.New(name + ".html").Parse(page); err != nil {
			return nil, err
		}
	}
	return &r, nil
}
