package homeserver

import (
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// mounts are handlers of others, who run in the same process and want to be reached at the
// same address: bundled bridges. They are few, and change when a bridge starts or ends.
type mounts struct {
	mu      sync.Mutex // of those who set
	current atomic.Pointer[map[string]http.Handler]
}

func (m *mounts) set(path string, handler http.Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := map[string]http.Handler{}
	if now := m.current.Load(); now != nil {
		next = maps.Clone(*now)
	}
	if next[path] = handler; handler == nil {
		delete(next, path)
	}
	m.current.Store(&next)
}

// of is the handler for a path, or nil.
func (m *mounts) of(path string) http.Handler {
	now := m.current.Load()
	if now == nil {
		return nil
	}
	for prefix, handler := range *now {
		if strings.HasPrefix(path, prefix) {
			return handler
		}
	}
	return nil
}
