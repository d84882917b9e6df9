package storage

import (
	"slices"
	"sync"
)

const (
	recentCount = 8192
	recentBytes = 32 << 20
)

// recentEvents is the end of the stream, for readers that keep up with it. It
// relies on this process being the only one that writes events.
type recentEvents struct {
	mu     sync.Mutex
	events []*Event // by position
	bytes  int
	// complete is the position behind which no event is missing.
	complete int64
	begun    bool
}

// add takes in an event that has just been committed, in commit order.
func (r *recentEvents) add(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.RedactedBy != 0 {
		if i, ok := r.find(e.Position); ok {
			r.bytes += len(e.JSON()) - len(r.events[i].JSON())
			r.events[i] = e
			return
		}
		// One that was redacted before it came is new all the same.
		if r.begun && (e.Position <= r.complete || len(r.events) > 0 && e.Position < r.events[len(r.events)-1].Position) {
			return
		}
		if !r.begun {
			return // what follows begins behind it
		}
	}
	if !r.begun {
		r.begun, r.complete = true, e.Position-1
	}
	r.events = append(r.events, e)
	r.bytes += len(e.JSON())
	if len(r.events) > recentCount || r.bytes > recentBytes {
		r.shrink()
	}
}

// shrink drops the older half.
func (r *recentEvents) shrink() {
	half := (len(r.events) + 1) / 2
	for _, e := range r.events[:half] {
		r.bytes -= len(e.JSON())
	}
	r.complete = r.events[half-1].Position
	r.events = slices.Clone(r.events[half:])
}

func (r *recentEvents) find(position int64) (int, bool) {
	return slices.BinarySearchFunc(r.events, position, func(e *Event, position int64) int { return int(e.Position - position) })
}

// stream is up to limit events in (after, upTo], unless some of them may be
// missing here.
func (r *recentEvents) stream(after, upTo int64, limit int) ([]*Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begun || after < r.complete {
		return nil, false
	}
	from, _ := r.find(after + 1)
	to, _ := r.find(upTo + 1)
	return slices.Clone(r.events[from:max(from, min(to, from+limit))]), true
}

// drop forgets events that are no more.
func (r *recentEvents) drop(nids []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := make(map[int64]bool, len(nids))
	for _, nid := range nids {
		gone[nid] = true
	}
	r.events = slices.DeleteFunc(slices.Clone(r.events), func(e *Event) bool {
		if gone[e.NID] {
			r.bytes -= len(e.JSON())
		}
		return gone[e.NID]
	})
}
