package syncer

import (
	"context"
	"math"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// Older brings in what happened in rooms before this server came into them, without a gap to what is known.
type Older interface {
	// Fetch brings in about so many events of a room's past. got tells that there are some, more that there may be others still: also
	// when ctx has ended before that is known. It is quick about rooms whose past is known.
	Fetch(ctx context.Context, info *storage.RoomInfo, limit int) (got, more bool, err error)
	// Reach brings in a room's past back to the event that is the closest to a time at or before it, else at or after it, if
	// there is one that is closer than so many milliseconds. got tells that something is new.
	Reach(ctx context.Context, info *storage.RoomInfo, ts int64, backward bool, within int64) (got bool, err error)
}

const (
	// olderTime is how long a page of history waits for what is not known here yet.
	olderTime = 10 * time.Second
	// reachTime is how long the search by time does.
	reachTime = 20 * time.Second
	// borderEvents is how many of the oldest events tell from when on a room's history is known: one alone may say that it is
	// from another time.
	borderEvents = 10
)

// fetch brings in what is older than all that is known, see [Older].
func (w *walk) fetch(limit int) (got, more bool, err error) {
	if w.until.IsZero() {
		w.until = time.Now().Add(olderTime)
	}
	waiting, cancel := context.WithDeadline(w.ctx, w.until)
	defer cancel()
	if waiting.Err() == nil {
		got, more, err = w.Older.Fetch(waiting, w.access.Info, limit)
	}
	if waiting.Err() != nil && !got {
		return false, true, w.ctx.Err() // it comes with the next page
	}
	return got, more, err
}

// Nearest is the event of a room that is the closest to a time, as [rooms.Service.Nearest] has it, also in what other servers know
// of the room: what lies further back than they tell in time is left out.
func (s *Service) Nearest(ctx context.Context, room matrix.RoomID, user matrix.UserID, ts int64, backward bool) (*storage.Event, error) {
	e, err := s.Rooms.Nearest(ctx, room, user, ts, backward)
	if s.Older == nil || err != nil && matrix.Code(err) != "M_NOT_FOUND" {
		return e, err
	}
	got, failed := s.reach(ctx, room, ts, backward, e)
	if failed != nil {
		return nil, failed
	}
	if !got {
		return e, err
	}
	return s.Rooms.Nearest(ctx, room, user, ts, backward)
}

// reach brings in what may be closer to a time than an event, which may be nil. What is not known yet is taken to be older
// than what is.
func (s *Service) reach(ctx context.Context, room matrix.RoomID, ts int64, backward bool, e *storage.Event) (got bool, err error) {
	info, err := s.Rooms.Info(ctx, room)
	if err != nil {
		return false, err
	}
	if open, err := s.Rooms.Incomplete(ctx, info); !open || err != nil {
		return false, err
	}
	oldest, err := s.Store.Events.Forward(ctx, info.NID, math.MinInt64, math.MaxInt64, borderEvents)
	if err != nil {
		return false, err
	}
	known := int64(math.MinInt64)
	for _, e := range oldest {
		known = max(known, e.OriginServerTS)
	}
	if ts > known {
		return false, nil
	}
	within := int64(math.MaxInt64)
	if e != nil {
		within = max(e.OriginServerTS-ts, ts-e.OriginServerTS)
	}
	waiting, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	got, err = s.Older.Reach(waiting, info, ts, backward, within)
	if waiting.Err() != nil {
		return true, ctx.Err() // what has come until then is known
	}
	return got, err
}
