package registration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"gopkg.in/yaml.v3"
)

// Parse reads a registration file. The name is for messages only. The error
// joins one [Problem] for each thing that is wrong, so that an operator sees
// all of them at once.
func Parse(file string, data []byte) (*Registration, error) {
	p := &parser{file: file, reg: &Registration{File: file, RateLimited: true, QueryToken: QueryTokenAuto}}
	if len(data) > maxFile {
		p.fail(0, "The file is larger than %d bytes.", maxFile)
		return nil, p.err()
	}
	root := p.document(data)
	if root != nil {
		p.registration(root)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return p.reg, nil
}

type parser struct {
	file     string
	reg      *Registration
	problems []error
}

func (p *parser) fail(line int, format string, args ...any) {
	p.problems = append(p.problems, &Problem{p.file, line, fmt.Sprintf(format, args...)})
}

func (p *parser) warn(line int, format string, args ...any) {
	p.reg.Warnings = append(p.reg.Warnings, Problem{p.file, line, fmt.Sprintf(format, args...)})
}

func (p *parser) err() error { return errors.Join(p.problems...) }

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// document returns the mapping at the root of the only document, or nil.
func (p *parser) document(data []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		p.fail(1, "The file is empty.")
		return nil
	}
	if err != nil {
		line, text := 0, err.Error()
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			line, _ = strconv.Atoi(m[1])
			text = text[len(m[0]):]
		}
		p.fail(line, "This is not YAML: %s.", text)
		return nil
	}
	var more yaml.Node
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		p.fail(more.Line, "A registration file holds one document; here begins another.")
		return nil
	}
	root := follow(doc.Content[0])
	if root.Kind != yaml.MappingNode {
		p.fail(root.Line, "A registration is a mapping of keys to values.")
		return nil
	}
	return root
}

// follow returns what a YAML alias stands for. An anchor cannot be an alias
// itself, so one step is all there is.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// fields calls each key's function with its value, and complains about what is
// doubled, missing or unknown. Unknown keys are a warning, since services keep
// settings of their own there, unless they look like a slip of the finger.
func (p *parser) fields(mapping *yaml.Node, what string, known map[string]func(*yaml.Node), required ...string) {
	seen := map[string]int{}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := follow(mapping.Content[i]), follow(mapping.Content[i+1])
		if key.Kind != yaml.ScalarNode {
			p.fail(mapping.Content[i].Line, "A key of %s must be a word.", what)
			continue
		}
		name, line := key.Value, mapping.Content[i].Line
		if first, ok := seen[name]; ok {
			p.fail(line, "The key %q is here a second time; the first is in line %d.", name, first)
			continue
		}
		seen[name] = line
		if set, ok := known[name]; ok {
			set(value)
		} else if near := nearest(name, known); near != "" {
			p.fail(line, "%s has no key %q; did you mean %q?", what, name, near)
		} else {
			p.warn(line, "%s has no key %.80q; it is ignored.", what, name)
		}
	}
	for _, name := range required {
		if _, ok := seen[name]; !ok {
			p.fail(mapping.Line, "%s needs the key %q.", what, name)
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// text returns a string; ok is false after a complaint.
func (p *parser) text(n *yaml.Node, key string) (s string, ok bool) {
	if n.Kind != yaml.ScalarNode {
		p.fail(n.Line, "%q must be a string.", key)
		return "", false
	}
	if n.ShortTag() != "!!str" {
		p.fail(n.Line, "%q must be a string; put it into quotes.", key)
		return "", false
	}
	return n.Value, true
}

func (p *parser) boolean(n *yaml.Node, key string, dst *bool) {
	if isNull(n) {
		return
	}
	var b bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&b) != nil {
		p.fail(n.Line, "%q must be true or false.", key)
		return
	}
	*dst = b
}

// list calls fn for each member; null is the empty list.
func (p *parser) list(n *yaml.Node, key string, fn func(*yaml.Node)) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.fail(n.Line, "%q must be a list.", key)
		return
	}
	for _, member := range n.Content {
		fn(follow(member))
	}
}

// nearest is the known key that name is a misspelling of, or empty.
func nearest(name string, known map[string]func(*yaml.Node)) string {
	best, distance := "", 3
	for key := range known {
		if d := edits(name, key, 2); d < distance && d*3 <= len(key) {
			best, distance = key, d
		}
	}
	return best
}

// edits is the Levenshtein distance, or more than limit.
func edits(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
