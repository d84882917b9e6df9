package homeserver

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"trestle/internal/config"
	"trestle/registration"
)

// loadRegistrations reads the registrations of all application services.
func loadRegistrations(cfg *config.Config) (*registration.Set, error) {
	var all []*registration.Registration
	for _, folder := range cfg.AppServices {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
		regs, err := registration.LoadDir(folder)
		if err != nil {
			return nil, err
		}
		all = slices.Concat(all, regs)
	}
	return registration.NewSet(cfg.ServerName, all...)
}

// A watch tells when registration files come, go or change.
type watch struct {
	folders []string
	seen    map[string]fileState
}

type fileState struct {
	size    int64
	changed time.Time
}

func newWatch(folders []string) *watch {
	w := &watch{folders: folders}
	w.seen = w.look()
	return w
}

func (w *watch) look() map[string]fileState {
	found := map[string]fileState{}
	for _, folder := range w.folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue // a folder that is gone has no files
		}
		for _, entry := range entries {
			if info, err := entry.Info(); err == nil && info.Mode().Type()&fs.ModeType == 0 {
				found[filepath.Join(folder, entry.Name())] = fileState{info.Size(), info.ModTime()}
			}
		}
	}
	return found
}

// changed reports whether anything is different from the last time.
func (w *watch) changed() bool {
	now := w.look()
	same := maps.Equal(now, w.seen)
	w.seen = now
	return !same
}

// followRegistrations takes in registrations that have changed. Files that are
// wrong leave everything as it was.
func (s *Server) followRegistrations(ctx context.Context) error {
	if !s.watch.changed() {
		return nil
	}
	return s.ReloadRegistrations(ctx)
}

// ReloadRegistrations reads all registrations again and goes on with them.
func (s *Server) ReloadRegistrations(ctx context.Context) error {
	set, err := loadRegistrations(s.cfg)
	if err != nil {
		return fmt.Errorf("the registrations stay as they were: %w", err)
	}
	s.registry.Store(set)
	s.unread.Ghosts()
	s.asides.unsure(s.notifier.Position())
	s.log.InfoContext(ctx, "registrations read again", "appservices", len(set.All()))
	return s.sender.Reload(ctx)
}
