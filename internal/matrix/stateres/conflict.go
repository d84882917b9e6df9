package stateres

import (
	"math/bits"

	"trestle/internal/matrix"
)

// markAuthDifference adds the auth difference to the full conflicted set: the
// events that are in the auth chains of some of the states, but not of all.
// What the states agree on is in all of them, and so is its auth chain.
func (g *graph) markAuthDifference(forks int) error {
	chains := g.chains(forks)
	missing := 0 // events of the difference, as far as is known
	inAll := make([]bool, len(g.order))
	for i := range g.order {
		n := chains.count(i)
		inAll[i] = n == forks
		if n > 0 && n < forks {
			missing++
		}
	}
	if missing > 0 {
		if err := g.markAgreed(inAll, chains, missing); err != nil {
			return err
		}
	}
	for i, n := range g.order {
		if !inAll[i] && chains.count(i) > 0 {
			n.full = true
		}
	}
	return nil
}

// chains tells for each event which forks have it in their auth chains: one
// pass over the graph, from the newest events to the oldest.
func (g *graph) chains(forks int) chainSets {
	chains := newChainSets(forks, len(g.order))
	members := newChainSets(forks, len(g.order))
	for fork, nodes := range g.forked {
		for _, n := range nodes {
			members.add(n.index, fork)
		}
	}
	for i := len(g.order) - 1; i >= 0; i-- {
		for _, auth := range g.order[i].auth {
			chains.merge(auth.index, chains.of(i))
			chains.merge(auth.index, members.of(i))
		}
	}
	return chains
}

// markAgreed marks in inAll the auth chains of the agreed state, and returns
// as soon as no event of the difference is left to be found in them. It does
// not go behind events that are marked: those before them are marked as well.
func (g *graph) markAgreed(inAll []bool, chains chainSets, missing int) error {
	seen := map[matrix.EventID]bool{}
	var stack []*matrix.Event
	for e := range g.agreed.All() {
		stack = append(stack, e)
		for len(stack) > 0 {
			e := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			for _, id := range e.AuthEvents {
				n := g.byID[id]
				switch {
				case n != nil && inAll[n.index] || n == nil && seen[id]:
					continue
				case n != nil:
					inAll[n.index] = true
					stack = append(stack, n.event)
					if chains.count(n.index) == 0 {
						continue
					}
					if missing--; missing == 0 {
						return nil
					}
				default:
					seen[id] = true
					auth, err := g.find(id, e.ID)
					if err != nil {
						return err
					}
					stack = append(stack, auth)
				}
			}
		}
	}
	return nil
}

// markSubgraph adds the conflicted state subgraph to the full conflicted set:
// what lies on a way along auth_events from one conflicted event to another.
// Every event of the graph lies behind a conflicted one; the question is
// whether another one lies behind it.
func (g *graph) markSubgraph() {
	reaches := make([]bool, len(g.order))
	for i, n := range g.order {
		reaches[i] = n.conflicted
		for _, auth := range n.auth {
			reaches[i] = reaches[i] || reaches[auth.index]
		}
		n.full = n.full || reaches[i]
	}
}

// chainSets is a set of forks for each event.
type chainSets struct {
	words int
	bits  []uint64
}

func newChainSets(forks, events int) chainSets {
	words := (forks + 63) / 64
	return chainSets{words, make([]uint64, words*events)}
}

func (s chainSets) of(event int) []uint64 {
	return s.bits[event*s.words : (event+1)*s.words]
}

func (s chainSets) add(event, fork int) {
	s.of(event)[fork/64] |= 1 << (fork % 64)
}

func (s chainSets) merge(event int, forks []uint64) {
	own := s.of(event)
	for i, word := range forks {
		own[i] |= word
	}
}

func (s chainSets) count(event int) int {
	n := 0
	for _, word := range s.of(event) {
		n += bits.OnesCount64(word)
	}
	return n
}
