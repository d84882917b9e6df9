package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// A loader puts the layers on top of one another and remembers where each
// setting came from and all that is wrong with any of them.
type loader struct {
	cfg      *Config
	origins  map[string]origin
	pending  map[string]secretFile
	problems []Problem
}

func newLoader() *loader {
	return &loader{cfg: Default(), origins: map[string]origin{}, pending: map[string]secretFile{}}
}

// source is where a YAML text stands.
type source struct {
	name  string // shown before the line number
	layer layer
}

func (s source) at(node *yaml.Node) origin {
	if s.layer != layerFile {
		return origin{where: s.name, layer: s.layer}
	}
	return origin{where: s.name + ":" + strconv.Itoa(node.Line), line: node.Line, layer: s.layer}
}

// readYAML lays a configuration file over what there is.
func (l *loader) readYAML(name string, text []byte) {
	src := source{filepath.Base(name), layerFile}
	root, err := parseYAML(text)
	if err != nil {
		line, message := yamlError(err)
		l.problemf(src.at(&yaml.Node{Line: line}), "", "%s", message)
		return
	}
	if root == nil || root.ShortTag() == "!!null" {
		return
	}
	l.readSection(src, root, reflect.ValueOf(l.cfg).Elem(), "")
	networks := l.cfg.IRCNetwork
	l.cfg.IRCNetwork = nil
	l.addNetworks(func(i int) origin { return l.originOf(item("irc_network", i)) }, "irc_network", networks)
}

// parseYAML returns the root of the only document, nil if the text is empty.
func parseYAML(text []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, fmt.Errorf("yaml: line %d: a second document; there can be only one", second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return document.Content[0], nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(?s:(.*))$`)

// yamlError takes the line number out of the YAML library's text, which is
// the only place where it stands.
func yamlError(err error) (line int, message string) {
	parts := yamlLine.FindStringSubmatch(err.Error())
	line, _ = strconv.Atoi(parts[1])
	return max(line, 1), parts[2]
}

// readSection reads a mapping into a structure.
func (l *loader) readSection(src source, node *yaml.Node, section reflect.Value, prefix string) {
	known := map[string]leaf{}
	var names []string
	for _, f := range fields(section, prefix) {
		name := strings.TrimPrefix(f.key, prefix+".")
		known[name], names = f, append(names, name)
		if f.isSecret() {
			names = append(names, name+"_file")
		}
	}
	l.eachKey(src, node, prefix, func(name string, value *yaml.Node) {
		if f, ok := known[name]; ok {
			l.readValue(src, value, f)
			return
		}
		base, isFile := strings.CutSuffix(name, "_file")
		if f, ok := known[base]; ok && isFile && f.isSecret() {
			l.readSecretFile(src, value, f)
			return
		}
		hint := ""
		if near := nearest(name, names); near != "" {
			hint = fmt.Sprintf("; did you mean %s?", near)
		}
		l.problemf(src.at(value), join(prefix, name), "there is no such setting%s", hint)
	})
}

// eachKey visits the pairs of a mapping; repeated keys are problems.
func (l *loader) eachKey(src source, node *yaml.Node, prefix string, visit func(name string, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		l.problemf(src.at(node), prefix, "wants settings of its own under it, one a line, not %s", describe(node))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			l.problemf(src.at(key), prefix, "%s is not the name of a setting", describe(key))
			continue
		}
		if line, twice := seen[key.Value]; twice {
			l.problemf(src.at(key), join(prefix, key.Value), "is set twice, first in line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		// A value may begin some lines further down; people look for the key.
		placed := *value
		placed.Line = key.Line
		visit(key.Value, &placed)
	}
}

// readValue reads one value of any type.
func (l *loader) readValue(src source, node *yaml.Node, f leaf) {
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		l.problemf(src.at(node), f.key, "anchors and aliases (& and *) are not understood here")
		return
	}
	kind := f.value.Kind()
	isSection := kind == reflect.Struct || kind == reflect.Map
	if node.ShortTag() == "!!null" && node.Kind == yaml.ScalarNode {
		// A section of which every line is a comment is as good as none.
		if !isSection {
			l.problemf(src.at(node), f.key, "has no value; leave the line out to get the default")
		}
		return
	}
	if src.layer == layerFile {
		l.origins[f.key] = src.at(node)
	} else {
		l.setOrigin(f.key, src.at(node))
	}
	switch {
	case kind == reflect.Struct:
		l.readSection(src, node, f.value, f.key)
	case kind == reflect.Map:
		l.readMap(src, node, f)
	case kind == reflect.Slice:
		l.readList(src, node, f)
	default:
		l.readScalar(src, node, f)
	}
	if f.isSecret() {
		l.setSecret(f.key)
	}
}

// readMap reads named sections. The names of a fixed map are known and what
// is not set keeps its default; another map is replaced as a whole.
func (l *loader) readMap(src source, node *yaml.Node, f leaf) {
	elementType := f.value.Type().Elem()
	fixed := f.kind == "fixed"
	result := reflect.MakeMap(f.value.Type())
	if fixed {
		result = f.value
	}
	l.eachKey(src, node, f.key, func(name string, value *yaml.Node) {
		key := join(f.key, name)
		element := reflect.New(elementType).Elem()
		held := result.MapIndex(reflect.ValueOf(name))
		switch {
		case held.IsValid():
			element.Set(held)
		case fixed:
			known := sortedKeys(result)
			l.problemf(src.at(value), key, "there is no such setting; known are %s", strings.Join(known, ", "))
			return
		default:
			element.Set(defaultOf(elementType))
		}
		l.readValue(src, value, leaf{key: key, value: element})
		result.SetMapIndex(reflect.ValueOf(name), element)
	})
	f.value.Set(result)
}

// readList reads a list, which replaces the default as a whole. A single
// string may stand for a list of one.
func (l *loader) readList(src source, node *yaml.Node, f leaf) {
	items := node.Content
	if node.Kind == yaml.ScalarNode && isText(f.value.Type()) {
		items = []*yaml.Node{node}
	} else if node.Kind != yaml.SequenceNode {
		l.problemf(src.at(node), f.key, "wants a list, not %s", describe(node))
		return
	}
	if len(items) == 0 {
		f.value.SetZero()
		return
	}
	result := reflect.MakeSlice(f.value.Type(), len(items), len(items))
	// Secrets of the list that goes are no longer waited for.
	maps.DeleteFunc(l.pending, func(key string, _ secretFile) bool { return strings.HasPrefix(key, f.key+"[") })
	for i, item := range items {
		key := fmt.Sprintf("%s[%d]", f.key, i)
		if item.Kind == yaml.AliasNode {
			l.problemf(src.at(item), key, "anchors and aliases (& and *) are not understood here")
			continue
		}
		l.origins[key] = src.at(item)
		element := leaf{key: key, value: result.Index(i)}
		element.value.Set(defaultOf(element.value.Type()))
		if element.value.Kind() == reflect.Struct {
			l.readSection(src, item, element.value, key)
		} else {
			l.readScalar(src, item, element)
		}
	}
	f.value.Set(result)
}

// readScalar reads text, a number or a truth value; YAML's own idea of the
// type must fit, so that a password of digits has to be quoted.
func (l *loader) readScalar(src source, node *yaml.Node, f leaf) {
	at, tag := src.at(node), node.ShortTag()
	if node.Kind != yaml.ScalarNode {
		l.problemf(at, f.key, "wants %s, not %s", wanted(f.value.Type()), describe(node))
		return
	}
	fits := tag == "!!str"
	switch t := f.value.Type(); {
	case t == sizeType, t == durationType:
		fits = fits || tag == "!!int"
	case t.Kind() == reflect.Bool:
		fits = tag == "!!bool"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		fits = tag == "!!int"
	case t.Kind() == reflect.Float64:
		fits = tag == "!!int" || tag == "!!float"
	case !fits:
		l.problemf(at, f.key, "wants text, not %s; write it in quotes", describe(node))
		return
	}
	if !fits {
		l.problemf(at, f.key, "wants %s, not %s", wanted(f.value.Type()), describe(node))
		return
	}
	if err := setText(f.value, node.Value); err != nil {
		l.problemf(at, f.key, "%s", err)
	}
}

// describe says what a node is, without showing what may be a secret.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch node.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "a date"
	case "!!merge":
		return "a merge (<<)"
	default:
		return "text"
	}
}
