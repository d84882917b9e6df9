// Package statetree keeps the state of a room at each of its events as a
// persistent radix tree: every change makes a few new nodes and shares the
// rest with the tree it came from, so that the state at any event is one number.
//
// Keys are the dense numbers that a room gives its (type, state key) pairs,
// values the numbers of events. The package knows neither SQL nor events: a
// [Source] loads nodes and whoever changes a tree stores the new ones.
package statetree

import (
	"context"
	"fmt"
	"math/bits"
	"sync/atomic"
)

const (
	fanBits = 5
	fan     = 1 << fanBits
	// maxHeight bounds what a damaged blob can make a reader do: 7 levels hold 2^35 keys.
	maxHeight = 6
)

// A Tree is one state. The zero Tree is empty. It is immutable and safe for
// concurrent use.
type Tree struct {
	root *Node
}

// A Change is one key's difference between two trees; a value of 0 is none.
type Change struct {
	Key      uint32
	Old, New int64
}

// Source loads nodes that were stored earlier.
type Source interface {
	// StateNode is the node of that number.
	StateNode(ctx context.Context, id int64) (*Node, error)
}

// FromRoot is the tree whose root node has the given number; 0 is the empty tree.
func FromRoot(ctx context.Context, src Source, root int64) (Tree, error) {
	if root == 0 {
		return Tree{}, nil
	}
	n, err := src.StateNode(ctx, root)
	if err != nil {
		return Tree{}, fmt.Errorf("load state root %d: %w", root, err)
	}
	return Tree{root: n}, nil
}

// Root is the number under which the tree is stored; 0 for the empty tree.
func (t Tree) Root() int64 {
	if t.root == nil {
		return 0
	}
	return t.root.ID
}

// Get is the value of a key, or 0.
func (t Tree) Get(ctx context.Context, src Source, key uint32) (int64, error) {
	n := t.root
	if n == nil || !n.covers(key) {
		return 0, nil
	}
	for n.height > 0 {
		i, ok := n.slot(key)
		if !ok {
			return 0, nil
		}
		child, err := n.child(ctx, src, i)
		if err != nil {
			return 0, err
		}
		n = child
	}
	if i, ok := n.slot(key); ok {
		return n.values[i], nil
	}
	return 0, nil
}

// Set returns the tree with one key changed and the nodes that are new in it.
// newID numbers them. The new tree is usable before they are stored.
func (t Tree) Set(ctx context.Context, src Source, newID func(context.Context) (int64, error), key uint32, value int64) (Tree, []*Node, error) {
	if value == 0 {
		return t, nil, fmt.Errorf("state key %d: 0 is no event", key)
	}
	w := writer{ctx: ctx, src: src, newID: newID}
	root := t.root
	if root == nil {
		root = &Node{}
	}
	root, err := w.grow(root, key)
	if err != nil {
		return t, nil, err
	}
	root, err = w.set(root, key, value)
	if err != nil {
		return t, nil, err
	}
	return Tree{root: root}, w.made, nil
}

type writer struct {
	ctx   context.Context
	src   Source
	newID func(context.Context) (int64, error)
	made  []*Node
}

func (w *writer) set(n *Node, key uint32, value int64) (*Node, error) {
	var child *Node
	i, present := n.slot(key)
	if n.height > 0 {
		var err error
		if present {
			if child, err = n.child(w.ctx, w.src, i); err != nil {
				return nil, err
			}
		} else {
			child = &Node{height: n.height - 1}
		}
		if child, err = w.set(child, key, value); err != nil {
			return nil, err
		}
		value = child.ID
	}
	id, err := w.newID(w.ctx)
	if err != nil {
		return nil, fmt.Errorf("number a state node: %w", err)
	}
	made := n.with(id, key, i, present, value, child)
	w.made = append(w.made, made)
	return made, nil
}

// An Entry is a key and what it is to be; a value of 0 takes the key out.
type Entry struct {
	Key   uint32
	Value int64
}

// Apply returns the tree with many keys changed and the nodes that are new in it. The entries are in
// ascending order of their keys, each of which is there once.
func (t Tree) Apply(ctx context.Context, src Source, newID func(context.Context) (int64, error), entries []Entry) (Tree, []*Node, error) {
	w := writer{ctx: ctx, src: src, newID: newID}
	root := t.root
	if root == nil {
		root = &Node{}
	}
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].Value != 0 {
			var err error
			if root, err = w.grow(root, entries[i].Key); err != nil {
				return t, nil, err
			}
			break
		}
	}
	for len(entries) > 0 && !root.covers(entries[len(entries)-1].Key) {
		entries = entries[:len(entries)-1] // what is taken out is not there
	}
	root, err := w.apply(root, entries)
	if err != nil {
		return t, nil, err
	}
	return Tree{root: root}, w.made, nil
}

// grow is a root above one, as high as a key wants it.
func (w *writer) grow(root *Node, key uint32) (*Node, error) {
	for !root.covers(key) {
		up := &Node{height: root.height + 1}
		if up.height > maxHeight {
			return nil, fmt.Errorf("state key %d is too large", key)
		}
		if len(root.values) > 0 {
			id, err := w.newID(w.ctx)
			if err != nil {
				return nil, fmt.Errorf("number a state node: %w", err)
			}
			up.ID, up.bitmap, up.values, up.children = id, 1, []int64{root.ID}, newChildren(root)
			w.made = append(w.made, up)
		}
		root = up
	}
	return root, nil
}

// apply is the node with entries changed: itself if nothing does, nil if nothing is left.
func (w *writer) apply(n *Node, entries []Entry) (*Node, error) {
	var values [fan]int64
	var children [fan]*Node
	mask, i := n.bitmap, 0
	for m := mask; m != 0; m &= m - 1 {
		bit := bits.TrailingZeros32(m)
		values[bit] = n.values[i]
		if n.height > 0 {
			children[bit] = n.children[i].Load()
		}
		i++
	}
	changed := n.ID == 0
	for len(entries) > 0 {
		bit := entries[0].Key >> (fanBits * n.height) & (fan - 1)
		end := 1
		for end < len(entries) && entries[end].Key>>(fanBits*n.height)&(fan-1) == bit {
			end++
		}
		value, child := entries[0].Value, (*Node)(nil)
		if n.height > 0 {
			var err error
			if value, child, err = w.below(n, entries[:end]); err != nil {
				return nil, err
			}
		}
		if value != values[bit] {
			changed = true
			values[bit], children[bit] = value, child
			mask |= 1 << bit
			if value == 0 {
				mask &^= 1 << bit
			}
		}
		entries = entries[end:]
	}
	if !changed || mask == 0 {
		if mask == 0 {
			n = nil
		}
		return n, nil
	}
	id, err := w.newID(w.ctx)
	if err != nil {
		return nil, fmt.Errorf("number a state node: %w", err)
	}
	made := &Node{ID: id, height: n.height, bitmap: mask, values: make([]int64, 0, bits.OnesCount32(mask))}
	if n.height > 0 {
		made.children = make([]atomic.Pointer[Node], bits.OnesCount32(mask))
	}
	for m := mask; m != 0; m &= m - 1 {
		bit := bits.TrailingZeros32(m)
		if n.height > 0 {
			made.children[len(made.values)].Store(children[bit])
		}
		made.values = append(made.values, values[bit])
	}
	w.made = append(w.made, made)
	return made, nil
}

// below applies entries that all belong to one child of a node.
func (w *writer) below(n *Node, entries []Entry) (int64, *Node, error) {
	i, present := n.slot(entries[0].Key)
	child := &Node{height: n.height - 1}
	if present {
		var err error
		if child, err = n.child(w.ctx, w.src, i); err != nil {
			return 0, nil, err
		}
	}
	child, err := w.apply(child, entries)
	if child == nil || err != nil {
		return 0, nil, err
	}
	return child.ID, child, nil
}

// Walk calls fn for every key in ascending order until it answers false.
func (t Tree) Walk(ctx context.Context, src Source, fn func(key uint32, value int64) bool) error {
	if t.root == nil {
		return nil
	}
	_, err := walk(ctx, src, t.root, 0, fn)
	return err
}

func walk(ctx context.Context, src Source, n *Node, base uint32, fn func(uint32, int64) bool) (bool, error) {
	i := 0
	for m := n.bitmap; m != 0; m &= m - 1 {
		key := base | uint32(bits.TrailingZeros32(m))<<(fanBits*n.height)
		if n.height == 0 {
			if !fn(key, n.values[i]) {
				return false, nil
			}
		} else {
			child, err := n.child(ctx, src, i)
			if err != nil {
				return false, err
			}
			if more, err := walk(ctx, src, child, key, fn); !more || err != nil {
				return false, err
			}
		}
		i++
	}
	return true, nil
}

// Diff lists what differs between two trees, in ascending order of keys.
// Subtrees that both share are never visited.
func Diff(ctx context.Context, src Source, from, to Tree) ([]Change, error) {
	d := differ{ctx: ctx, src: src}
	a, b := from.root, to.root
	for a != nil && b != nil && a.height < b.height {
		a = &Node{height: a.height + 1, bitmap: 1, values: []int64{a.ID}, children: newChildren(a)}
	}
	for a != nil && b != nil && b.height < a.height {
		b = &Node{height: b.height + 1, bitmap: 1, values: []int64{b.ID}, children: newChildren(b)}
	}
	err := d.nodes(a, b, 0)
	return d.changes, err
}

type differ struct {
	ctx     context.Context
	src     Source
	changes []Change
}

func (d *differ) nodes(a, b *Node, base uint32) error {
	if a == b || a != nil && b != nil && a.ID != 0 && a.ID == b.ID {
		return nil
	}
	var maskA, maskB uint32
	var height uint8
	if a != nil {
		maskA, height = a.bitmap, a.height
	}
	if b != nil {
		maskB, height = b.bitmap, b.height
	}
	for m := maskA | maskB; m != 0; m &= m - 1 {
		bit := uint32(bits.TrailingZeros32(m))
		key := base | bit<<(fanBits*height)
		oldValue, i := valueAt(a, bit)
		newValue, j := valueAt(b, bit)
		if oldValue == newValue {
			continue
		}
		if height == 0 {
			d.changes = append(d.changes, Change{Key: key, Old: oldValue, New: newValue})
			continue
		}
		if err := d.children(a, i, b, j, key); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) children(a *Node, i int, b *Node, j int, base uint32) error {
	var left, right *Node
	var err error
	if i >= 0 {
		if left, err = a.child(d.ctx, d.src, i); err != nil {
			return err
		}
	}
	if j >= 0 {
		if right, err = b.child(d.ctx, d.src, j); err != nil {
			return err
		}
	}
	return d.nodes(left, right, base)
}

func valueAt(n *Node, bit uint32) (value int64, index int) {
	if n == nil || n.bitmap&(1<<bit) == 0 {
		return 0, -1
	}
	i := bits.OnesCount32(n.bitmap & (1<<bit - 1))
	return n.values[i], i
}
