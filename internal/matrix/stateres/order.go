package stateres

import (
	"cmp"
	"container/heap"
	"slices"

	"trestle/internal/matrix"
)

// pickPowerEvents picks the power events of the full conflicted set, and what
// of their auth chains is in that set; oldest first.
//
// A chain is followed only within the set. In a room of version 12 that is all
// of it: what lies between two events of the set is in the set. In older rooms
// it need not be, if the states don't fit the history that led to them, and
// there the letter of the specification would pick, and put in order, events
// that are linked only by way of others. No server does, and the servers of a
// room have to come to the same state.
func (g *graph) pickPowerEvents() []*node {
	var picked []*node
	within := make([]bool, len(g.order))
	for i := len(g.order) - 1; i >= 0; i-- {
		n := g.order[i]
		n.picked = n.full && (within[i] || isPowerEvent(n.event))
		if !n.picked {
			continue
		}
		picked = append(picked, n)
		for _, auth := range n.auth {
			within[auth.index] = true
		}
	}
	slices.Reverse(picked)
	return picked
}

// isPowerEvent reports whether an event might take from somebody the ability
// to do something.
func isPowerEvent(e *matrix.Event) bool {
	switch e.Type {
	case "m.room.power_levels", "m.room.join_rules":
		return e.StateKeyIs("")
	case "m.room.member":
		left := e.Membership() == "leave" || e.Membership() == "ban"
		return left && e.StateKey != nil && *e.StateKey != string(e.Sender)
	}
	return false
}

// powerOrder is the reverse topological power ordering: Kahn's algorithm,
// which takes of all that could come next what has most power behind it.
func (g *graph) powerOrder(picked []*node) []*node {
	behind := make(map[*node][]*node, len(picked))
	var ready powerQueue
	for _, n := range picked {
		n.power = g.powerLevels(n.create, n.levelsEvent()).User(n.event.Sender)
		for _, auth := range n.auth {
			if auth.picked {
				n.waiting++
				behind[auth] = append(behind[auth], n)
			}
		}
		if n.waiting == 0 {
			ready = append(ready, n)
		}
	}
	heap.Init(&ready)
	sorted := make([]*node, 0, len(picked))
	for len(ready) > 0 {
		n := heap.Pop(&ready).(*node)
		sorted = append(sorted, n)
		for _, next := range behind[n] {
			if next.waiting--; next.waiting == 0 {
				heap.Push(&ready, next)
			}
		}
	}
	return sorted
}

func (n *node) levelsEvent() *matrix.Event {
	if n.levels == nil {
		return nil
	}
	return n.levels.event
}

// A powerQueue is a heap whose first event is the one that comes next in the
// reverse topological power ordering.
type powerQueue []*node

func (q powerQueue) Len() int      { return len(q) }
func (q powerQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *powerQueue) Push(n any)   { *q = append(*q, n.(*node)) }

func (q *powerQueue) Pop() any {
	last := len(*q) - 1
	n := (*q)[last]
	*q = (*q)[:last]
	return n
}

func (q powerQueue) Less(i, j int) bool {
	a, b := q[i], q[j]
	return cmp.Or(cmp.Compare(b.power, a.power), compareAge(a, b)) < 0
}

// compareAge is how events compare when nothing else tells them apart.
func compareAge(a, b *node) int {
	return cmp.Or(cmp.Compare(a.event.OriginServerTS, b.event.OriginServerTS), cmp.Compare(a.event.ID, b.event.ID))
}

// nowhere is the position of events that no event of the mainline authorizes:
// further from its begin than any other.
const nowhere = int(^uint(0) >> 1)

// mainlineOrder sorts the rest of the full conflicted set by the mainline of
// a power levels event, nil if there is none: that event is at position 0, the
// one that authorizes it at 1, and so on.
func (g *graph) mainlineOrder(levels *matrix.Event) ([]*node, error) {
	if levels != nil {
		n, err := g.add(levels)
		if err != nil {
			return nil, err
		}
		for position := 0; n != nil; position++ {
			n.position, n.placed = position, true
			n = n.levels
		}
	}
	var rest []*node
	for _, n := range g.order {
		if n.full && !n.picked {
			n.position = closest(n.levels)
			rest = append(rest, n)
		}
	}
	slices.SortFunc(rest, func(a, b *node) int {
		return cmp.Or(cmp.Compare(b.position, a.position), compareAge(a, b))
	})
	return rest, nil
}

// closest is the position of the first event of the mainline on the way back
// from a power levels event, which may be nil. Every event on the way learns it.
func closest(levels *node) int {
	end := levels
	for end != nil && !end.placed {
		end = end.levels
	}
	position := nowhere
	if end != nil {
		position = end.position
	}
	for n := levels; n != end; n = n.levels {
		n.position, n.placed = position, true
	}
	return position
}
