package rooms

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A history is a room's events with forks, holes, false depths and events that are not told.
type history struct {
	events []*storage.Event // by ordering
	byID   map[matrix.EventID]*storage.Event
	not    map[matrix.EventID]standing // told if it is missing here
	reads  int
}

func randomHistory(r *rand.Rand, size int) *history {
	h := &history{byID: map[matrix.EventID]*storage.Event{}, not: map[matrix.EventID]standing{}}
	for i := range size {
		e := &storage.Event{Event: &matrix.Event{ID: matrix.EventID(fmt.Sprintf("$%03d", i))}, Ordering: int64(i + 1)}
		for range r.IntN(4) {
			prev := matrix.EventID("$unknown")
			if i > 0 && r.IntN(20) > 0 {
				prev = h.events[max(0, i-1-r.IntN(6))].ID
				e.Depth = max(e.Depth, h.byID[prev].Depth+1)
			}
			e.PrevEvents = append(e.PrevEvents, prev)
		}
		switch r.IntN(20) {
		case 0:
			e.Depth = r.Int64N(2 * int64(size))
		case 1:
			h.not[e.ID] = passed
		case 2:
			h.not[e.ID] = absent
		}
		h.events = append(h.events, e)
		h.byID[e.ID] = e
	}
	return h
}

func (h *history) standing(e *storage.Event) standing {
	if e == nil {
		return absent
	}
	if s, ok := h.not[e.ID]; ok {
		return s
	}
	return told
}

func (h *history) graph(page int) *graph {
	return &graph{
		known: func(_ context.Context, ids []matrix.EventID) (map[matrix.EventID]*storage.Event, error) {
			h.reads++
			found := map[matrix.EventID]*storage.Event{}
			for _, id := range ids {
				if e := h.byID[id]; e != nil {
					found[id] = e
				}
			}
			return found, nil
		},
		behind: func(_ context.Context, place int64) ([]*storage.Event, error) {
			h.reads++
			return h.events[max(0, int(place)-1-page) : place-1], nil
		},
		standing: h.standing,
		events:   map[matrix.EventID]*storage.Event{},
		steps:    math.MaxInt,
	}
}

// distances is how many steps each event is behind some, by going over all events
// until nothing changes.
func (h *history) distances(from []matrix.EventID, enter func(*storage.Event) bool) map[matrix.EventID]int {
	d := map[matrix.EventID]int{}
	for _, id := range from {
		if h.standing(h.byID[id]) != absent {
			d[id] = 0
		}
	}
	for changed := true; changed; {
		changed = false
		for _, e := range h.events {
			at, ok := d[e.ID]
			for _, prev := range e.PrevEvents {
				before := h.byID[prev]
				if !ok || h.standing(before) == absent || !enter(before) {
					continue
				}
				if was, ok := d[prev]; !ok || was > at+1 {
					d[prev], changed = at+1, true
				}
			}
		}
	}
	return d
}

func everywhere(*storage.Event) bool { return true }

func (h *history) some(r *rand.Rand, most int) (ids []matrix.EventID) {
	for range r.IntN(most + 1) {
		ids = append(ids, matrix.EventID(fmt.Sprintf("$%03d", r.IntN(len(h.events)+2))))
	}
	return ids
}

func ids(events []*storage.Event) (list []matrix.EventID) {
	for _, e := range events {
		list = append(list, e.ID)
	}
	return list
}

// What is walked is what can be reached, each step to the newest event that can be.
func TestBackfillAgainstASlowWalk(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		h := randomHistory(r, 1+r.IntN(60))
		from, limit := h.some(r, 4), r.IntN(30)
		got, err := h.graph(r.IntN(10)).backfill(t.Context(), from, limit)
		if err != nil {
			t.Fatal(err)
		}
		var want []*storage.Event
		open := map[matrix.EventID]bool{}
		for _, id := range from {
			open[id] = true
		}
		done := map[matrix.EventID]bool{}
		for len(want) < limit {
			var best *storage.Event
			for _, e := range h.events {
				if open[e.ID] && !done[e.ID] && h.standing(e) != absent && (best == nil || newer(e, best) < 0) {
					best = e
				}
			}
			if best == nil {
				break
			}
			done[best.ID] = true
			for _, prev := range best.PrevEvents {
				open[prev] = true
			}
			if h.standing(best) == told {
				want = append(want, best)
			}
		}
		if !slices.Equal(ids(got), ids(want)) {
			t.Fatalf("seed %d: %v, want %v", seed, ids(got), ids(want))
		}
		if reachable := h.distances(from, everywhere); len(got) < limit {
			for _, e := range h.events {
				if _, ok := reachable[e.ID]; ok && h.standing(e) == told && !slices.Contains(got, e) {
					t.Fatalf("seed %d: %s is not there", seed, e.ID)
				}
			}
		}
	}
}

// A gap is filled from its end, up to the limit, and told in the order of what follows what.
func TestMissingAgainstASlowWalk(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 2))
		h := randomHistory(r, 1+r.IntN(60))
		gap := Gap{Latest: h.some(r, 4), Earliest: h.some(r, 3), MinDepth: r.Int64N(20), Limit: r.IntN(30)}
		got, err := h.graph(r.IntN(10)).missing(t.Context(), gap)
		if err != nil {
			t.Fatal(err)
		}
		latest := slices.DeleteFunc(slices.Clone(gap.Latest), func(id matrix.EventID) bool { return slices.Contains(gap.Earliest, id) })
		reachable := h.distances(latest, func(e *storage.Event) bool {
			return e.Depth >= gap.MinDepth && !slices.Contains(gap.Earliest, e.ID)
		})
		var want []*storage.Event
		for _, e := range h.events {
			if d, ok := reachable[e.ID]; ok && d > 0 && h.standing(e) == told && !slices.Contains(gap.Latest, e.ID) {
				want = append(want, e)
			}
		}
		// Those nearest to the end come in first; of the last generation it may be any.
		slices.SortStableFunc(want, func(a, b *storage.Event) int { return reachable[a.ID] - reachable[b.ID] })
		if len(got) != min(len(want), gap.Limit) {
			t.Fatalf("seed %d: %v of %v, up to %d", seed, ids(got), ids(want), gap.Limit)
		}
		for i, e := range got {
			if !slices.Contains(want, e) || slices.Contains(got[:i], e) || reachable[e.ID] > reachable[want[len(got)-1].ID] {
				t.Fatalf("seed %d: %s is in %v, of %v", seed, e.ID, ids(got), ids(want))
			}
			for _, prev := range e.PrevEvents {
				if slices.ContainsFunc(got[i:], func(later *storage.Event) bool { return later.ID == prev }) {
					t.Fatalf("seed %d: %s comes before %s, which it follows", seed, e.ID, prev)
				}
			}
		}
	}
}

// A line of events costs two reads, however long it is.
func TestALineOfEventsIsReadAtOnce(t *testing.T) {
	h := &history{byID: map[matrix.EventID]*storage.Event{}}
	for i := range 500 {
		e := &storage.Event{Event: &matrix.Event{ID: matrix.EventID(fmt.Sprintf("$%03d", i)), Depth: int64(i)}, Ordering: int64(i + 1)}
		if i > 0 {
			e.PrevEvents = []matrix.EventID{h.events[i-1].ID}
		}
		h.events = append(h.events, e)
		h.byID[e.ID] = e
	}
	walked, err := h.graph(100).backfill(t.Context(), []matrix.EventID{"$400"}, 100)
	if err != nil || len(walked) != 100 || walked[0].ID != "$400" || walked[99].ID != "$301" || h.reads != 2 {
		t.Errorf("%d events, %d reads, %v", len(walked), h.reads, err)
	}
	h.reads = 0
	found, err := h.graph(100).missing(t.Context(), Gap{Latest: []matrix.EventID{"$400"}, Earliest: []matrix.EventID{"$350"}, Limit: 100})
	if err != nil || len(found) != 49 || found[0].ID != "$351" || found[48].ID != "$399" || h.reads != 2 {
		t.Errorf("%d events, %d reads, %v", len(found), h.reads, err)
	}
	g := h.graph(100)
	g.steps = 7
	if walked, err := g.backfill(t.Context(), []matrix.EventID{"$400"}, 100); err != nil || len(walked) != 7 {
		t.Errorf("%d events in 7 steps, %v", len(walked), err)
	}
	g.steps = 7
	if found, err := g.missing(t.Context(), Gap{Latest: []matrix.EventID{"$400"}, Limit: 100}); err != nil || len(found) != 7 {
		t.Errorf("%d events in 7 steps, %v", len(found), err)
	}
}
