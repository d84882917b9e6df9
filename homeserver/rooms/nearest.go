package rooms

import (
	"context"
	"math"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	// nearestBatch is how many events are read at once to find one that
	// may be seen, and nearestScan how many at most.
	nearestBatch = 20
	nearestScan  = 2000
)

// Nearest is the event of a room that is the closest to a time, in
// milliseconds, at or before it if backward, else at or after it. M_FORBIDDEN
// for those who may not look into the room, M_NOT_FOUND if there is no such event.
func (s *Service) Nearest(ctx context.Context, id matrix.RoomID, user matrix.UserID, ts int64, backward bool) (*storage.Event, error) {
	access, err := s.Access(ctx, id, user)
	if err != nil {
		return nil, err
	}
	sight, err := s.Sight(ctx, access.Info, user)
	if err != nil {
		return nil, err
	}
	return s.nearest(ctx, access.Info, moment{ts, backward, access.UpTo}, func(e *storage.Event) (bool, error) {
		visible, _, err := sight.Of(ctx, e)
		return visible, err
	})
}

// A moment is where a search by time begins, and where it goes.
type moment struct {
	ts       int64 // milliseconds
	backward bool
	upTo     int64 // the last place in the room that is looked at
}

// nearest is the first event from a moment on that suits.
func (s *Service) nearest(ctx context.Context, info *storage.RoomInfo, m moment, suits func(*storage.Event) (bool, error)) (*storage.Event, error) {
	read, at := s.store.Events.Since, storage.Moment{TS: m.ts, Ordering: math.MinInt64}
	if m.backward {
		read, at.Ordering = s.store.Events.Until, math.MaxInt64
	}
	for scanned := 0; scanned < nearestScan; scanned += nearestBatch {
		batch, err := read(ctx, info.NID, at, m.upTo, nearestBatch)
		if err != nil {
			return nil, err
		}
		for _, e := range batch {
			if ok, err := suits(e); ok || err != nil {
				return e, err
			}
			at = storage.Moment{TS: e.OriginServerTS, Ordering: e.Ordering}
		}
		if len(batch) < nearestBatch {
			break
		}
	}
	direction := "after"
	if m.backward {
		direction = "before"
	}
	return nil, matrix.NotFound("The room has no event %s %s that you may see.", direction, time.UnixMilli(m.ts).UTC().Format(time.RFC3339))
}

// maxPredecessors bounds how far back upgrades are followed.
const maxPredecessors = 20

// Predecessors is the rooms whose place a room took, one after the other, the
// newest first.
func (s *Service) Predecessors(ctx context.Context, id matrix.RoomID) ([]matrix.RoomID, error) {
	var list []matrix.RoomID
	seen := map[matrix.RoomID]bool{id: true}
	for range maxPredecessors {
		info, err := s.Info(ctx, id)
		if matrix.Code(err) == "M_NOT_FOUND" {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		now, err := s.Head(ctx, info.NID)
		if err != nil {
			return nil, err
		}
		if id, err = now.predecessor(ctx); id == "" || seen[id] || err != nil {
			return list, err
		}
		seen[id] = true
		list = append(list, id)
	}
	return list, nil
}
