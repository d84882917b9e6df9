package exchange

import (
	"context"
	"errors"
	"slices"
	"sync"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	// maxOpen is how many states are asked for to take in a part of a room's past.
	maxOpen = 10
	// maxSingle is up to how many events of states are asked for by themselves, and singlesAtOnce how many at a time.
	maxSingle     = 100
	singlesAtOnce = 8
)

// A part is a part of a room's past as another server tells it.
type part struct {
	*History
	ctx    context.Context
	server matrix.ServerName
	info   *storage.RoomInfo
	events []*matrix.Event // newest first
	in     map[matrix.EventID]bool
	known  map[matrix.EventID]*storage.Event // what they refer to
}

// choose keeps those events that are signed as they have to be, and that the frontier leads to.
func (p *part) choose(events []*matrix.Event, frontier []matrix.EventID) error {
	events = slices.DeleteFunc(slices.Clone(events), func(e *matrix.Event) bool { return e.RoomID != p.info.ID || e.Version != p.info.Version })
	events = events[:min(len(events), mostPast)]
	events, err := p.Peers.Verified(p.ctx, events)
	if err != nil {
		return err
	}
	p.follow(events, frontier)
	if p.known, err = p.references(); err != nil {
		return err
	}
	if len(p.open()) > maxOpen {
		// Of so few, no more can be open.
		p.events = p.events[:maxOpen]
		p.in = ids(p.events)
	}
	return nil
}

// follow is those events that the frontier leads to, the nearest first.
func (p *part) follow(events []*matrix.Event, frontier []matrix.EventID) {
	byID := make(map[matrix.EventID]*matrix.Event, len(events))
	for _, e := range events {
		byID[e.ID] = e
	}
	p.events = nil
	for next := frontier; len(next) > 0; {
		var behind []matrix.EventID
		for _, id := range next {
			if e := byID[id]; e != nil {
				delete(byID, id)
				p.events = append(p.events, e)
				behind = append(behind, e.PrevEvents...)
			}
		}
		next = behind
	}
	p.in = ids(p.events)
}

func ids(events []*matrix.Event) map[matrix.EventID]bool {
	set := make(map[matrix.EventID]bool, len(events))
	for _, e := range events {
		set[e.ID] = true
	}
	return set
}

// references is those of these events, and of those that they refer to, that are known in the room.
func (p *part) references() (map[matrix.EventID]*storage.Event, error) {
	var wanted []matrix.EventID
	for _, e := range p.events {
		wanted = slices.Concat(append(wanted, e.ID), e.PrevEvents, e.AuthEvents)
	}
	slices.Sort(wanted)
	return p.of(slices.Compact(wanted))
}

// of is those of some events that are known in the room.
func (p *part) of(wanted []matrix.EventID) (map[matrix.EventID]*storage.Event, error) {
	known, err := p.Store.Events.Known(p.ctx, wanted)
	if err != nil {
		return nil, err
	}
	for id, e := range known {
		if e.RoomNID != p.info.NID {
			delete(known, id)
		}
	}
	return known, nil
}

// open is those events before which something is missing.
func (p *part) open() []*matrix.Event {
	var list []*matrix.Event
	has := func(id matrix.EventID) bool { return p.known[id] != nil && p.known[id].Verdict != storage.Outlier }
	for _, e := range p.events {
		missing := func(id matrix.EventID) bool { return !p.in[id] && !has(id) }
		if !has(e.ID) && slices.ContainsFunc(e.PrevEvents, missing) {
			list = append(list, e)
		}
	}
	return list
}

// complete finds the state before those events before which something is missing, and what authorizes them.
func (p *part) complete() ([]rooms.Arrival, error) {
	states := map[matrix.EventID][]matrix.EventID{}
	for _, e := range p.open() {
		state, err := p.stateBefore(e)
		if err != nil {
			return nil, err
		}
		states[e.ID] = state
	}
	known, err := p.references()
	if err != nil {
		return nil, err
	}
	var wanted []matrix.EventID
	for _, e := range p.events {
		for _, id := range e.AuthEvents {
			if known[id] == nil && !p.in[id] {
				wanted = append(wanted, id)
			}
		}
	}
	if err := p.fetch(wanted); err != nil {
		return nil, err
	}
	arrivals := make([]rooms.Arrival, len(p.events))
	for i, e := range p.events {
		arrivals[i] = rooms.Arrival{Event: e, State: states[e.ID]}
	}
	return arrivals, nil
}

var errNoPast = errors.New("the state before an event is not told")

// stateBefore is the state before an event as the other server tells it, of which all is known that could be had.
func (p *part) stateBefore(e *matrix.Event) ([]matrix.EventID, error) {
	state, auth, err := p.Peers.StateIDs(p.ctx, p.server, p.info.ID, e.ID)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(state, auth)
	known, err := p.of(all)
	if err != nil {
		return nil, err
	}
	wanted := slices.DeleteFunc(all, func(id matrix.EventID) bool { return known[id] != nil })
	if len(wanted) > maxSingle {
		whole, chain, err := p.Peers.State(p.ctx, p.server, p.info.Version, p.info.ID, e.ID)
		if err != nil {
			return nil, err
		}
		if err := p.setAside(slices.Concat(chain, whole)); err != nil {
			return nil, err
		}
	} else if err := p.fetch(wanted); err != nil {
		return nil, err
	}
	if known, err = p.of(state); err != nil {
		return nil, err
	}
	state = slices.DeleteFunc(state, func(id matrix.EventID) bool { return known[id] == nil })
	if len(state) == 0 {
		return nil, errNoPast
	}
	return state, nil
}

// fetch asks for events one by one, up to maxSingle; those that cannot be had are left out.
func (p *part) fetch(wanted []matrix.EventID) error {
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	wanted = wanted[:min(len(wanted), maxSingle)]
	events := make([]*matrix.Event, len(wanted))
	free := make(chan struct{}, singlesAtOnce)
	var wait sync.WaitGroup
	for i, id := range wanted {
		free <- struct{}{}
		wait.Go(func() {
			defer func() { <-free }()
			if e, err := p.Peers.Event(p.ctx, p.server, p.info.Version, p.info.ID, id); err == nil && e.ID == id {
				events[i] = e
			}
		})
	}
	wait.Wait()
	return p.setAside(slices.DeleteFunc(events, func(e *matrix.Event) bool { return e == nil }))
}

// setAside keeps those of some events that are signed as they have to be.
func (p *part) setAside(events []*matrix.Event) error {
	events = slices.DeleteFunc(events, func(e *matrix.Event) bool { return e.RoomID != p.info.ID || e.Version != p.info.Version })
	if len(events) == 0 {
		return nil
	}
	events, err := p.Peers.Verified(p.ctx, events)
	if err != nil {
		return err
	}
	_, err = p.Rooms.SetAside(p.ctx, p.info.ID, events)
	return err
}
