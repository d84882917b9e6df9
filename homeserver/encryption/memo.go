package encryption

import (
	"sync"

	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// memoUsers bounds the users that a memo remembers.
const memoUsers = 50_000

// A memo remembers something about the devices of users. What was read while
// it changed is not taken in.
type memo[V any] struct {
	mu      sync.Mutex
	changes uint64
	users   *lru.Cache[matrix.UserID, map[matrix.DeviceID]V]
}

func newMemo[V any]() *memo[V] {
	return &memo[V]{users: lru.New[matrix.UserID, map[matrix.DeviceID]V](memoUsers, nil)}
}

// get is what is remembered. If there is nothing, read it and put it with mark.
func (m *memo[V]) get(user matrix.UserID, device matrix.DeviceID) (value V, found bool, mark uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	devices, _ := m.users.Get(user)
	value, found = devices[device]
	return value, found, m.changes
}

// put remembers what was read after get gave the mark, unless something has
// been forgotten since.
func (m *memo[V]) put(user matrix.UserID, device matrix.DeviceID, value V, mark uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changes != mark {
		return
	}
	devices, found := m.users.Get(user)
	if !found {
		devices = map[matrix.DeviceID]V{}
		m.users.Put(user, devices)
	}
	devices[device] = value
}

// forget is called when something about a user has been committed.
func (m *memo[V]) forget(user matrix.UserID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	m.users.Delete(user)
}
