package rooms

import (
	"slices"
	"testing"

	"trestle/homeserver/storage"
)

// Whoever has looked at keys can tell when their numbers may be those of others, and keeps what it has looked at.
func TestKeysThatAreTakenBack(t *testing.T) {
	key := func(name string) storage.StateKey { return storage.StateKey{Type: "m.x", Key: name} }
	table := newKeyTable([]storage.StateKey{key("a")})
	table.add(key("b"))
	seen, serial := table.numbered()
	if _, again := table.numbered(); again != serial {
		t.Error("another serial without a reason")
	}
	table.truncate(2)
	table.add(key("c"))
	if keys, again := table.numbered(); again != serial || !slices.Equal(keys[:2], seen) {
		t.Error("another serial though there are only more keys")
	}
	table.truncate(1)
	if n, isNew := table.add(key("d")); n != 1 || !isNew {
		t.Errorf("the number %d", n)
	}
	keys, again := table.numbered()
	if again == serial || !slices.Equal(keys, []storage.StateKey{key("a"), key("d")}) {
		t.Errorf("the same serial for %v", keys)
	}
	if !slices.Equal(seen, []storage.StateKey{key("a"), key("b")}) {
		t.Errorf("what was seen becomes %v", seen)
	}
	if _, other := newKeyTable(nil).numbered(); other == again {
		t.Error("two tables have one serial")
	}
}
