package accounts

import (
	"testing"
	"time"
)

// What is dropped is read again, also where it was being read meanwhile.
func TestCacheDrops(t *testing.T) {
	c := newCache[string, int](10, time.Hour)
	_, epoch, _ := c.get("a")
	c.put("a", "", 1, epoch)
	if v, _, ok := c.get("a"); !ok || v != 1 {
		t.Fatalf("kept: %d, %t", v, ok)
	}
	_, reading, _ := c.get("b")
	c.drop("a")
	c.put("b", "", 2, reading)
	for _, key := range []string{"a", "b"} {
		if v, _, ok := c.get(key); ok {
			t.Errorf("%s is still %d", key, v)
		}
	}
}
