package rooms

import (
	"context"
	"errors"
	"math"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Joined reports whether a user is in a room that is known here.
func (s *Service) Joined(ctx context.Context, id matrix.RoomID, user matrix.UserID) (bool, error) {
	m, err := s.Membership(ctx, id, user)
	return m == "join", err
}

// Membership is a user's membership in a room, empty if there is none or the
// room is not known.
func (s *Service) Membership(ctx context.Context, id matrix.RoomID, user matrix.UserID) (string, error) {
	info, err := s.store.Rooms.Info(ctx, id)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	m, err := s.store.Members.In(ctx, info.NID, user)
	if m == nil || err != nil {
		return "", err
	}
	return m.Membership, nil
}

// JoinedRooms is the rooms that a user is in.
func (s *Service) JoinedRooms(ctx context.Context, user matrix.UserID) ([]matrix.RoomID, error) {
	memberships, err := s.store.Members.OfUser(ctx, user)
	if err != nil {
		return nil, err
	}
	ids := []matrix.RoomID{}
	for _, m := range memberships {
		if m.Membership != "join" {
			continue
		}
		info, err := s.store.Rooms.InfoOf(ctx, m.RoomNID)
		if err != nil {
			return nil, err
		}
		ids = append(ids, info.ID)
	}
	return ids, nil
}

// An Access is what a user may see of a room.
type Access struct {
	Info *storage.RoomInfo
	// State is the current state, or that of the moment when the user left.
	State *Snapshot
	// Membership of the user: join, leave, ban, or anything else in a room that is world readable.
	Membership string
	// UpTo is the last position in the room that the user may see of.
	UpTo int64
}

// Access decides what a user may see of a room's state and history: its
// members all, those who left what there was then, others only world-readable
// rooms. M_FORBIDDEN for everybody else, and where the room is not known.
func (s *Service) Access(ctx context.Context, id matrix.RoomID, user matrix.UserID) (*Access, error) {
	info, err := s.known(ctx, id)
	if err != nil {
		return nil, err
	}
	m, err := s.store.Members.In(ctx, info.NID, user)
	if err != nil {
		return nil, err
	}
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	a := &Access{Info: info, State: now, UpTo: now.Position}
	if m != nil {
		a.Membership = m.Membership
	}
	switch {
	case a.Membership == "join", now.Summary.WorldReadable:
		return a, nil
	case m == nil || m.Forgotten:
		return nil, notMember(id)
	}
	left, err := s.Departure(ctx, m.EventNID)
	if err != nil {
		return nil, err
	}
	// Whoever was never in has nothing to look back on.
	if left == nil {
		return nil, notMember(id)
	}
	if a.State, err = s.At(ctx, info.NID, left.Root); err != nil {
		return nil, err
	}
	a.UpTo = left.Ordering
	return a, nil
}

// Event is one event of a room, if the user may see it; else M_NOT_FOUND.
func (s *Service) Event(ctx context.Context, id matrix.RoomID, event matrix.EventID, user matrix.UserID) (*storage.Event, string, error) {
	gone := matrix.NotFound("Event %s is not there, or not for you to see.", event)
	info, err := s.store.Rooms.Info(ctx, id)
	if errors.Is(err, database.ErrNoRows) {
		return nil, "", gone
	}
	if err != nil {
		return nil, "", err
	}
	e, err := s.store.Events.ByID(ctx, event)
	if errors.Is(err, database.ErrNoRows) || err == nil && e.RoomNID != info.NID {
		return nil, "", gone
	}
	if err != nil {
		return nil, "", err
	}
	sight, err := s.Sight(ctx, info, user)
	if err != nil {
		return nil, "", err
	}
	visible, membership, err := sight.Of(ctx, e)
	if err != nil {
		return nil, "", err
	}
	if !visible {
		return nil, "", gone
	}
	return e, membership, nil
}

func (s *Service) forget(ctx context.Context, info *storage.RoomInfo, user matrix.UserID) error {
	nid, err := s.store.Users.NID(ctx, string(user))
	if err != nil {
		return err
	}
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		return s.store.Members.Forget(ctx, tx, nid, info.NID)
	})
}

// Rewind takes an access back to the state at a place. M_FORBIDDEN if the user
// may not see what happened there.
func (s *Service) Rewind(ctx context.Context, a *Access, user matrix.UserID, place int64) error {
	if place >= a.UpTo {
		return nil
	}
	e, err := s.newest(ctx, a.Info, place)
	if err != nil {
		return err
	}
	sight, err := s.Sight(ctx, a.Info, user)
	if err != nil {
		return err
	}
	visible, _, err := sight.Of(ctx, e)
	if err != nil {
		return err
	}
	if !visible {
		return matrix.Forbidden("You may not see room %s as it was then.", a.Info.ID)
	}
	a.State, err = s.At(ctx, a.Info.NID, e.Root)
	return err
}

// Before is the state of a room as it was at a place in the stream; before the
// room's beginning, the state when its creator had come in.
func (s *Service) Before(ctx context.Context, info *storage.RoomInfo, place int64) (*Snapshot, error) {
	e, err := s.newest(ctx, info, place)
	if err != nil {
		return nil, err
	}
	return s.At(ctx, info.NID, e.Root)
}

// newest is the newest event of a room at or before a place; before the room's
// beginning, its second one, unless the place is one in history that came later.
func (s *Service) newest(ctx context.Context, info *storage.RoomInfo, place int64) (*storage.Event, error) {
	downTo := storage.Beginning
	if place < downTo {
		downTo = math.MinInt64
	}
	events, err := s.store.Events.Backward(ctx, info.NID, place, downTo, 1)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 {
		if events, err = s.store.Events.Forward(ctx, info.NID, place, math.MaxInt64, 2); err != nil {
			return nil, err
		}
		if len(events) == 0 {
			return nil, notMember(info.ID)
		}
	}
	return events[len(events)-1], nil
}
