package telemetry

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"
)

// healthTimeout bounds all checks of one request together.
const healthTimeout = 5 * time.Second

// A Check says why a part of the server cannot work, or nil.
type Check func(ctx context.Context) error

// Health answers whether the server can do its work. The zero value answers
// that it is starting.
type Health struct {
	mu     sync.Mutex
	ready  bool
	role   string
	checks map[string]Check
}

// Add names a part that must work. A check runs at each request, so it
// must be cheap.
func (h *Health) Add(name string, check Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = map[string]Check{}
	}
	h.checks[name] = check
}

// SetReady says whether the server accepts work: true once it is wired,
// false when it begins to stop, so that a load balancer looks elsewhere.
func (h *Health) SetReady(ready bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready = ready
}

// SetRole says what the server does among several.
func (h *Health) SetRole(role string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.role = role
}

type healthAnswer struct {
	Status  string   `json:"status"` // ok, starting or failing
	Role    string   `json:"role,omitempty"`
	Version string   `json:"version"`
	Failing []string `json:"failing,omitempty"`
}

// ServeHTTP answers 200 if the server is ready and all checks pass, else 503.
// The answer names the parts that fail, not why: that is for the log.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
	defer cancel()
	answer, status := h.answer(ctx), http.StatusOK
	if answer.Status != "ok" {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func (h *Health) answer(ctx context.Context) healthAnswer {
	h.mu.Lock()
	ready, role, checks := h.ready, h.role, make(map[string]Check, len(h.checks))
	for name, check := range h.checks {
		checks[name] = check
	}
	h.mu.Unlock()

	answer := healthAnswer{Status: "ok", Role: role, Version: Build().Version}
	if !ready {
		answer.Status = "starting"
		return answer
	}
	for name, check := range checks {
		if err := check(ctx); err != nil {
			answer.Status, answer.Failing = "failing", append(answer.Failing, name)
		}
	}
	slices.Sort(answer.Failing)
	return answer
}
