package media

import "sync"

// arrivals wakes those who wait for an upload.
type arrivals struct {
	mu      sync.Mutex
	waiting map[URI]*arrival
}

type arrival struct {
	waiters int
	came    chan struct{}
}

// expect returns a channel that is closed when something is uploaded to the
// URI from now on, and a function to be called by those who wait no longer.
func (a *arrivals) expect(uri URI) (<-chan struct{}, func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = map[URI]*arrival{}
	}
	w := a.waiting[uri]
	if w == nil {
		w = &arrival{came: make(chan struct{})}
		a.waiting[uri] = w
	}
	w.waiters++
	return w.came, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if w.waiters--; w.waiters == 0 && a.waiting[uri] == w {
			delete(a.waiting, uri)
		}
	}
}

func (a *arrivals) announce(uri URI) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.waiting[uri]; w != nil {
		close(w.came)
		delete(a.waiting, uri)
	}
}
