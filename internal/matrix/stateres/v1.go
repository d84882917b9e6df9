package stateres

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"slices"

	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// mergeV1 is the algorithm of room version 1. It looks at nothing but the
// states: what they disagree about is settled in the order in which types
// authorize others.
func mergeV1(agreed Agreed, forks []StateMap) StateMap {
	s := stateV1{agreed: agreed, resolved: StateMap{}}
	conflicts := map[StateKey][]*matrix.Event{}
	for key, events := range candidates(forks) {
		if len(events) == 1 {
			// That others lack the entry is no conflict in this version.
			s.resolved[key] = events[0]
		} else {
			conflicts[key] = events
		}
	}
	for _, typ := range []string{"m.room.power_levels", "m.room.join_rules", "m.room.member"} {
		// Events of one type don't see what others of it were settled to:
		// it would depend on which comes first.
		settled := StateMap{}
		for key, events := range conflicts {
			if key.Type == typ {
				settled[key] = s.settleAuth(key, events)
			}
		}
		for key, e := range settled {
			s.resolved[key] = e
			delete(conflicts, key)
		}
	}
	settled := StateMap{}
	for key, events := range conflicts {
		settled[key] = s.settleOther(events)
	}
	for key, e := range settled {
		s.resolved[key] = e
	}
	return s.resolved
}

// candidates are the different events of each entry, oldest first: by depth,
// and by the hash of their IDs in falling order.
func candidates(forks []StateMap) map[StateKey][]*matrix.Event {
	events := map[StateKey][]*matrix.Event{}
	for _, fork := range forks {
		for key, e := range fork {
			isSame := func(other *matrix.Event) bool { return other.ID == e.ID }
			if !slices.ContainsFunc(events[key], isSame) {
				events[key] = append(events[key], e)
			}
		}
	}
	for _, list := range events {
		slices.SortFunc(list, func(a, b *matrix.Event) int {
			x, y := sha1.Sum([]byte(a.ID)), sha1.Sum([]byte(b.ID))
			return cmp.Or(cmp.Compare(a.Depth, b.Depth), bytes.Compare(y[:], x[:]))
		})
	}
	return events
}

// stateV1 is the state as far as it is settled; while one entry is being
// settled, trial takes its place.
type stateV1 struct {
	agreed   Agreed
	resolved StateMap
	key      StateKey
	trial    *matrix.Event
}

// Event is an entry of the state, or nil.
func (s *stateV1) Event(typ, stateKey string) *matrix.Event {
	key := StateKey{Type: typ, Key: stateKey}
	if s.trial != nil && key == s.key {
		return s.trial
	}
	if e := s.resolved[key]; e != nil {
		return e
	}
	return s.agreed.Event(typ, stateKey)
}

// settleAuth begins with the oldest event and goes on as long as the next one
// is allowed after the one before.
func (s *stateV1) settleAuth(key StateKey, events []*matrix.Event) *matrix.Event {
	s.key, s.trial = key, events[0]
	for _, e := range events[1:] {
		if eventauth.Allowed(e, s) != nil {
			break
		}
		s.trial = e
	}
	settled := s.trial
	s.trial = nil
	return settled
}

// settleOther is the newest event that is allowed; if none is, the oldest.
func (s *stateV1) settleOther(events []*matrix.Event) *matrix.Event {
	for _, e := range slices.Backward(events) {
		if eventauth.Allowed(e, s) == nil {
			return e
		}
	}
	return events[0]
}
