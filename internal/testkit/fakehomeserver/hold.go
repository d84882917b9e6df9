package fakehomeserver

import (
	"net/http"
	"strings"
)

// A hold is which answers wait, and for what.
type hold struct {
	user, path string
	released   chan struct{}
}

// Hold has the answers to a user's requests wait whose path ends in something, until release is called.
// What they ask for is done at once.
func (h *Homeserver) Hold(user, path string) (release func()) {
	one := &hold{user, path, make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = one
	return func() { close(one.released) }
}

// wait keeps an answer back that is to wait.
func (h *Homeserver) wait(r *http.Request) {
	h.mu.Lock()
	held := h.held
	h.mu.Unlock()
	if held == nil || r.URL.Query().Get("user_id") != held.user || !strings.HasSuffix(r.URL.Path, held.path) {
		return
	}
	select {
	case <-held.released:
	case <-r.Context().Done():
	}
}
