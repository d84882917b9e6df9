// Package lru is a cache with a budget: entries have costs, and the least
// recently used ones leave when the sum goes above it.
package lru

import (
	"container/list"
	"sync"
)

// A Cache is safe for concurrent use.
type Cache[K comparable, V any] struct {
	budget int
	cost   func(V) int

	mu      sync.Mutex
	spent   int
	entries map[K]*list.Element
	order   *list.List // front is newest
}

type entry[K comparable, V any] struct {
	key   K
	value V
	cost  int
}

// New makes a cache. cost may be nil: then every entry costs 1.
func New[K comparable, V any](budget int, cost func(V) int) *Cache[K, V] {
	return &Cache[K, V]{budget: budget, cost: cost, entries: map[K]*list.Element{}, order: list.New()}
}

// Get is the value of a key, which becomes the most recently used one.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		var none V
		return none, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

// Put sets the value of a key.
func (c *Cache[K, V]) Put(key K, value V) {
	cost := 1
	if c.cost != nil {
		cost = c.cost(value)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		c.drop(e)
	}
	c.entries[key] = c.order.PushFront(&entry[K, V]{key, value, cost})
	c.spent += cost
	for c.spent > c.budget && c.order.Len() > 1 {
		c.drop(c.order.Back())
	}
}

// Delete forgets a key.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		c.drop(e)
	}
}

// Clear forgets everything.
func (c *Cache[K, V]) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.order.Init()
	c.spent = 0
}

// Len is the number of entries.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len()
}

func (c *Cache[K, V]) drop(e *list.Element) {
	gone := e.Value.(*entry[K, V])
	c.order.Remove(e)
	delete(c.entries, gone.key)
	c.spent -= gone.cost
}
