package accounts

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A cache keeps what was read of the database about users until they change.
//
// A reader notes the epoch before it reads, and its result is only kept if
// nothing was forgotten since: otherwise it could put back what a logout has
// just ended.
type cache[K comparable, V any] struct {
	limit int
	age   time.Duration // 0: forever

	mu     sync.RWMutex
	epoch  uint64
	byKey  map[K]cached[V]
	byUser map[matrix.UserID][]K
}

type cached[V any] struct {
	value V
	until time.Time
}

func newCache[K comparable, V any](limit int, age time.Duration) *cache[K, V] {
	return &cache[K, V]{limit: limit, age: age, byKey: map[K]cached[V]{}, byUser: map[matrix.UserID][]K{}}
}

func (c *cache[K, V]) get(key K) (value V, epoch uint64, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	entry, ok := c.byKey[key]
	if ok && c.age > 0 && time.Now().After(entry.until) {
		ok = false
	}
	return entry.value, c.epoch, ok
}

func (c *cache[K, V]) put(key K, user matrix.UserID, value V, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.epoch {
		return
	}
	if len(c.byKey) >= c.limit {
		clear(c.byKey)
		clear(c.byUser)
	}
	if _, ok := c.byKey[key]; !ok {
		c.byUser[user] = append(c.byUser[user], key)
	}
	entry := cached[V]{value: value}
	if c.age > 0 {
		entry.until = time.Now().Add(c.age)
	}
	c.byKey[key] = entry
}

// forget drops everything about a user.
func (c *cache[K, V]) forget(user matrix.UserID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	for _, key := range c.byUser[user] {
		delete(c.byKey, key)
	}
	delete(c.byUser, user)
}

// drop forgets one key.
func (c *cache[K, V]) drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	delete(c.byKey, key)
}

// tokenHash is how a token is stored and looked up.
type tokenHash = [sha256.Size]byte

// A session is a valid access token.
type session struct {
	caller    Caller
	expiresAt int64        // Unix ms; 0: never
	seenAt    atomic.Int64 // Unix ms, when the device's last use was written down
}

type tokenCache = cache[tokenHash, *session]

func newTokenCache(limit int, age time.Duration) *tokenCache {
	return newCache[tokenHash, *session](limit, age)
}

// refusedCache knows tokens that the database does not. They are nobody's.
type refusedCache = cache[tokenHash, struct{}]

// accountKey is a user, or one of their devices.
type accountKey struct {
	user   matrix.UserID
	device matrix.DeviceID
}

// accountCache knows accounts and devices that exist. It serves application
// services, which name both with every request.
type accountCache = cache[accountKey, *storage.Account]

func newAccountCache(limit int, age time.Duration) *accountCache {
	return newCache[accountKey, *storage.Account](limit, age)
}

// userRules is a user's whole push rules, ready for use.
type userRules struct {
	set      Ruleset
	content  []byte // of m.push_rules
	position int64  // of the last change; 0: none
}

type rulesCache = cache[matrix.UserID, *userRules]

func newRulesCache(limit int, age time.Duration) *rulesCache {
	return newCache[matrix.UserID, *userRules](limit, age)
}

// forget drops what is cached about a user. It runs when the change is
// committed, before anybody is told of it.
func (s *Service) forget(user matrix.UserID) {
	s.tokens.forget(user)
	s.grants.forget(user)
	s.known.forget(user)
}

// Forget drops what is cached about a user that another process has changed.
func (s *Service) Forget(user matrix.UserID) {
	s.forget(user)
	s.rules.forget(user)
}
