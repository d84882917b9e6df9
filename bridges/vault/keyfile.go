package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	maxKeyFile = 64 << 10
	// newLine is what an operator writes above the keys to have a new one.
	newLine = "new"
	preface = `# The keys to passwords and certificates of Matrix users on IRC. The first one seals,
# the others are kept to read what is old. For a new key, write a line "new" above them
# and restart. Keep a copy elsewhere than the database's.
`
)

// Open reads the keys, and makes the file if there is none. A file that others may read,
// or that has something else than keys in it, is an error.
func Open(path string) (*Vault, error) {
	text, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte(newLine+"\n"), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	v, added, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if added {
		if err := v.write(path); err != nil {
			return nil, fmt.Errorf("write the key file: %w", err)
		}
	}
	return v, nil
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others than its owner may read or write %s (%s)", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if len(text) > maxKeyFile {
		err = fmt.Errorf("%s is too large", path)
	}
	return text, err
}

// parse reads the lines, and makes the keys that are wanted. Errors never quote a line.
func parse(text []byte) (v *Vault, added bool, err error) {
	v = &Vault{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case line == newLine && !added:
			secret := make([]byte, chacha20poly1305.KeySize)
			if _, err := rand.Read(secret); err != nil {
				return nil, false, err
			}
			v.keys, added = append(v.keys, newKey(secret)), true
			continue
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(secret) != chacha20poly1305.KeySize {
			return nil, false, fmt.Errorf("line %d is not a key", i+1)
		}
		v.keys = append(v.keys, newKey(secret))
	}
	if len(v.keys) == 0 {
		return nil, false, errors.New("there is no key in it")
	}
	return v, added, nil
}

// write replaces the file, whole or not at all.
func (v *Vault) write(path string) (err error) {
	var text bytes.Buffer
	text.WriteString(preface)
	for _, k := range v.keys {
		text.WriteString(base64.StdEncoding.EncodeToString(k.secret[:]) + "\n")
	}
	folder := filepath.Dir(path)
	temporary, err := os.CreateTemp(folder, "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(text.Bytes())
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil
	}
	// Nothing is sealed before the name of the file is on disk, too.
	opened, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(opened.Sync(), opened.Close())
}
