package registration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gopkg.in/yaml.v3"
)

// A Rotation is which tokens are replaced, and until when the ones before are
// good as well.
type Rotation struct {
	ASToken, HSToken string // the new ones; empty: it stays
	Until            time.Time
}

// RotateFile puts other tokens into a registration's file and leaves the rest,
// with comments and keys that are not known here, as it is. A link is followed.
func RotateFile(path string, rotation Rotation) (*Registration, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(target)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read registration %s: %w", path, err)
	}
	changed, err := rotate(path, data, rotation)
	if err != nil {
		return nil, err
	}
	reg, err := Parse(path, changed)
	if err != nil {
		return nil, err
	}
	return reg, WriteFile(target, changed)
}

// rotate is the new text of a file.
func rotate(path string, data []byte, rotation Rotation) ([]byte, error) {
	old, err := Parse(path, data)
	if err != nil {
		return nil, err
	}
	p := &parser{file: path}
	root := p.document(data)
	if root == nil {
		return nil, p.err()
	}
	previous := formOld{Until: rotation.Until.UTC().Format(time.RFC3339)}
	if rotation.ASToken != "" {
		setKey(root, "as_token", rotation.ASToken)
		previous.ASToken = old.ASToken
	}
	if rotation.HSToken != "" {
		setKey(root, "hs_token", rotation.HSToken)
		previous.HSToken = old.HSToken
	}
	dropKey(root, keyPrevious)
	if !rotation.Until.IsZero() {
		var value yaml.Node
		if err := value.Encode(previous); err != nil {
			return nil, err
		}
		root.Content = append(root.Content, text(keyPrevious), &value)
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("write registration %s: %w", path, err)
	}
	return out.Bytes(), nil
}

func text(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

// setKey replaces the value of a key that is there.
func setKey(root *yaml.Node, key, value string) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if follow(root.Content[i]).Value != key {
			continue
		}
		before := root.Content[i+1]
		root.Content[i+1] = text(value)
		root.Content[i+1].Style = yaml.DoubleQuotedStyle
		root.Content[i+1].LineComment, root.Content[i+1].HeadComment = before.LineComment, before.HeadComment
	}
}

func dropKey(root *yaml.Node, key string) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if follow(root.Content[i]).Value == key {
			root.Content = append(root.Content[:i:i], root.Content[i+2:]...)
			return
		}
	}
}
