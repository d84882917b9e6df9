package media

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// A Hash is the SHA-256 of some content, and its name.
type Hash [32]byte

// String is the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Files keep contents under their hashes. A content is there whole or not at
// all.
type Files interface {
	// Create begins a new content, whose hash is not known yet.
	Create(ctx context.Context) (Draft, error)
	// Open reads a content; the error is fs.ErrNotExist if it is not there.
	Open(ctx context.Context, hash Hash) (io.ReadSeekCloser, error)
	// Delete removes a content, if it is there.
	Delete(ctx context.Context, hash Hash) error
}

// A Draft is a content that is being written.
type Draft interface {
	io.Writer
	// Keep makes the content durable. The draft must not be used any more.
	Keep(ctx context.Context, hash Hash) error
	// Discard throws the draft away; after Keep it does nothing.
	Discard()
}

// A Folder is Files in a folder of this machine:
//
//	ab/cd/abcd…     contents, by the hexadecimal form of their hashes
//	incoming/       drafts
type Folder struct {
	root string

	directories sync.Mutex // held while one is looked for and made
}

// NewFolder makes the folder if needed, and removes drafts that a crash left
// behind. One process at a time may use it.
func NewFolder(root string) (*Folder, error) {
	f := &Folder{root: root}
	if err := os.MkdirAll(f.incoming(), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for media: %w", err)
	}
	left, err := os.ReadDir(f.incoming())
	if err != nil {
		return nil, fmt.Errorf("look for unfinished media: %w", err)
	}
	for _, entry := range left {
		if err := os.Remove(filepath.Join(f.incoming(), entry.Name())); err != nil {
			return nil, fmt.Errorf("remove unfinished media: %w", err)
		}
	}
	return f, nil
}

func (f *Folder) incoming() string { return filepath.Join(f.root, "incoming") }

func (f *Folder) path(hash Hash) string {
	name := hash.String()
	return filepath.Join(f.root, name[:2], name[2:4], name)
}

// Open implements Files.
func (f *Folder) Open(_ context.Context, hash Hash) (io.ReadSeekCloser, error) {
	return os.Open(f.path(hash))
}

// Delete implements Files.
func (f *Folder) Delete(_ context.Context, hash Hash) error {
	if err := os.Remove(f.path(hash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Create implements Files.
func (f *Folder) Create(context.Context) (Draft, error) {
	file, err := os.CreateTemp(f.incoming(), "")
	if err != nil {
		return nil, err
	}
	return &folderDraft{folder: f, file: file}, nil
}

type folderDraft struct {
	folder *Folder
	file   *os.File // nil once kept or discarded
}

// Write implements io.Writer.
func (d *folderDraft) Write(p []byte) (int, error) { return d.file.Write(p) }

// Keep implements Draft. The bytes reach the disk before the name does, and
// the name before Keep returns.
func (d *folderDraft) Keep(_ context.Context, hash Hash) error {
	defer d.Discard()
	path := d.folder.path(hash)
	written, err := d.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || there.Size() != written.Size() {
		if err := d.file.Sync(); err != nil {
			return err
		}
		if err := d.folder.makeDirectory(filepath.Dir(path)); err != nil {
			return err
		}
		if err := os.Rename(d.file.Name(), path); err != nil {
			return err
		}
	}
	// Also where the file was there: whoever put it there may not be done yet.
	return syncDirectory(filepath.Dir(path))
}

// Discard implements Draft.
func (d *folderDraft) Discard() {
	if d.file == nil {
		return
	}
	_ = d.file.Close()
	_ = os.Remove(d.file.Name()) // gone already if it was kept
	d.file = nil
}

// makeDirectory makes ab/cd; both names are durable when it returns.
func (f *Folder) makeDirectory(path string) error {
	f.directories.Lock()
	defer f.directories.Unlock()
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	parent := filepath.Dir(path)
	return errors.Join(syncDirectory(parent), syncDirectory(f.root))
}

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
