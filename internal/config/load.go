package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// FileName is the configuration file's name in a data folder.
const FileName = "trestle.yaml"

// DefaultData is the data folder, below the working directory, of a server
// that was told nothing.
const DefaultData = "data"

// maxFile bounds what is read: a configuration is never this long.
const maxFile = 4 << 20

// A Source is what a configuration is read from, besides the file.
type Source struct {
	Flags   *Flags   // may be nil
	Environ []string // NAME=value, as from os.Environ
}

// Load reads file, environment and flags, and checks the result as a whole.
// All paths in the result are absolute. Without a configuration file the
// defaults hold, unless a file was asked for by name.
func Load(src Source) (*Config, error) {
	l := newLoader()
	file, explicit := src.File()
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("find the configuration: %w", err)
	}
	text, err := readLimited(file)
	switch {
	case err == nil:
		l.cfg.File = file
		l.readYAML(file, text)
	case explicit || !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	l.readEnvironment(src.Environ)
	l.readFlags(src.Flags)
	l.resolvePaths(filepath.Dir(file))
	l.readSecretFiles()
	l.validate()
	l.checkFiles()
	if err := l.err(); err != nil {
		return nil, err
	}
	l.cfg.source = src
	return l.cfg, nil
}

// Again reads what the configuration was read from as it is now.
func (c *Config) Again() (*Config, error) { return Load(c.source) }

// Parse reads the text of a configuration file alone, for checks that touch
// nothing else: its paths stay as they are.
func Parse(name string, text []byte) (*Config, error) {
	l := newLoader()
	l.readYAML(name, text)
	l.validate()
	if err := l.err(); err != nil {
		return nil, err
	}
	return l.cfg, nil
}

// File is the path of the configuration file, and whether it was named.
func (src Source) File() (path string, explicit bool) {
	if path := src.Value("config"); path != "" {
		return path, true
	}
	return filepath.Join(src.Folder(), FileName), false
}

// Folder is the data folder as flags and environment have it.
func (src Source) Folder() string {
	if folder := src.Value("data"); folder != "" {
		return folder
	}
	return DefaultData
}

// Value is a setting's text by flag or environment, or empty.
func (src Source) Value(key string) string {
	if src.Flags != nil {
		if values := src.Flags.set[strings.ReplaceAll(key, "_", "-")]; len(values) > 0 {
			return values[len(values)-1]
		}
	}
	value := ""
	for _, pair := range src.Environ {
		if name, text, _ := strings.Cut(pair, "="); name == envName(key) {
			value = text
		}
	}
	return value
}

// notSettings are variables of that prefix which mean something else.
var notSettings = []string{"TRESTLE_CONFIG", "TRESTLE_SPEC"}

// readEnvironment lays the variables over the file. An empty variable counts
// as none. One that means nothing is a warning, not an error: orchestrators
// put variables of their own into every process.
func (l *loader) readEnvironment(environ []string) {
	env := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "TRESTLE_") && value != "" && !slices.Contains(notSettings, name) {
			env[name] = value
		}
	}
	take := func(name string) (string, bool) {
		value, ok := env[name]
		delete(env, name)
		return value, ok
	}
	if text, ok := take("TRESTLE_IRC_NETWORK"); ok {
		at := origin{where: "TRESTLE_IRC_NETWORK", layer: layerEnvironment}
		l.addNetworks(func(int) origin { return at }, "", strings.Fields(text))
	}
	walk(reflect.ValueOf(l.cfg).Elem(), "", func(f leaf) {
		at := origin{where: f.envName(), layer: layerEnvironment}
		if f.isSecret() {
			if path, ok := take(f.envName() + "_FILE"); ok {
				l.setSecretFile(origin{where: at.where + "_FILE", layer: at.layer}, f.key, absolute(path))
			}
		}
		if text, ok := take(f.envName()); ok {
			l.setFromText(at, f, text)
		}
	})
	for name := range env {
		l.cfg.Warnings = append(l.cfg.Warnings, name+" is set in the environment, but there is no such setting")
	}
	slices.Sort(l.cfg.Warnings)
}

// setFromText sets a value that did not come from the file: its relative
// paths are those of the working directory.
func (l *loader) setFromText(at origin, f leaf, text string) {
	if !isText(f.value.Type()) {
		root, err := parseYAML([]byte(text))
		if err != nil || root == nil {
			l.problemf(at, f.key, "is not YAML")
			return
		}
		l.readValue(source{at.where, at.layer}, root, f)
		return
	}
	if err := setText(f.value, text); err != nil {
		l.problemf(at, f.key, "%s", err)
		return
	}
	l.setOrigin(f.key, at)
	l.eachPath(f, func(path string) string { return absolute(path) })
	if f.isSecret() {
		l.setSecret(f.key)
	}
}

// resolvePaths makes every path absolute: the data folder from where the file
// is, all others from the data folder.
func (l *loader) resolvePaths(base string) {
	if !filepath.IsAbs(l.cfg.Data) {
		l.cfg.Data = filepath.Join(base, l.cfg.Data)
	}
	walk(reflect.ValueOf(l.cfg).Elem(), "", func(f leaf) {
		l.eachPath(f, l.cfg.InData)
	})
}

// eachPath replaces the paths that a setting holds, if it holds any.
func (l *loader) eachPath(f leaf, replace func(string) string) {
	if f.kind != "path" && f.kind != "database" {
		return
	}
	change := func(v reflect.Value) {
		if path := v.String(); path != "" && (f.kind == "path" || !isURL(path)) {
			v.SetString(replace(path))
		}
	}
	if f.value.Kind() != reflect.Slice {
		change(f.value)
		return
	}
	for i := range f.value.Len() {
		change(f.value.Index(i))
	}
}

func isURL(database string) bool {
	return strings.Contains(database, "://") || strings.HasPrefix(database, "file:")
}

// absolute is a path from the working directory; a directory that is gone
// leaves it as it was, and the file will be missed later.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func readLimited(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return text, nil
}
