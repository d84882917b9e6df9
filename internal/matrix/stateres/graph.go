package stateres

import (
	"fmt"
	"slices"

	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// A node is an event in the graph of auth_events.
type node struct {
	event  *matrix.Event
	auth   []*node
	levels *node         // the power levels event among auth
	create *matrix.Event // the create event among auth, or implied
	index  int           // in graph.order

	conflicted bool // in one of the states, and not in all
	full       bool // in the full conflicted set
	picked     bool // sorted as, or with, a power event

	power    int64 // of the sender, by the event's own auth_events
	waiting  int   // picked auth events that are not sorted yet
	position int   // of the closest event of the mainline; see mainlineOrder
	placed   bool  // position is known
}

// A graph holds the conflicted events of a room and their auth chains.
type graph struct {
	Resolver
	agreed Agreed
	byID   map[matrix.EventID]*node
	order  []*node // every event behind those that authorize it
	forked [][]*node

	known    map[matrix.EventID]*matrix.Event // conflicted events
	common   map[matrix.EventID]*matrix.Event // agreed ones, once they are wanted by ID
	room     matrix.RoomID
	implied  *matrix.Event // the create event, where auth_events don't name it
	byLevels map[levelsKey]*eventauth.PowerLevels
}

type levelsKey struct{ create, levels *matrix.Event }

func newGraph(r Resolver, agreed Agreed) *graph {
	return &graph{
		Resolver: r,
		agreed:   agreed,
		byID:     map[matrix.EventID]*node{},
		known:    map[matrix.EventID]*matrix.Event{},
		byLevels: map[levelsKey]*eventauth.PowerLevels{},
	}
}

// load takes in the conflicted events and all that authorizes them.
func (g *graph) load(forks []StateMap) error {
	for _, fork := range forks {
		for _, e := range fork {
			g.known[e.ID] = e
			g.room = e.RoomID
		}
	}
	if err := g.findImplied(); err != nil {
		return err
	}
	g.forked = make([][]*node, len(forks))
	for i, fork := range forks {
		for _, e := range fork {
			n, err := g.add(e)
			if err != nil {
				return err
			}
			n.conflicted, n.full = true, true
			g.forked[i] = append(g.forked[i], n)
		}
	}
	return nil
}

// findImplied finds the create event in rooms where the room ID names it.
func (g *graph) findImplied() error {
	if !g.Version.RoomIDFromCreate {
		return nil
	}
	if len(g.room) < 2 {
		return fmt.Errorf("the room ID %q names no create event", g.room)
	}
	id := matrix.EventID("$" + g.room[1:])
	if create := g.agreed.Event("m.room.create", ""); create != nil && create.ID == id {
		g.implied = create
		return nil
	}
	var err error
	g.implied, err = g.find(id, matrix.EventID(g.room))
	return err
}

// find is an event by its ID.
func (g *graph) find(id, neededBy matrix.EventID) (*matrix.Event, error) {
	e := g.known[id]
	if e == nil {
		e = g.Auth(id)
	}
	if e == nil {
		e = g.findAgreed(id)
	}
	if e == nil {
		return nil, &MissingError{ID: id, NeededBy: neededBy}
	}
	if e.RoomID != g.room {
		return nil, fmt.Errorf("event %s, to which %s refers, is of another room", id, neededBy)
	}
	return e, nil
}

// findAgreed finds an event that the caller gave as state only.
func (g *graph) findAgreed(id matrix.EventID) *matrix.Event {
	if g.common == nil {
		g.common = map[matrix.EventID]*matrix.Event{}
		for e := range g.agreed.All() {
			g.common[e.ID] = e
		}
	}
	return g.common[id]
}

// A visit is an event on the way down, and how many of its auth_events have
// been taken in.
type visit struct {
	*node
	done int
}

// open is the index of an event whose auth chain is not complete.
const open = -1

// add takes in an event and its auth chain, whose length nothing bounds: hence
// a stack of our own.
func (g *graph) add(e *matrix.Event) (*node, error) {
	if n := g.byID[e.ID]; n != nil {
		return n, nil
	}
	if e.RoomID != g.room {
		return nil, fmt.Errorf("event %s is of another room", e.ID)
	}
	root := g.begin(e)
	stack := []visit{{node: root}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.done == len(top.event.AuthEvents) {
			top.index = len(g.order)
			g.order = append(g.order, top.node)
			stack = stack[:len(stack)-1]
			continue
		}
		id := top.event.AuthEvents[top.done]
		n := g.byID[id]
		if n == nil {
			auth, err := g.find(id, top.event.ID)
			if err != nil {
				return nil, err
			}
			stack = append(stack, visit{node: g.begin(auth)})
			continue
		}
		if n.index == open {
			return nil, fmt.Errorf("%s and %s: %w", top.event.ID, id, ErrCycle)
		}
		top.link(n)
		top.done++
	}
	return root, nil
}

func (g *graph) begin(e *matrix.Event) *node {
	n := &node{event: e, index: open, position: nowhere}
	if g.implied != nil && e.ID != g.implied.ID {
		n.create = g.implied
	}
	g.byID[e.ID] = n
	return n
}

// link notes an event that authorizes n.
func (n *node) link(auth *node) {
	if slices.Contains(n.auth, auth) {
		return
	}
	n.auth = append(n.auth, auth)
	switch {
	case n.create == nil && auth.event.Is("m.room.create", ""):
		n.create = auth.event
	case n.levels == nil && auth.event.Is("m.room.power_levels", ""):
		n.levels = auth
	}
}

// powerLevels reads the power levels out of two events, once for each pair.
func (g *graph) powerLevels(create, levels *matrix.Event) *eventauth.PowerLevels {
	key := levelsKey{create, levels}
	p := g.byLevels[key]
	if p == nil {
		p = eventauth.PowerLevelsOf(create, levels)
		g.byLevels[key] = p
	}
	return p
}
