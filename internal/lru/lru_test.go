package lru_test

import (
	"testing"

	"trestle/internal/lru"
)

func TestTheLeastRecentlyUsedLeavesFirst(t *testing.T) {
	c := lru.New[string, int](10, func(v int) int { return v })
	c.Put("a", 4)
	c.Put("b", 4)
	c.Get("a")
	c.Put("c", 4)
	if _, ok := c.Get("b"); ok {
		t.Error("b is still there")
	}
	for _, key := range []string{"a", "c"} {
		if _, ok := c.Get(key); !ok {
			t.Errorf("%s is gone", key)
		}
	}
	c.Put("a", 1)
	c.Put("d", 5)
	if c.Len() != 3 {
		t.Errorf("%d entries, want a, c and d", c.Len())
	}
	c.Put("huge", 100)
	if v, ok := c.Get("huge"); !ok || v != 100 || c.Len() != 1 {
		t.Error("an entry above the budget is kept alone, until the next one")
	}
	c.Delete("huge")
	if c.Len() != 0 {
		t.Error("something is left")
	}
}
