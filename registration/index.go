package registration

import (
	"regexp/syntax"
	"slices"
	"sync"
)

// remembered is after how many IDs of a kind those are forgotten that have not
// been asked for since as many before.
const remembered = 100_000

// fewHeads is how many lengths of heads, and expressions with the same one, are
// tried as fast as something is remembered.
const fewHeads = 4

// An index finds the expressions that match an ID. Expressions are filed under
// the literal text that their matches begin with, so that a new ID meets a
// handful of ten thousand; what an ID matches is then remembered.
type index struct {
	byHead  map[string][]filed
	lengths []int               // of the heads, ascending
	fixed   map[string]*matches // whatever the expressions say

	mu    sync.RWMutex
	young map[string]*matches // looked up without a write: this is asked for every member of a room
	old   map[string]*matches
}

// filed is an expression under one of its heads.
type filed struct {
	owner *Registration
	space *Namespace
	order int
	alone *matches // of an ID that matches nothing else
}

// matches is what an ID matches: services in the order of the set, each once.
type matches struct {
	interested []*Registration
	exclusive  []*Registration
}

var noMatches = &matches{}

func newIndex(regs []*Registration, spaces func(*Registration) []Namespace) *index {
	ix := &index{byHead: map[string][]filed{}, young: map[string]*matches{}}
	for order, reg := range regs {
		list := spaces(reg)
		for i := range list {
			alone := &matches{interested: []*Registration{reg}}
			if list[i].Exclusive {
				alone.exclusive = alone.interested
			}
			ix.file(filed{reg, &list[i], order, alone})
		}
	}
	for head := range ix.byHead {
		if !slices.Contains(ix.lengths, len(head)) {
			ix.lengths = append(ix.lengths, len(head))
		}
	}
	slices.Sort(ix.lengths)
	return ix
}

func (ix *index) file(f filed) {
	heads := []string{""}
	if tree, err := syntax.Parse(f.space.Regex, syntax.Perl); err == nil {
		heads, _ = literals(tree.Simplify())
	}
	slices.Sort(heads)
	for i, head := range heads {
		// A head that begins with another one is found under the shorter.
		if i == 0 || head != heads[i-1] {
			ix.byHead[head] = append(ix.byHead[head], f)
		}
	}
}

// find returns what the ID matches; the result is shared and not changed.
func (ix *index) find(id string) *matches {
	if len(ix.byHead) == 0 && len(ix.fixed) == 0 {
		return noMatches
	}
	if m := ix.quick(id); m != nil {
		return m
	}
	ix.mu.RLock()
	m, ok := ix.young[id]
	ix.mu.RUnlock()
	if ok {
		return m
	}
	if m, ok = ix.fixed[id]; !ok {
		ix.mu.RLock()
		m, ok = ix.old[id]
		ix.mu.RUnlock()
	}
	if !ok {
		m = ix.match(id)
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if len(ix.young) >= remembered {
		ix.old, ix.young = ix.young, map[string]*matches{}
	}
	ix.young[id] = m
	return m
}

// quick is what an ID matches, where that is decided faster than it is looked up:
// among few expressions that are plain, of which one or none matches. Else it is nil.
func (ix *index) quick(id string) *matches {
	if len(ix.lengths) > fewHeads {
		return nil
	}
	found := noMatches
	for _, n := range ix.lengths {
		if n > len(id) {
			break
		}
		list := ix.byHead[id[:n]]
		if len(list) > fewHeads {
			return nil
		}
		for i := range list {
			switch p := list[i].space.plain; {
			case p == nil:
				return nil
			case !p.matches(id):
			case found != noMatches:
				return nil
			default:
				found = list[i].alone
			}
		}
	}
	if m, ok := ix.fixed[id]; ok {
		return m
	}
	return found
}

func (ix *index) match(id string) *matches {
	var hits []filed
	for _, n := range ix.lengths {
		if n > len(id) {
			break
		}
		for _, f := range ix.byHead[id[:n]] {
			if f.space.Matches(id) {
				hits = append(hits, f)
			}
		}
	}
	if len(hits) == 0 {
		return noMatches
	}
	slices.SortStableFunc(hits, func(a, b filed) int { return a.order - b.order })
	m := &matches{}
	for _, hit := range hits {
		m.interested = appendOnce(m.interested, hit.owner)
		if hit.space.Exclusive {
			m.exclusive = appendOnce(m.exclusive, hit.owner)
		}
	}
	return m
}

// appendOnce relies on equal owners being neighbours.
func appendOnce(list []*Registration, r *Registration) []*Registration {
	if len(list) > 0 && list[len(list)-1] == r {
		return list
	}
	return append(list, r)
}
