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
// What they ask for is done at once. It is about requests that come from then on.
func (h *Homeserver) Hold(user, path string) (release func()) {
	one := &hold{user, path, make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = one
	return func() { close(one.released) }
}

// holding is what the answer to a request is to wait for, or nil.
func (h *Homeserver) holding(r *http.Request) *hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.held
	if one == nil || r.URL.Query().Get("user_id") != one.user || !strings.HasSuffix(r.URL.Path, one.path) {
		return nil
	}
	return one
}

// wait keeps an answer back that is to wait.
func (one *hold) wait(r *http.Request) {
	if one == nil {
		return
	}
	select {
	case <-one.released:
	case <-r.Context().Done():
	}
}
