package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"trestle/internal/matrix"
)

// SigningKey reads the key that signs events, or makes one if the file does
// not exist, and says whether it did.
func SigningKey(path string) (key matrix.SigningKey, created bool, err error) {
	text, err := readLimited(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := writeSigningKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return key, false, fmt.Errorf("write the signing key: %w", err)
		}
		created = true
		text, err = readLimited(path)
	}
	if err != nil {
		return key, false, fmt.Errorf("read the signing key: %w", err)
	}
	key, err = matrix.ParseSigningKey(string(text))
	if err != nil {
		return key, false, fmt.Errorf("%s: %w", path, err)
	}
	return key, created, nil
}

func writeSigningKey(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	key, err := matrix.NewSigningKey()
	if err != nil {
		return err
	}
	return writeNew(path, []byte(key.Encode()))
}
