package config

import (
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// A secretFile is a secret still to be read: which file counts is known only
// when all layers are, because a stronger one may name the secret itself.
type secretFile struct {
	path string
	at   origin
}

func (l *loader) readSecretFile(src source, node *yaml.Node, f leaf) {
	at := src.at(node)
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!str" || node.Value == "" {
		l.problemf(at, f.key+"_file", "wants the path of a file, not %s", describe(node))
		return
	}
	l.setSecretFile(at, f.key, node.Value)
}

// setSecretFile notes that a secret is in a file.
func (l *loader) setSecretFile(at origin, key, path string) {
	if held, ok := l.origins[key]; ok && held.layer == at.layer {
		l.problemf(at, key+"_file", "%s is set as well; only one of the two can be", key)
		return
	}
	l.origins[key] = at
	l.pending[key] = secretFile{path, at}
}

// setSecret notes that a secret was set by itself. Its origin is set already.
func (l *loader) setSecret(key string) {
	held, ok := l.pending[key]
	if !ok {
		return
	}
	if at := l.origins[key]; held.at.layer == at.layer {
		l.problemf(at, key, "%s_file is set as well; only one of the two can be", key)
	}
	delete(l.pending, key)
}

// readSecretFiles reads the files that no stronger layer has overruled.
func (l *loader) readSecretFiles() {
	walk(reflect.ValueOf(l.cfg).Elem(), "", func(f leaf) {
		pending, ok := l.pending[f.key]
		if !ok {
			return
		}
		text, err := readLimited(l.cfg.InData(pending.path))
		if err != nil {
			l.problemf(pending.at, f.key+"_file", "%s", err)
			return
		}
		secrets := secretLines(string(text))
		switch {
		case len(secrets) == 0:
			l.problemf(pending.at, f.key+"_file", "%s holds no secret", pending.path)
		case f.value.Type() == secretsType:
			f.value.Set(reflect.ValueOf(secrets))
		case len(secrets) > 1:
			l.problemf(pending.at, f.key+"_file", "%s holds more than one line", pending.path)
		default:
			f.value.SetString(string(secrets[0]))
			// A database in a file may be a path as well as a URL.
			l.eachPath(f, l.cfg.InData)
		}
	})
}

func secretLines(text string) []Secret {
	var secrets []Secret
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			secrets = append(secrets, Secret(line))
		}
	}
	return secrets
}
