package stateres

import (
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// A partialState is the state that the iterative auth checks build up. It is
// also what each event is judged by: where it has no entry, the event's own
// auth_events help out, unless they were rejected.
type partialState struct {
	*graph
	start   eventauth.State
	changes StateMap
	judged  *node
}

// apply puts those of the events that are allowed into the state, one after
// the other.
func (s *partialState) apply(events []*node) {
	for _, n := range events {
		s.judged = n
		if n.event.IsState() && eventauth.Allowed(n.event, s) == nil {
			s.changes[StateKey{Type: n.event.Type, Key: *n.event.StateKey}] = n.event
		}
	}
}

// resolved is an entry of the state itself, or nil.
func (s *partialState) resolved(typ, stateKey string) *matrix.Event {
	if e := s.changes.Event(typ, stateKey); e != nil {
		return e
	}
	return s.start.Event(typ, stateKey)
}

// Event is an entry of the state, or of what authorizes the event that is
// being judged.
func (s *partialState) Event(typ, stateKey string) *matrix.Event {
	if e := s.resolved(typ, stateKey); e != nil {
		return e
	}
	for _, auth := range s.judged.auth {
		if auth.event.Is(typ, stateKey) && !s.rejected(auth.event.ID) {
			return auth.event
		}
	}
	if s.implied != nil && s.implied.Is(typ, stateKey) {
		return s.implied
	}
	return nil
}

func (s *partialState) rejected(id matrix.EventID) bool {
	return s.Rejected != nil && s.Rejected(id)
}

// PowerLevels spares eventauth the parsing.
func (s *partialState) PowerLevels() *eventauth.PowerLevels {
	return s.powerLevels(s.Event("m.room.create", ""), s.Event("m.room.power_levels", ""))
}
