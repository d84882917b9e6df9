package testkit

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A node is a value in one of the files, and where it is.
type node struct {
	file    string
	pointer []string
	value   any
}

// child is a member of an object; a reference is followed.
func (s *specification) child(at node, key string) (node, error) {
	found := at.down(key)
	found.value = field(at.value, key)
	if found.value == nil {
		return node{}, fmt.Errorf("no %s", key)
	}
	for range 10 {
		ref, ok := field(found.value, "$ref").(string)
		if !ok {
			return found, nil
		}
		next, err := s.follow(found.file, ref)
		if err != nil {
			return node{}, err
		}
		found = next
	}
	return node{}, fmt.Errorf("%s: too many references", key)
}

// follow is what a reference in a file means.
func (s *specification) follow(file, ref string) (node, error) {
	path, fragment, _ := strings.Cut(ref, "#")
	if path != "" {
		file = filepath.Join(filepath.Dir(file), filepath.FromSlash(path))
	}
	document, err := s.document(file)
	if err != nil {
		return node{}, err
	}
	at := node{file: file, value: document}
	for _, part := range strings.Split(strings.TrimPrefix(fragment, "/"), "/") {
		if part == "" {
			continue
		}
		key := strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		value := field(at.value, key)
		if value == nil {
			return node{}, fmt.Errorf("%s: no such thing", ref)
		}
		at = at.down(key)
		at.value = value
	}
	return at, nil
}

// document is a file as JSON values.
func (s *specification) document(path string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if document, ok := s.files[path]; ok {
		return document, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	document, err := jsonValue(&root)
	if err != nil {
		return nil, err
	}
	relative, err := filepath.Rel(s.root, path)
	if err != nil || strings.HasPrefix(relative, "..") {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrInvalid)
	}
	document = correct(filepath.ToSlash(relative), document)
	s.files[path] = document
	return document, nil
}

func (n node) down(keys ...string) node {
	return node{file: n.file, pointer: append(slices.Clip(n.pointer), keys...)}
}

// location is the URL by which a schema is compiled.
func (n node) location() string {
	pointer := make([]string, len(n.pointer))
	for i, key := range n.pointer {
		pointer[i] = url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(key))
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(n.file)}
	if len(pointer) == 0 {
		return u.String()
	}
	return u.String() + "#/" + strings.Join(pointer, "/")
}
