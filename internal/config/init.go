package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"trestle/configs"
)

// Init makes a data folder ready for a first start: an annotated
// configuration and an empty folder for registrations. What is there stays as
// it is. It reports whether it wrote the configuration.
//
// The values, by key, go into the file in place of the defaults; they must be
// settings of the file's first part, as [Flags.Values] has them.
func Init(folder string, values map[string][]string) (created bool, err error) {
	text := configs.Sample
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if text, err = replaceValue(text, key, values[key]); err != nil {
			return false, err
		}
	}
	if _, err := Parse(FileName, text); err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Join(folder, "appservices"), 0o700); err != nil {
		return false, fmt.Errorf("make the data folder: %w", err)
	}
	err = writeNew(filepath.Join(folder, FileName), text)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("write the configuration: %w", err)
	}
	return true, nil
}

// replaceValue puts one value, or a list, in place of a top-level setting of
// the sample. The file of a secret takes the place of the secret.
func replaceValue(text []byte, key string, values []string) ([]byte, error) {
	found := findSetting(text, key)
	if found == nil {
		found = findSetting(text, strings.TrimSuffix(key, "_file"))
	}
	if found == nil || len(values) == 0 {
		return nil, fmt.Errorf("the sample configuration has no line for %s", key)
	}
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = strconv.Quote(value)
	}
	value := quoted[0]
	switch old := string(text[found[2]:found[3]]); {
	case old == "true" || old == "false":
		value = values[0]
	case len(values) > 1:
		value = "[" + strings.Join(quoted, ", ") + "]"
	}
	return slices.Concat(text[:found[0]], []byte(key+": "+value+"\n"), text[found[1]:]), nil
}

// findSetting is where a top-level setting stands, and its value on the same
// line.
func findSetting(text []byte, key string) []int {
	return regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(key) + `: ?(.*)\n(?:  - .*\n)*`).FindSubmatchIndex(text)
}

// writeNew writes a file that only its owner may read, whole or not at all;
// it never replaces one.
func writeNew(path string, text []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(text)
	if err == nil {
		err = temporary.Sync()
	}
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Link(temporary.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a new name in a folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
