package rooms

import (
	"context"
	"math"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	// nearestBatch is how many events are read at once to find one that the
	// user may see, and nearestScan how many at most.
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
	read, at := s.store.Events.Since, storage.Moment{TS: ts, Ordering: math.MinInt64}
	if backward {
		read, at.Ordering = s.store.Events.Until, math.MaxInt64
	}
	for scanned := 0; scanned < nearestScan; scanned += nearestBatch {
		batch, err := read(ctx, access.Info.NID, at, access.UpTo, nearestBatch)
		if err != nil {
			return nil, err
		}
		for _, e := range batch {
			visible, _, err := sight.Of(ctx, e)
			if err != nil {
				return nil, err
			}
			if visible {
				return e, nil
			}
			at = storage.Moment{TS: e.OriginServerTS, Ordering: e.Ordering}
		}
		if len(batch) < nearestBatch {
			break
		}
	}
	direction := "after"
	if backward {
		direction = "before"
	}
	return nil, matrix.NotFound("The room has no event %s %s that you may see.", direction, time.UnixMilli(ts).UTC().Format(time.RFC3339))
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
