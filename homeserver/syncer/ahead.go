package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime/debug"
	"slices"
	"sync"

	"trestle/homeserver/notifier"
	"trestle/homeserver/relations"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	// roomsAtOnce is of how many rooms is read at once.
	roomsAtOnce = 100
	// partsAhead is how many times as many are read while an answer about others is made.
	partsAhead = 2
)

// Ahead is what was read of many rooms at once, before each of them is looked at.
type Ahead struct {
	// newest holds the newest events of rooms, newest first; all where whole.
	newest map[int64][]*storage.Event
	whole  map[int64]bool
	// parents is which of them have children.
	parents *relations.Parents
	// receipts is those of rooms, if hasReceipts.
	receipts    map[int64]json.RawMessage
	hasReceipts map[int64]bool
	upTo        int64
}

// ReadAhead reads the newest events of rooms up to a place, one more than the
// limit and what came before it, and brings into memory what answers about
// these rooms need: their state, if lazy without members except for the reader and those
// who sent these events.
func (s *Service) ReadAhead(ctx context.Context, rooms []int64, upTo int64, limit int, reader matrix.UserID, lazy bool) (*Ahead, error) {
	a := &Ahead{newest: map[int64][]*storage.Event{}, whole: map[int64]bool{}}
	if len(rooms) < 2 {
		return a, nil
	}
	limit = min(limit, 100) // who wants more of each asks for each
	if err := s.Rooms.Warm(ctx, rooms); err != nil {
		return nil, err
	}
	var err error
	if a.newest, err = s.Store.Events.NewestOf(ctx, rooms, upTo, limit+2); err != nil {
		return nil, err
	}
	roots, nids, err := s.needed(ctx, a, rooms, limit, reader, lazy)
	if err != nil {
		return nil, err
	}
	if err := s.Store.State.Load(ctx, roots, false); err != nil {
		return nil, err
	}
	if a.parents, err = s.Relations.Parents(ctx, slices.Concat(slices.Collect(maps.Values(a.newest))...)); err != nil {
		return nil, err
	}
	return a, s.loadEvents(ctx, nids)
}

// needed is the roots of the state at the newest events, and the numbers of the
// state events of rooms.
func (s *Service) needed(ctx context.Context, a *Ahead, rooms []int64, limit int, reader matrix.UserID, lazy bool) (roots, nids []int64, err error) {
	var heads []int64
	for _, nid := range rooms {
		for _, e := range a.newest[nid] {
			roots = append(roots, e.Root)
			nids = append(nids, e.NID)
		}
		a.whole[nid] = len(a.newest[nid]) < limit+2
		if now, err := s.Rooms.Head(ctx, nid); err == nil {
			heads = append(heads, now.Root())
		}
	}
	if err := s.Store.State.Load(ctx, heads, true); err != nil {
		return nil, nil, err
	}
	for _, nid := range rooms {
		now, err := s.Rooms.Head(ctx, nid)
		if err != nil {
			return nil, nil, err
		}
		shown := map[string]bool{string(reader): true}
		for _, e := range a.newest[nid] {
			shown[string(e.Sender)] = true
		}
		state, err := now.Numbers(ctx, func(key storage.StateKey) bool { return !lazy || key.Type != "m.room.member" || shown[key.Key] })
		if err != nil {
			return nil, nil, err
		}
		nids = append(nids, state...)
	}
	return roots, nids, nil
}

// loadEvents brings events into memory, and those whose place they took or by
// which they were redacted, which are shown with them.
func (s *Service) loadEvents(ctx context.Context, nids []int64) error {
	events, err := s.Store.Events.ByNIDs(ctx, nids)
	if err != nil {
		return err
	}
	var related []int64
	for _, e := range events {
		for _, nid := range []int64{e.ReplacesNID, e.RedactedBy} {
			if nid != 0 {
				related = append(related, nid)
			}
		}
	}
	slices.Sort(related)
	_, err = s.Store.Events.ByNIDs(ctx, slices.Compact(related))
	if errors.Is(err, database.ErrNoRows) {
		return nil // purged with the history around it, and so not shown
	}
	return err
}

// inParts calls use for parts of rooms, in their order, with what read has read of
// them. The next parts are read meanwhile: reading is mostly waiting for the database.
func inParts(ctx context.Context, rooms []int64, read func(ctx context.Context, rooms []int64) (*Ahead, error), use func(rooms []int64, ahead *Ahead) error) error {
	type result struct {
		ahead *Ahead
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	parts := slices.Collect(slices.Chunk(rooms, roomsAtOnce))
	results := make([]chan result, len(parts))
	start := func(i int) {
		if i >= len(parts) {
			return
		}
		results[i] = make(chan result, 1)
		readers.Go(func() {
			var r result
			defer func() {
				if cause := recover(); cause != nil {
					r.err = fmt.Errorf("panic while rooms were read ahead: %v\n%s", cause, debug.Stack())
				}
				results[i] <- r
			}()
			r.ahead, r.err = read(ctx, parts[i])
		})
	}
	for i := range partsAhead {
		start(i)
	}
	for i, part := range parts {
		r := <-results[i]
		if r.err != nil {
			return r.err
		}
		start(i + partsAhead)
		if err := use(part, r.ahead); err != nil {
			return err
		}
	}
	return nil
}

// ReadReceipts reads the receipts of rooms.
func (s *Service) ReadReceipts(ctx context.Context, a *Ahead, rooms []int64, upTo int64, reader matrix.UserID) error {
	if len(rooms) < 2 {
		return nil
	}
	receipts, known, err := s.Ephemeral.ReceiptsOf(ctx, rooms, upTo, reader)
	if err != nil || !known {
		return err
	}
	a.upTo, a.receipts, a.hasReceipts = upTo, receipts, map[int64]bool{}
	for _, nid := range rooms {
		a.hasReceipts[nid] = true
	}
	return nil
}

// AllReceipts is the m.receipt event with all receipts of a room that a reader
// may see, or nil.
func (s *Service) AllReceipts(ctx context.Context, a *Ahead, info *storage.RoomInfo, upTo int64, reader matrix.UserID) (json.RawMessage, error) {
	if a != nil && a.hasReceipts[info.NID] && a.upTo == upTo {
		return a.receipts[info.NID], nil
	}
	return s.Ephemeral.ReceiptsSince(ctx, info.ID, 0, upTo, reader)
}

// Activity is that of a room as it was, with the newest events that were read ahead.
func (a *Ahead) Activity(nid int64, was notifier.Activity) notifier.Activity {
	if a == nil || len(a.newest[nid]) == 0 || len(was.Ring) > len(a.newest[nid]) {
		return was
	}
	events := slices.Clone(a.newest[nid])
	slices.Reverse(events)
	for _, e := range events {
		if e.Silent() {
			return was // a ring goes by positions
		}
	}
	was.Complete = math.MinInt64
	if !a.whole[nid] {
		was.Complete = events[0].Position
	}
	was.Ring = events
	return was
}

func (a *Ahead) parentsOf() *relations.Parents {
	if a == nil {
		return nil
	}
	return a.parents
}

// root is the root of a room's state at a place, if what was read ahead tells.
func (a *Ahead) root(nid, place int64) (root int64, known bool) {
	if a == nil || len(a.newest[nid]) == 0 || place > a.newest[nid][0].Ordering {
		return 0, false
	}
	for _, e := range a.newest[nid] {
		if e.Ordering <= place {
			return e.Root, true
		}
	}
	return 0, a.whole[nid]
}
