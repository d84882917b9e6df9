package ephemeral

import (
	"cmp"
	"context"
	"slices"

	"trestle/internal/matrix"
)

// A telling is that others were told of a person under a serial. Only the last
// one of each person counts.
type telling struct {
	serial int64
	user   matrix.UserID
}

// publish tells those who share rooms with them of people whose presence has
// changed.
func (s *Service) publish(ctx context.Context) {
	var users []matrix.UserID
	locked(&s.people.mu, func() {
		for user := range s.people.changed {
			users = append(users, user)
		}
		clear(s.people.changed)
	})
	for _, user := range users {
		rooms, err := s.joined(ctx, user)
		if err != nil {
			s.options.Log.Warn("presence is not told", "user", user, "error", err)
			continue
		}
		met := s.people.beginTelling(user, rooms)
		s.people.endTelling(user, s.options.Notifier.PresenceChanged(user, rooms), met)
	}
}

// joined is the rooms that a user is in.
func (s *Service) joined(ctx context.Context, user matrix.UserID) ([]int64, error) {
	if rooms, known := s.options.Notifier.Joined(user); known {
		return rooms, nil
	}
	return s.options.DeviceLists.JoinedRooms(ctx, s.store.DB.Read(), user)
}

// beginTelling has everybody see the change who is woken before its serial is
// known, perhaps twice. It reports whether the person has met somebody.
func (ps *people) beginTelling(user matrix.UserID, rooms []int64) (met bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.known[user]
	if p == nil {
		return false
	}
	ps.telling[user]++
	p.rooms = rooms
	met, p.hasMet = p.hasMet, false
	return met
}

func (ps *people) endTelling(user matrix.UserID, serial int64, met bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.telling[user]--; ps.telling[user] <= 0 {
		delete(ps.telling, user)
	}
	p := ps.known[user]
	if p == nil || serial <= p.serial {
		return // told again meanwhile
	}
	p.serial = serial
	if met {
		p.meeting = serial
	}
	at := len(ps.told)
	for at > 0 && ps.told[at-1].serial > serial {
		at--
	}
	ps.told = slices.Insert(ps.told, at, telling{serial, user})
	if len(ps.told) > 1000+2*len(ps.known) {
		ps.told = slices.DeleteFunc(ps.told, func(t telling) bool { return !ps.last(t) })
	}
}

// last reports whether a telling is the last one of its person.
func (ps *people) last(t telling) bool {
	p := ps.known[t.user]
	return p != nil && p.serial == t.serial
}

// toldSince is whom others were told of after a serial, newest first.
func (ps *people) toldSince(serial int64) []matrix.UserID {
	var users []matrix.UserID
	for user := range ps.telling {
		if ps.known[user] != nil {
			users = append(users, user)
		}
	}
	for i := len(ps.told) - 1; i >= 0 && ps.told[i].serial > serial; i-- {
		if ps.last(ps.told[i]) && ps.telling[ps.told[i].user] == 0 {
			users = append(users, ps.told[i].user)
		}
	}
	return users
}

// present is everybody who is there, newest first.
func (ps *people) present() []matrix.UserID {
	var users []matrix.UserID
	for user, p := range ps.known {
		if p.shown.state != Offline {
			users = append(users, user)
		}
	}
	slices.SortFunc(users, func(a, b matrix.UserID) int {
		return cmp.Or(cmp.Compare(ps.known[b].serial, ps.known[a].serial), cmp.Compare(a, b))
	})
	return users
}

// leaveRoom takes a room from those in which a person is shown.
func (ps *people) leaveRoom(user matrix.UserID, room int64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.known[user]
	if p == nil || !slices.Contains(p.rooms, room) {
		return
	}
	p.rooms = slices.DeleteFunc(slices.Clone(p.rooms), func(nid int64) bool { return nid == room })
}
