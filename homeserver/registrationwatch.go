package homeserver

import (
	"maps"
	"os"
	"path/filepath"
	"time"

	"trestle/registration"
)

// watchPatience is after how many looks files are read that do not come to rest.
const watchPatience = 10

// A watch tells when registration files have come, gone or changed, and are at rest:
// half a file may be a registration as well, with half of the names.
type watch struct {
	folders []string
	read    map[string]fileState // as they were when that was last told
	seen    map[string]fileState // at the last look
	looks   int                  // since they have been others than those
}

// A fileState is what is different if a file is.
type fileState struct {
	size    int64
	changed time.Time
}

func newWatch(folders []string) *watch {
	w := &watch{folders: folders}
	w.seen = w.look()
	w.read = w.seen
	return w
}

// look follows links: what mounts a configuration from elsewhere puts a new target
// behind one that stays.
func (w *watch) look() map[string]fileState {
	found := map[string]fileState{}
	for _, folder := range w.folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue // a folder that is gone has no files
		}
		for _, entry := range entries {
			if !registration.IsFileName(entry.Name()) {
				continue
			}
			path := filepath.Join(folder, entry.Name())
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				found[path] = fileState{info.Size(), info.ModTime()}
			}
		}
	}
	return found
}

// changed reports whether files are others than those that were read, and the same
// as at the last look. It is asked again and again.
func (w *watch) changed() bool {
	now := w.look()
	resting := maps.Equal(now, w.seen)
	w.seen = now
	if maps.Equal(now, w.read) {
		w.looks = 0
		return false
	}
	if w.looks++; !resting && w.looks < watchPatience {
		return false
	}
	w.read, w.looks = now, 0
	return true
}
