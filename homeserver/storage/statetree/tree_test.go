package statetree_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"trestle/homeserver/storage/statetree"
)

// memory is a Source that has only what was stored as blobs.
type memory struct {
	blobs map[int64][]byte
	next  int64
	loads int
}

func newMemory() *memory { return &memory{blobs: map[int64][]byte{}} }

func (m *memory) StateNode(_ context.Context, id int64) (*statetree.Node, error) {
	m.loads++
	blob, ok := m.blobs[id]
	if !ok {
		return nil, fmt.Errorf("no node %d", id)
	}
	return statetree.DecodeNode(id, blob)
}

func (m *memory) newID(context.Context) (int64, error) { m.next++; return m.next, nil }

func (m *memory) set(t *testing.T, tree statetree.Tree, key uint32, value int64) statetree.Tree {
	t.Helper()
	tree, made, err := tree.Set(t.Context(), m, m.newID, key, value)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range made {
		m.blobs[n.ID] = n.Encode()
	}
	return tree
}

func (m *memory) apply(t *testing.T, tree statetree.Tree, entries map[uint32]int64) statetree.Tree {
	t.Helper()
	var list []statetree.Entry
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		list = append(list, statetree.Entry{Key: key, Value: entries[key]})
	}
	tree, made, err := tree.Apply(t.Context(), m, m.newID, list)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range made {
		m.blobs[n.ID] = n.Encode()
	}
	return tree
}

func TestATreeCanBeEmptied(t *testing.T) {
	m := newMemory()
	all := map[uint32]int64{}
	for key := range uint32(200) {
		all[key*7] = int64(key) + 1
	}
	tree := m.apply(t, statetree.Tree{}, all)
	if nodes, least := len(m.blobs), 1+2+44; nodes > least {
		t.Errorf("a tree that is made at once has %d nodes, where %d do", nodes, least)
	}
	if same := m.apply(t, tree, all); same.Root() != tree.Root() {
		t.Error("what changes nothing makes another tree")
	}
	for key := range uint32(200) {
		tree = m.apply(t, tree, map[uint32]int64{key * 7: 0, 1 << 30: 0})
		if got := len(contents(t, m, tree)); got != 199-int(key) {
			t.Fatalf("%d keys are left after %d were taken out", got, key+1)
		}
	}
	if tree.Root() != 0 {
		t.Errorf("the root of the empty tree is %d", tree.Root())
	}
}

func contents(t *testing.T, m *memory, tree statetree.Tree) map[uint32]int64 {
	t.Helper()
	got := map[uint32]int64{}
	last := int64(-1)
	err := tree.Walk(t.Context(), m, func(key uint32, value int64) bool {
		if int64(key) <= last {
			t.Errorf("key %d comes after %d", key, last)
		}
		last = int64(key)
		got[key] = value
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestEveryVersionStaysWhatItWas(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	m := newMemory()
	var tree statetree.Tree
	model := map[uint32]int64{}
	type version struct {
		root  int64
		model map[uint32]int64
	}
	var history []version
	for i := range 3000 {
		key := random.Uint32N(uint32(1 + i/2))
		if i%500 == 499 {
			key = random.Uint32()
		}
		value := random.Int64N(1<<40) + 1
		tree = m.set(t, tree, key, value)
		model[key] = value
		if i%4 == 0 {
			many := map[uint32]int64{random.Uint32N(uint32(1 + i/2)): 0, random.Uint32(): 0} // not always there
			for range random.IntN(6) {
				many[random.Uint32N(uint32(1+i/2))] = random.Int64N(2) * int64(i+1)
			}
			tree = m.apply(t, tree, many)
			for key, value := range many {
				if model[key] = value; value == 0 {
					delete(model, key)
				}
			}
		}
		if i%97 == 0 {
			history = append(history, version{tree.Root(), maps.Clone(model)})
		}
	}
	for _, v := range history {
		stored, err := statetree.FromRoot(t.Context(), m, v.root)
		if err != nil {
			t.Fatal(err)
		}
		if got := contents(t, m, stored); !maps.Equal(got, v.model) {
			t.Fatalf("root %d holds %d keys that differ from its %d", v.root, len(got), len(v.model))
		}
		for key, want := range v.model {
			if got, err := stored.Get(t.Context(), m, key); err != nil || got != want {
				t.Fatalf("key %d is %d, %v; want %d", key, got, err, want)
			}
		}
	}
	for i := 1; i < len(history); i++ {
		checkDiff(t, m, history[i-1].root, history[i].root, history[i-1].model, history[i].model)
		checkDiff(t, m, history[i].root, history[0].root, history[i].model, history[0].model)
		checkDiff(t, m, 0, history[i].root, nil, history[i].model)
	}
}

func checkDiff(t *testing.T, m *memory, a, b int64, from, to map[uint32]int64) {
	t.Helper()
	left, err := statetree.FromRoot(t.Context(), m, a)
	if err != nil {
		t.Fatal(err)
	}
	right, err := statetree.FromRoot(t.Context(), m, b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := statetree.Diff(t.Context(), m, left, right)
	if err != nil {
		t.Fatal(err)
	}
	var want []statetree.Change
	for key := range merged(from, to) {
		if from[key] != to[key] {
			want = append(want, statetree.Change{Key: key, Old: from[key], New: to[key]})
		}
	}
	slices.SortFunc(want, func(x, y statetree.Change) int { return int(int64(x.Key) - int64(y.Key)) })
	if !slices.Equal(got, want) {
		t.Fatalf("from %d to %d: %d changes, want %d", a, b, len(got), len(want))
	}
}

func merged(a, b map[uint32]int64) map[uint32]int64 {
	all := maps.Clone(a)
	if all == nil {
		all = map[uint32]int64{}
	}
	maps.Copy(all, b)
	return all
}

func TestDiffLeavesSharedPartsAlone(t *testing.T) {
	m := newMemory()
	var tree statetree.Tree
	for key := range uint32(5000) {
		tree = m.set(t, tree, key, int64(key)+1)
	}
	before := tree.Root()
	after := m.set(t, tree, 4321, 99_999).Root()
	left, _ := statetree.FromRoot(t.Context(), m, before)
	right, _ := statetree.FromRoot(t.Context(), m, after)
	m.loads = 0
	changes, err := statetree.Diff(t.Context(), m, left, right)
	if err != nil || len(changes) != 1 {
		t.Fatalf("got %v, %v", changes, err)
	}
	if m.loads > 6 {
		t.Errorf("a difference of one key loaded %d nodes", m.loads)
	}
}

func TestDamagedNodesAreErrors(t *testing.T) {
	for name, blob := range map[string][]byte{
		"empty":     nil,
		"too high":  {9, 0, 0, 0, 0},
		"cut short": {0, 0, 0, 0, 3, 2},
		"too long":  {0, 0, 0, 0, 1, 2, 2},
	} {
		if _, err := statetree.DecodeNode(1, blob); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	m := newMemory()
	m.blobs[1] = []byte{1, 0, 0, 0, 1, 2} // a parent that is its own child
	loop, err := statetree.FromRoot(t.Context(), m, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loop.Get(t.Context(), m, 1); err == nil {
		t.Error("a loop was followed")
	}
}

func FuzzDecodeNode(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 3, 2, 2})
	f.Fuzz(func(t *testing.T, blob []byte) {
		n, err := statetree.DecodeNode(1, blob)
		if err != nil {
			return
		}
		again, err := statetree.DecodeNode(1, n.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Encode(), n.Encode()) {
			t.Error("a second encoding differs from the first")
		}
	})
}

func BenchmarkGet(b *testing.B) {
	m := newMemory()
	var tree statetree.Tree
	for key := range uint32(5000) {
		tree, _, _ = tree.Set(b.Context(), m, m.newID, key, int64(key)+1)
	}
	for i := 0; b.Loop(); i++ {
		if _, err := tree.Get(b.Context(), m, uint32(i)%5000); err != nil {
			b.Fatal(err)
		}
	}
}
