package stateres_test

import (
	"cmp"
	"slices"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/matrix/stateres"
	"trestle/internal/matrix/stateres/roomgen"
)

// The resolver comes to what the definitions of the specification say, taken
// one by one.
func TestLikeReference(t *testing.T) {
	generated(t, []string{"3", "10", "11", "12"}, 25, func(t *testing.T, room *roomgen.Room, states []stateres.StateMap) {
		same(t, "resolved", resolve(t, room, states), newReference(room).resolve(states))
	})
}

type set map[matrix.EventID]bool

func (s set) with(others ...set) set {
	union := set{}
	for _, other := range append(others, s) {
		for id := range other {
			union[id] = true
		}
	}
	return union
}

// A reference is state resolution by the definitions of Room Versions § v2
// and § v12, without a thought of speed.
type reference struct {
	version *roomversion.Version
	create  *matrix.Event
	events  map[matrix.EventID]*matrix.Event
	chains  map[matrix.EventID]set
}

func newReference(room *roomgen.Room) *reference {
	return &reference{room.Version, room.Create, room.Events, map[matrix.EventID]set{}}
}

// chain is the auth chain of an event.
func (r *reference) chain(id matrix.EventID) set {
	if r.chains[id] == nil {
		chain := set{}
		for _, auth := range r.events[id].AuthEvents {
			chain = chain.with(set{auth: true}, r.chain(auth))
		}
		r.chains[id] = chain
	}
	return r.chains[id]
}

func (r *reference) resolve(states []stateres.StateMap) stateres.StateMap {
	unconflicted, conflicted := r.split(states)
	if len(conflicted) == 0 {
		return unconflicted
	}
	full := conflicted.with(r.authDifference(states))
	state := stateres.StateMap{}
	if r.version.StateResolution == roomversion.V2_1 {
		full = full.with(r.subgraph(conflicted))
	} else {
		for key, e := range unconflicted {
			state[key] = e
		}
	}
	picked := set{}
	for id := range full {
		if isPower(r.events[id]) {
			r.pick(id, full, picked)
		}
	}
	r.iterate(state, r.reverseTopological(picked))

	var rest []matrix.EventID
	for id := range full {
		if !picked[id] {
			rest = append(rest, id)
		}
	}
	mainline := r.levelsBehind(state.Event("m.room.power_levels", ""))
	slices.SortFunc(rest, func(x, y matrix.EventID) int {
		return cmp.Or(cmp.Compare(r.position(mainline, y), r.position(mainline, x)), r.compareAge(x, y))
	})
	r.iterate(state, rest)
	for key, e := range unconflicted {
		state[key] = e
	}
	return state
}

func (r *reference) split(states []stateres.StateMap) (unconflicted stateres.StateMap, conflicted set) {
	unconflicted, conflicted = stateres.StateMap{}, set{}
	for _, state := range states {
		for key, e := range state {
			unconflicted[key] = e
		}
	}
	for key, e := range unconflicted {
		for _, state := range states {
			if state[key] == nil || state[key].ID != e.ID {
				delete(unconflicted, key)
			}
		}
	}
	for _, state := range states {
		for key, e := range state {
			if unconflicted[key] == nil {
				conflicted[e.ID] = true
			}
		}
	}
	return unconflicted, conflicted
}

func (r *reference) authDifference(states []stateres.StateMap) set {
	count := map[matrix.EventID]int{}
	for _, state := range states {
		chain := set{}
		for _, e := range state {
			chain = chain.with(r.chain(e.ID))
		}
		for id := range chain {
			count[id]++
		}
	}
	difference := set{}
	for id, n := range count {
		if n < len(states) {
			difference[id] = true
		}
	}
	return difference
}

func (r *reference) subgraph(conflicted set) set {
	subgraph := set{}
	for from := range conflicted {
		for to := range conflicted {
			for between := range r.chain(from) {
				if r.chain(between)[to] && r.chain(from)[to] {
					subgraph[between] = true
				}
			}
		}
	}
	return subgraph
}

func isPower(e *matrix.Event) bool {
	if e.Type == "m.room.member" {
		return (e.Membership() == "leave" || e.Membership() == "ban") && !e.StateKeyIs(string(e.Sender))
	}
	return e.Is("m.room.power_levels", "") || e.Is("m.room.join_rules", "")
}

// pick follows the auth chain within the full conflicted set, as all servers
// do.
func (r *reference) pick(id matrix.EventID, full, picked set) {
	if picked[id] || !full[id] {
		return
	}
	picked[id] = true
	for _, auth := range r.events[id].AuthEvents {
		r.pick(auth, full, picked)
	}
}

func (r *reference) reverseTopological(events set) (sorted []matrix.EventID) {
	left := events.with()
	for len(left) > 0 {
		var candidates []matrix.EventID
		for id := range left {
			if !slices.ContainsFunc(r.events[id].AuthEvents, func(auth matrix.EventID) bool { return left[auth] }) {
				candidates = append(candidates, id)
			}
		}
		smallest := slices.MinFunc(candidates, func(x, y matrix.EventID) int {
			return cmp.Or(cmp.Compare(r.power(y), r.power(x)), r.compareAge(x, y))
		})
		sorted = append(sorted, smallest)
		delete(left, smallest)
	}
	return sorted
}

// power is that of the sender by the event's own auth events.
func (r *reference) power(id matrix.EventID) int64 {
	e := r.events[id]
	return eventauth.PowerLevelsOf(r.create, r.authEvent(e, "m.room.power_levels", "")).User(e.Sender)
}

func (r *reference) authEvent(e *matrix.Event, typ, stateKey string) *matrix.Event {
	for _, id := range e.AuthEvents {
		if auth := r.events[id]; auth.Is(typ, stateKey) {
			return auth
		}
	}
	return nil
}

func (r *reference) compareAge(x, y matrix.EventID) int {
	return cmp.Or(cmp.Compare(r.events[x].OriginServerTS, r.events[y].OriginServerTS), cmp.Compare(x, y))
}

// levelsBehind are a power levels event and those by which it came to be.
func (r *reference) levelsBehind(e *matrix.Event) (mainline []matrix.EventID) {
	for ; e != nil; e = r.authEvent(e, "m.room.power_levels", "") {
		mainline = append(mainline, e.ID)
	}
	return mainline
}

func (r *reference) position(mainline []matrix.EventID, id matrix.EventID) int {
	for _, levels := range r.levelsBehind(r.authEvent(r.events[id], "m.room.power_levels", "")) {
		if i := slices.Index(mainline, levels); i >= 0 {
			return i
		}
	}
	return len(r.events) + 1
}

// iterate is the iterative auth checks algorithm.
func (r *reference) iterate(state stateres.StateMap, events []matrix.EventID) {
	for _, id := range events {
		e := r.events[id]
		against := eventauth.StateOf(r.create)
		for _, need := range eventauth.Needed(e) {
			if auth := r.authEvent(e, need.Type, need.Key); auth != nil {
				against[need] = auth
			}
			if current := state[need]; current != nil {
				against[need] = current
			}
		}
		if eventauth.Allowed(e, against) == nil {
			state[stateres.StateKey{Type: e.Type, Key: *e.StateKey}] = e
		}
	}
}
