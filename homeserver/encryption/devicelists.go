package encryption

import (
	"context"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// DeviceLists is, for the device_lists of /sync, whose keys a user has to ask
// for again since a position: those with whom it shares a room now and whose
// keys have changed, or with whom it shared none then; and who shares no room
// with it any more. Both are sorted. What changed between upTo and now may be
// in it too, and then again next time.
func (s *Service) DeviceLists(ctx context.Context, user matrix.UserID, since, upTo int64) (changed, left []matrix.UserID, err error) {
	nids, err := s.store.Users.Lookup(ctx, []string{string(user)})
	if err != nil {
		return nil, nil, err
	}
	nid := nids[string(user)] // 0 if no room has ever seen the user
	if changed, err = s.changedKeys(ctx, user, nid, since, upTo); err != nil || nid == 0 {
		return changed, nil, err
	}
	met, parted, err := s.moved(ctx, nid, since)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range met {
		if id != user {
			changed = append(changed, id)
		}
	}
	slices.Sort(changed)
	if len(parted) == 0 {
		return slices.Compact(changed), nil, nil
	}
	slices.Sort(parted)
	parted = slices.Compact(parted)
	still, err := s.keys.DeviceLists.Sharing(ctx, nid, parted)
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(still)
	left = slices.DeleteFunc(parted, func(id matrix.UserID) bool {
		_, shares := slices.BinarySearch(still, id)
		return shares || id == user
	})
	return slices.Compact(changed), left, nil
}

// changedKeys is whose keys changed in (since, upTo], of those who matter to a
// user: itself, those whom it has signed, and those with whom it shares a room.
func (s *Service) changedKeys(ctx context.Context, user matrix.UserID, nid, since, upTo int64) ([]matrix.UserID, error) {
	forAll, changed, err := s.keys.DeviceLists.Changed(ctx, user, since, upTo)
	if err != nil {
		return nil, err
	}
	if slices.Contains(forAll, user) && !slices.Contains(changed, user) {
		changed = append(changed, user)
	}
	sharing, err := s.keys.DeviceLists.Sharing(ctx, nid, forAll)
	return append(changed, sharing...), err
}

// moved is whom a user has met in a room since a position, and from whom it
// has parted in one, even if they share others.
func (s *Service) moved(ctx context.Context, nid, since int64) (met, parted []matrix.UserID, err error) {
	own, err := s.keys.DeviceLists.OwnMoves(ctx, nid, since)
	if err != nil {
		return nil, nil, err
	}
	if own, err = s.transitions(ctx, own, since); err != nil {
		return nil, nil, err
	}
	var entered, exited []int64
	for _, m := range own {
		if m.Membership == "join" {
			entered = append(entered, m.RoomNID)
		} else {
			exited = append(exited, m.RoomNID)
		}
	}
	if len(entered) > 0 {
		if met, err = s.keys.DeviceLists.JoinedOrGone(ctx, entered, newest, s.options.ServerName); err != nil {
			return nil, nil, err
		}
	}
	if len(exited) > 0 {
		if parted, err = s.keys.DeviceLists.JoinedOrGone(ctx, exited, since, s.options.ServerName); err != nil {
			return nil, nil, err
		}
	}
	theirs, err := s.keys.DeviceLists.MovesOfMates(ctx, nid, since, s.options.ServerName)
	if err != nil {
		return nil, nil, err
	}
	if theirs, err = s.transitions(ctx, theirs, since); err != nil {
		return nil, nil, err
	}
	for _, m := range theirs {
		if m.Membership == "join" {
			met = append(met, m.User)
		} else {
			parted = append(parted, m.User)
		}
	}
	return met, parted, nil
}

// newest is a position that none comes after.
const newest = 1<<63 - 1

// maxSteps bounds how far back memberships are followed.
const maxSteps = 50

// transitions is those of some moves by which somebody who was in the room at
// a position is not in it any more, or the other way round: a new name or
// avatar makes a member event too.
func (s *Service) transitions(ctx context.Context, moves []storage.Move, since int64) ([]storage.Move, error) {
	var kept []storage.Move
	at := make([]int64, len(moves)) // the event that each is followed back to
	for i, m := range moves {
		at[i] = m.EventNID
	}
	for range maxSteps {
		if len(moves) == 0 {
			return kept, nil
		}
		events, err := s.store.Events.ByNIDs(ctx, at)
		if err != nil {
			return nil, err
		}
		var open []storage.Move
		at = at[:0:0]
		for i, e := range events {
			m := moves[i]
			was := ""
			switch {
			case e.Position <= since:
				was = e.Membership()
			case e.ReplacesNID != 0:
				open, at = append(open, m), append(at, e.ReplacesNID)
				continue
			}
			if (was == "join") != (m.Membership == "join") {
				kept = append(kept, m)
			}
		}
		moves = open
	}
	return append(kept, moves...), nil // asking once too often does no harm
}
