package syncer

import (
	"context"
	"errors"
	"maps"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	usualTimeline = 10
	maxTimeline   = 1000
	// maxScan bounds how many events are read to fill a timeline that a filter thins out.
	maxScan = 2000
)

// A shown event is one that the reader may see, with the membership at it.
type shown struct {
	event      *storage.Event
	membership string
}

// A stretch is the newest events of a room in (after, upTo], as far as they
// are wanted.
type stretch struct {
	info   *storage.RoomInfo
	after  int64
	upTo   int64
	limit  int
	filter *accounts.RoomEventFilter
	sight  *rooms.Sight
	// replaced is what an event has replaced in the state, nil if there is none
	// any more; nil itself where moved does not matter.
	replaced func(ctx context.Context, e *storage.Event) (*storage.Event, error)
	reader   matrix.UserID
	left     *storage.Event // that took the reader out, whom what came later does not concern; or nil
	ring     []*storage.Event
	inRing   int64 // the ring holds every event after this position
	limited  bool
	events   []shown // oldest first
	// gap tells that the reader may not see a change of the state before the
	// oldest event: what is older does not belong to the same timeline.
	gap bool
	// related is those of the events read to which others relate as the filter
	// wants it; nil where it wants nothing of that kind.
	related map[matrix.EventID]bool
	// missed tells that the filter leaves a change of the state out, and moved
	// that memberships, or names of the room, have changed.
	missed, moved bool
	// start is the place before the first event.
	start int64
}

// fill reads backwards from the newest event until the limit is reached.
func (s *Service) fill(ctx context.Context, t *stretch) error {
	t.start = t.upTo
	if err := s.relate(ctx, t, t.ring); err != nil {
		return err
	}
	full, err := t.takeRing(ctx)
	if err != nil || full {
		return err
	}
	from, scanned := t.start, 0
	for scanned < maxScan {
		size := max(20, min(t.limit+1-len(t.events), 200))
		batch, err := s.Store.Events.Backward(ctx, t.info.NID, from, t.after, size)
		if err != nil {
			return err
		}
		if err := s.relate(ctx, t, batch); err != nil {
			return err
		}
		for _, e := range batch {
			if full, err := t.take(ctx, e); err != nil || full {
				return err
			}
		}
		if len(batch) < size {
			return nil
		}
		from = batch[len(batch)-1].Ordering - 1
		scanned += len(batch)
	}
	t.limited = true
	return nil
}

// relate finds out which of the events pass the part of the filter about events
// that relate to them.
func (s *Service) relate(ctx context.Context, t *stretch, events []*storage.Event) error {
	if !t.filter.Relational() {
		return nil
	}
	found, err := s.related(ctx, t.filter, t.info.NID, events)
	if err != nil {
		return err
	}
	if t.related == nil {
		t.related = map[matrix.EventID]bool{}
	}
	maps.Copy(t.related, found)
	return nil
}

// takeRing uses what is in memory; full tells that nothing else is needed.
func (t *stretch) takeRing(ctx context.Context) (full bool, err error) {
	for i := len(t.ring) - 1; i >= 0; i-- {
		e := t.ring[i]
		if e.Position > t.upTo {
			continue
		}
		if e.Position <= t.after || e.Position <= t.inRing {
			break
		}
		if full, err := t.take(ctx, e); err != nil || full {
			return true, err
		}
	}
	if t.inRing <= t.after {
		return true, nil
	}
	t.start = min(t.start, max(t.inRing, t.after))
	return false, nil
}

// take puts an event before the others; full tells that there is no room for it.
func (t *stretch) take(ctx context.Context, e *storage.Event) (full bool, err error) {
	visible, membership, err := t.sight.Of(ctx, e)
	if err != nil {
		return false, err
	}
	late := t.left != nil && e.Ordering > t.left.Ordering && !e.Is("m.room.member", string(t.reader))
	switch {
	case !visible || late:
		t.gap = t.gap || e.IsState() && len(t.events) > 0
	case !Wants(t.filter, e), t.related != nil && !t.related[e.ID]:
		t.missed = t.missed || e.IsState()
		if err := t.move(ctx, e); err != nil {
			return false, err
		}
	default:
		if len(t.events) >= t.limit || t.gap {
			t.limited = true
			return true, nil
		}
		if err := t.move(ctx, e); err != nil {
			return false, err
		}
		t.events = append(t.events, shown{})
		copy(t.events[1:], t.events)
		t.events[0] = shown{e, membership}
	}
	// Where branches were merged, the state is not what the events alone make of it.
	t.missed = t.missed || e.Branch != 0
	t.start = e.Ordering - 1
	// What comes before a gap is not what came right before.
	t.limited = t.limited || e.Gap
	return e.Gap, nil
}

// rootAt is the root of a room's state at a place: that of the newest event at
// or before it, or that which the room had when this server came into it. History that came later has the state of when it came, and is
// the beginning of none.
func (s *Service) rootAt(ctx context.Context, nid, place int64) (int64, error) {
	list, err := s.Store.Events.Backward(ctx, nid, place, storage.Beginning, 1)
	if err != nil {
		return 0, err
	}
	if len(list) == 0 {
		return s.Store.Rooms.FirstRoot(ctx, nid)
	}
	return list[0].Root, nil
}

// joinedAt reports whether a user with that newest member event in a room was
// in the room at a position.
func (s *Service) joinedAt(ctx context.Context, nid, position int64) (bool, error) {
	for nid != 0 {
		e, err := s.Store.Events.ByNID(ctx, nid)
		if err != nil {
			return false, err
		}
		if e.Position <= position || e.Backfilled() {
			return e.Membership() == "join", nil
		}
		nid = e.ReplacesNID
	}
	return false, nil
}

// move notes whether an event changes who is in a room, or how it is called. Who
// changes their profile is in as before.
func (t *stretch) move(ctx context.Context, e *storage.Event) error {
	switch {
	case t.moved || t.replaced == nil || !e.IsState():
	case e.Type == "m.room.name", e.Type == "m.room.canonical_alias":
		t.moved = true
	case e.Type == "m.room.member":
		before, err := t.replaced(ctx, e)
		if err != nil {
			return err
		}
		t.moved = before == nil || before.Membership() != e.Membership()
	}
	return nil
}

func (s *Service) replaced(ctx context.Context, e *storage.Event) (*storage.Event, error) {
	if e.ReplacesNID == 0 {
		return nil, nil
	}
	before, err := s.Store.Events.ByNID(ctx, e.ReplacesNID)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil // of a history that is purged
	}
	return before, err
}
