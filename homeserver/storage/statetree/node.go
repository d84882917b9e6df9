package statetree

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync/atomic"
)

// A Node is up to 32 children or, at height 0, up to 32 values. Nodes are
// immutable once numbered; only the links to loaded children fill up.
type Node struct {
	ID     int64
	height uint8
	bitmap uint32
	// values holds, for each bit set, the number of a child or of an event.
	values   []int64
	children []atomic.Pointer[Node]
}

func newChildren(first *Node) []atomic.Pointer[Node] {
	list := make([]atomic.Pointer[Node], 1)
	list[0].Store(first)
	return list
}

// covers reports whether the key fits below a root of this height.
func (n *Node) covers(key uint32) bool {
	shift := fanBits * (uint(n.height) + 1)
	return shift >= 32 || key>>shift == 0
}

func (n *Node) slot(key uint32) (index int, present bool) {
	bit := key >> (fanBits * n.height) & (fan - 1)
	return bits.OnesCount32(n.bitmap & (1<<bit - 1)), n.bitmap&(1<<bit) != 0
}

func (n *Node) child(ctx context.Context, src Source, i int) (*Node, error) {
	if c := n.children[i].Load(); c != nil {
		return c, nil
	}
	c, err := src.StateNode(ctx, n.values[i])
	if err != nil {
		return nil, fmt.Errorf("load state node %d: %w", n.values[i], err)
	}
	if c.height != n.height-1 {
		return nil, fmt.Errorf("state node %d has height %d below a node of height %d", c.ID, c.height, n.height)
	}
	n.children[i].Store(c)
	return c, nil
}

// with copies the node with one slot set.
func (n *Node) with(id int64, key uint32, i int, present bool, value int64, child *Node) *Node {
	bit := key >> (fanBits * n.height) & (fan - 1)
	made := &Node{ID: id, height: n.height, bitmap: n.bitmap | 1<<bit}
	size := len(n.values)
	if !present {
		size++
	}
	made.values = make([]int64, size)
	copy(made.values, n.values[:i])
	made.values[i] = value
	rest := i
	if present {
		rest++
	}
	copy(made.values[i+1:], n.values[rest:])
	if n.height > 0 {
		made.children = make([]atomic.Pointer[Node], size)
		for k := range i {
			made.children[k].Store(n.children[k].Load())
		}
		made.children[i].Store(child)
		for k := rest; k < len(n.values); k++ {
			made.children[i+1+k-rest].Store(n.children[k].Load())
		}
	}
	return made
}

// Encode is the node's blob: height, bitmap, and its values as differences,
// which for neighbours are small numbers.
func (n *Node) Encode() []byte {
	blob := make([]byte, 5, 5+3*len(n.values))
	blob[0] = n.height
	binary.BigEndian.PutUint32(blob[1:], n.bitmap)
	last := int64(0)
	for _, v := range n.values {
		blob = binary.AppendVarint(blob, v-last)
		last = v
	}
	return blob
}

// DecodeNode reads what Encode wrote.
func DecodeNode(id int64, blob []byte) (*Node, error) {
	if len(blob) < 5 || blob[0] > maxHeight {
		return nil, fmt.Errorf("state node %d is damaged", id)
	}
	n := &Node{ID: id, height: blob[0], bitmap: binary.BigEndian.Uint32(blob[1:])}
	n.values = make([]int64, bits.OnesCount32(n.bitmap))
	rest, last := blob[5:], int64(0)
	for i := range n.values {
		d, size := binary.Varint(rest)
		if size <= 0 {
			return nil, fmt.Errorf("state node %d is cut short", id)
		}
		last += d
		n.values[i], rest = last, rest[size:]
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("state node %d has %d bytes too many", id, len(rest))
	}
	if n.height > 0 {
		n.children = make([]atomic.Pointer[Node], len(n.values))
	}
	return n, nil
}

// Below is the numbers of the nodes right below this one that are not linked to it yet.
func (n *Node) Below() []int64 {
	var ids []int64
	for i := range n.children {
		if n.children[i].Load() == nil {
			ids = append(ids, n.values[i])
		}
	}
	return ids
}
