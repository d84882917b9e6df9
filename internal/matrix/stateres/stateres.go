// Package stateres merges the states that the forks of a room's history have
// led to (Room Versions § State resolution). It is pure: events come from the
// caller, and the outcome depends on nothing but them.
package stateres

import (
	"errors"
	"fmt"
	"iter"
	"maps"

	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
)

// A StateKey names an entry of a room's state.
type StateKey = eventauth.StateKey

// A StateMap is the state of a room at some point of its history.
type StateMap = eventauth.StateMap

// ErrCycle is the error for events that authorize each other in a circle.
var ErrCycle = errors.New("events authorize each other in a circle")

// A MissingError names an event that state resolution has to see, and that
// the caller does not have.
type MissingError struct {
	ID       matrix.EventID
	NeededBy matrix.EventID // refers to it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("event %s, to which %s refers, is missing", e.ID, e.NeededBy)
}

// A Resolver resolves the states of one room.
type Resolver struct {
	Version *roomversion.Version
	// Auth finds the events that others name in auth_events; nil for one
	// that is not there. It need not know those in the states themselves.
	Auth func(matrix.EventID) *matrix.Event
	// Rejected tells which events were rejected when they came. Left nil,
	// none was.
	Rejected func(matrix.EventID) bool
}

// Resolve merges states, all of whose events were accepted.
func Resolve(v *roomversion.Version, states []StateMap, auth func(matrix.EventID) *matrix.Event) (StateMap, error) {
	return Resolver{Version: v, Auth: auth}.Resolve(states)
}

// Resolve merges states. The result is a new map, the same in whatever order
// the states come. Errors are [MissingError], [ErrCycle], or say what else is
// wrong with the input.
func (r Resolver) Resolve(states []StateMap) (StateMap, error) {
	agreed, forks := separate(states)
	resolved, err := r.Merge(AgreedMap(agreed), forks)
	if err != nil {
		return nil, err
	}
	maps.Copy(agreed, resolved)
	return agreed, nil
}

// An Agreed state is what all the states to be merged have in common: the
// "unconflicted state map" of the specification.
type Agreed interface {
	eventauth.State
	// All gives every event. It is called only when forks conflict in a way
	// that makes the whole state matter.
	All() iter.Seq[*matrix.Event]
}

// Merge is [Resolver.Resolve] for callers who know already where the states
// differ: each fork holds those entries of one state that are not the same in
// all of them. The result is what to lay over the agreed state.
func (r Resolver) Merge(agreed Agreed, forks []StateMap) (StateMap, error) {
	conflict := false
	for _, fork := range forks {
		conflict = conflict || len(fork) > 0
	}
	if !conflict {
		return StateMap{}, nil
	}
	switch r.Version.StateResolution {
	case roomversion.V1:
		return mergeV1(agreed, forks), nil
	case roomversion.V2:
		return r.merge(agreed, agreed, forks)
	case roomversion.V2_1:
		return r.merge(nothing{}, agreed, forks)
	}
	return nil, fmt.Errorf("state resolution of room version %s is not supported", r.Version.ID)
}

// merge is the algorithm of room versions 2 and later. The iterative auth
// checks begin with the state start.
func (r Resolver) merge(start eventauth.State, agreed Agreed, forks []StateMap) (StateMap, error) {
	g := newGraph(r, agreed)
	if err := g.load(forks); err != nil {
		return nil, err
	}
	if err := g.markAuthDifference(len(forks)); err != nil {
		return nil, err
	}
	if r.Version.StateResolution == roomversion.V2_1 {
		g.markSubgraph()
	}
	state := partialState{graph: g, start: start, changes: StateMap{}}
	state.apply(g.powerOrder(g.pickPowerEvents()))
	rest, err := g.mainlineOrder(state.resolved("m.room.power_levels", ""))
	if err != nil {
		return nil, err
	}
	state.apply(rest)

	for key := range state.changes {
		if agreed.Event(key.Type, key.Key) != nil {
			delete(state.changes, key)
		}
	}
	return state.changes, nil
}

// separate splits states into what is the same in all of them, and for each
// what is not.
func separate(states []StateMap) (agreed StateMap, forks []StateMap) {
	agreed = StateMap{}
	forks = make([]StateMap, len(states))
	for i := range forks {
		forks[i] = StateMap{}
	}
	for i, state := range states {
		for key, e := range state {
			if !inAll(states, key, e.ID) {
				forks[i][key] = e
			} else if i == 0 {
				agreed[key] = e
			}
		}
	}
	return agreed, forks
}

func inAll(states []StateMap, key StateKey, id matrix.EventID) bool {
	for _, state := range states {
		if e, ok := state[key]; !ok || e.ID != id {
			return false
		}
	}
	return true
}

// AgreedMap is an agreed state in memory.
type AgreedMap StateMap

// Event is the entry of that type and state key, or nil.
func (s AgreedMap) Event(typ, stateKey string) *matrix.Event {
	return StateMap(s).Event(typ, stateKey)
}

// All gives every event.
func (s AgreedMap) All() iter.Seq[*matrix.Event] { return maps.Values(s) }

// nothing is the empty state.
type nothing struct{}

func (nothing) Event(string, string) *matrix.Event { return nil }
