package media_test

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"trestle/homeserver/media"
)

func newFolder(t *testing.T, path string) *media.Folder {
	t.Helper()
	folder, err := media.NewFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// put writes content in pieces.
func put(t *testing.T, f media.Files, pieces ...string) (media.Hash, media.Draft) {
	t.Helper()
	draft, err := f.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range pieces {
		if _, err := draft.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	return sha256.Sum256([]byte(strings.Join(pieces, ""))), draft
}

func read(t *testing.T, f media.Files, hash media.Hash) (string, error) {
	t.Helper()
	file, err := f.Open(t.Context(), hash)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), nil
}

func TestFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "some", "media")
	folder := newFolder(t, path)
	hash, draft := put(t, folder, "hello ", "world")
	if _, err := read(t, folder, hash); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a draft can be read: %v", err)
	}
	if err := draft.Keep(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	draft.Discard()
	if text, err := read(t, folder, hash); text != "hello world" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	name := hash.String()
	info, err := os.Stat(filepath.Join(path, name[:2], name[2:4], name))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	other, draft := put(t, folder, "other")
	draft.Discard()
	draft.Discard()
	if _, err := read(t, folder, other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was discarded can be read: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(path, "incoming")); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// What a crash leaves is swept at the next start; what is whole stays.
func TestFolderAfterCrash(t *testing.T) {
	path := t.TempDir()
	folder := newFolder(t, path)
	kept, draft := put(t, folder, "kept")
	if err := draft.Keep(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	put(t, folder, "half of")
	folder = newFolder(t, path)
	if left, err := os.ReadDir(filepath.Join(path, "incoming")); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if text, err := read(t, folder, kept); text != "kept" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	// A file that lost its end, as some file systems do it, is replaced.
	name := kept.String()
	if err := os.WriteFile(filepath.Join(path, name[:2], name[2:4], name), []byte("ke"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, draft = put(t, folder, "kept")
	if err := draft.Keep(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if text, err := read(t, folder, kept); text != "kept" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

func TestFolderAtOnce(t *testing.T) {
	folder := newFolder(t, t.TempDir())
	var writing sync.WaitGroup
	for i := range 20 {
		writing.Go(func() {
			hash, draft := put(t, folder, "the same", strings.Repeat("x", i%3))
			if err := draft.Keep(t.Context(), hash); err != nil {
				t.Error(err)
			}
			if _, err := read(t, folder, hash); err != nil {
				t.Error(err)
			}
		})
	}
	writing.Wait()
}

func TestFolderRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := media.NewFolder(filepath.Join(file, "media")); err == nil {
		t.Error("a folder inside of a file")
	}
}
