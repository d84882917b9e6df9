package rooms

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	// MaxWalk is how many events a server is told at once, and from how many it may start.
	MaxWalk = 100
	// walkSteps is how many events are looked at for that.
	walkSteps = 4 * MaxWalk
)

// Backfill is up to limit events of a room, some given ones and those before
// them, as the peer may see them, newest first. What is given and not known here, or
// in another room, is left out.
func (p Peer) Backfill(ctx context.Context, room matrix.RoomID, from []matrix.EventID, limit int) ([]*matrix.Event, error) {
	info, err := p.room(ctx, room)
	if err != nil {
		return nil, err
	}
	events, err := p.s.graph(info, limit).backfill(ctx, from, min(limit, MaxWalk))
	if err != nil {
		return nil, err
	}
	return p.sight(info).see(ctx, events)
}

// A Gap is what a server lacks of a room: what is before Latest, which it has,
// but for Earliest and all that is before them or less deep than MinDepth.
type Gap struct {
	Latest, Earliest []matrix.EventID
	MinDepth         int64
	Limit            int
}

// Missing is events that fill a gap from its end, as the peer may see them: each one
// behind those that it follows.
func (p Peer) Missing(ctx context.Context, room matrix.RoomID, gap Gap) ([]*matrix.Event, error) {
	info, err := p.room(ctx, room)
	if err != nil {
		return nil, err
	}
	gap.Limit = min(gap.Limit, MaxWalk)
	events, err := p.s.graph(info, gap.Limit).missing(ctx, gap)
	if err != nil {
		return nil, err
	}
	return p.sight(info).see(ctx, events)
}

// A graph is the events of a room that a walk has come across.
type graph struct {
	// known reads events by their IDs.
	known func(context.Context, []matrix.EventID) (map[matrix.EventID]*storage.Event, error)
	// behind reads events that stand before a place in the room. In most rooms
	// they are what is wanted next, all at once.
	behind func(ctx context.Context, place int64) ([]*storage.Event, error)
	// standing is what an event is to those who walk.
	standing func(*storage.Event) standing

	events map[matrix.EventID]*storage.Event // nil: not there for those who walk
	steps  int                               // that may still be made
}

func (s *Service) graph(info *storage.RoomInfo, limit int) *graph {
	return &graph{
		known: s.knownEvents,
		behind: func(ctx context.Context, place int64) ([]*storage.Event, error) {
			return s.store.Events.Backward(ctx, info.NID, place-1, math.MinInt64, limit)
		},
		standing: func(e *storage.Event) standing { return s.standing(info, e) },
		events:   map[matrix.EventID]*storage.Event{},
		steps:    walkSteps,
	}
}

// load makes some events known to the walk: by two queries, or none.
func (g *graph) load(ctx context.Context, ids []matrix.EventID) error {
	var wanted []matrix.EventID
	for _, id := range ids {
		if _, ok := g.events[id]; !ok {
			wanted = append(wanted, id)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	known, err := g.known(ctx, wanted)
	if err != nil {
		return err
	}
	place := int64(math.MinInt64)
	for _, id := range wanted {
		g.events[id] = nil
		if e := known[id]; g.standing(e) != absent {
			if g.events[id] = e; e.Verdict == storage.Placed {
				place = max(place, e.Ordering)
			}
		}
	}
	if place == math.MinInt64 {
		return nil
	}
	more, err := g.behind(ctx, place)
	for _, e := range more {
		if _, ok := g.events[e.ID]; !ok && g.standing(e) != absent {
			g.events[e.ID] = e
		}
	}
	return err
}

// backfill walks from the newest event that is left to the next.
func (g *graph) backfill(ctx context.Context, from []matrix.EventID, limit int) (walked []*storage.Event, err error) {
	var left newestFirst
	seen := map[matrix.EventID]bool{}
	for ids := from; ; {
		if err := g.load(ctx, ids); err != nil {
			return nil, err
		}
		for _, id := range ids {
			if e := g.events[id]; e != nil && !seen[id] {
				seen[id] = true
				heap.Push(&left, e)
			}
		}
		if len(left) == 0 || len(walked) >= limit || g.steps == 0 {
			return walked, nil
		}
		e := heap.Pop(&left).(*storage.Event)
		g.steps--
		if g.standing(e) == told {
			walked = append(walked, e)
		}
		ids = e.PrevEvents
	}
}

// missing walks a generation at a time.
func (g *graph) missing(ctx context.Context, gap Gap) ([]*storage.Event, error) {
	seen := map[matrix.EventID]bool{}
	for _, id := range gap.Earliest {
		seen[id] = true
	}
	var latest []matrix.EventID
	for _, id := range gap.Latest {
		if !seen[id] {
			seen[id] = true
			latest = append(latest, id)
		}
	}
	if err := g.load(ctx, latest); err != nil {
		return nil, err
	}
	var found []*storage.Event
	for level := latest; len(level) > 0; {
		var before []matrix.EventID
		for _, id := range level {
			for _, prev := range g.prevOf(id) {
				if !seen[prev] {
					seen[prev] = true
					before = append(before, prev)
				}
			}
		}
		if err := g.load(ctx, before); err != nil {
			return nil, err
		}
		level = nil
		for _, id := range before {
			e := g.events[id]
			if e == nil || e.Depth < gap.MinDepth {
				continue
			}
			if len(found) >= gap.Limit || g.steps == 0 {
				return oldestFirst(found), nil
			}
			g.steps--
			if g.standing(e) == told {
				found = append(found, e)
			}
			level = append(level, id)
		}
	}
	return oldestFirst(found), nil
}

func (g *graph) prevOf(id matrix.EventID) []matrix.EventID {
	if e := g.events[id]; e != nil {
		return e.PrevEvents
	}
	return nil
}

// newer orders events by how deep they say they are and by when they came here.
func newer(a, b *storage.Event) int {
	return -cmp.Or(cmp.Compare(a.Depth, b.Depth), cmp.Compare(a.Ordering, b.Ordering), cmp.Compare(a.ID, b.ID))
}

// newestFirst is a heap.
type newestFirst []*storage.Event

func (h newestFirst) Len() int           { return len(h) }
func (h newestFirst) Less(i, j int) bool { return newer(h[i], h[j]) < 0 }
func (h newestFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *newestFirst) Push(e any) { *h = append(*h, e.(*storage.Event)) }

// Pop implements heap.Interface.
func (h *newestFirst) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = (*h)[:last]
	return e
}

// oldestFirst puts each event behind those among them that it follows, whatever
// depths they claim.
func oldestFirst(events []*storage.Event) []*storage.Event {
	slices.SortFunc(events, func(a, b *storage.Event) int { return newer(b, a) })
	left := make(map[matrix.EventID]*storage.Event, len(events))
	for _, e := range events {
		left[e.ID] = e
	}
	sorted := make([]*storage.Event, 0, len(events))
	var put func(e *storage.Event)
	put = func(e *storage.Event) {
		delete(left, e.ID)
		for _, id := range e.PrevEvents {
			if prev := left[id]; prev != nil {
				put(prev)
			}
		}
		sorted = append(sorted, e)
	}
	for _, e := range events {
		if left[e.ID] != nil {
			put(e)
		}
	}
	return sorted
}
