package vault_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trestle/bridges/vault"
)

func open(t *testing.T, path string) *vault.Vault {
	t.Helper()
	v, err := vault.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSealAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	v := open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	secret := []byte("correct horse")
	sealed, err := v.Seal(secret, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := v.Seal(secret, "alice"); err != nil || bytes.Equal(again, sealed) {
		t.Errorf("twice the same: %v", err)
	}
	if bytes.Contains(sealed, secret) || !v.Current(sealed) {
		t.Errorf("sealed as %q", sealed)
	}
	if got, err := open(t, path).Open(sealed, "alice"); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("opened %q, %v", got, err)
	}
	if _, err := v.Open(sealed, "bob"); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("in another place: %v", err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := v.Open(changed, "alice"); err == nil {
			t.Errorf("byte %d may be changed", i)
		}
	}
	if _, err := v.Seal(make([]byte, 1<<20), "alice"); err == nil {
		t.Error("no limit")
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	old, err := open(t, path).Seal([]byte("x"), "alice")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte("new\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	v := open(t, path)
	if got, err := v.Open(old, "alice"); err != nil || string(got) != "x" || v.Current(old) {
		t.Errorf("the old secret: %q, %v, current %v", got, err, v.Current(old))
	}
	sealed, err := v.Seal([]byte("y"), "alice")
	if err != nil || !v.Current(sealed) {
		t.Fatal(err)
	}
	if got, err := open(t, path).Open(sealed, "alice"); err != nil || string(got) != "y" {
		t.Errorf("the new key was not kept: %q, %v", got, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, path).Open(old, "alice"); !errors.Is(err, vault.ErrNoKey) {
		t.Errorf("with the key lost: %v", err)
	}
}

func TestKeyFilesThatAreRefused(t *testing.T) {
	const good = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	for name, text := range map[string]string{
		"empty": "", "comments": "# nothing\n", "short": "c2VjcmV0\n", "two": good + "secret secret\n",
		"new twice": "new\nnew\n" + good, "large": strings.Repeat("#\n", 64<<10),
	} {
		path := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := vault.Open(path); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("%s: the file was changed, %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(good), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(path); err == nil {
		t.Error("a file that anybody may read is accepted")
	}
}

func FuzzOpen(f *testing.F) {
	v, err := vault.Open(filepath.Join(f.TempDir(), "keys"))
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := v.Seal([]byte("x"), "alice")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := v.Open(text, "alice"); err == nil && !bytes.Equal(text, sealed) {
			t.Errorf("opened %x", text)
		}
	})
}
