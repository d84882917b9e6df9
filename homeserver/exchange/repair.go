package exchange

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// repair takes in an event together with what has to be known before it. That this cannot be had is no error of the event: the
// other server need not send it again, since what comes after it leads to it.
func (s *Service) repair(ctx context.Context, origin matrix.ServerName, info *storage.RoomInfo, e *matrix.Event, missing []matrix.EventID) error {
	unlock, err := s.busy.lock(ctx, info.ID)
	if err != nil {
		return err
	}
	defer unlock()
	if s.gaps.hopeless(e.ID, s.Rooms.Now()) {
		return nil
	}
	r := repair{Service: s, ctx: ctx, origin: origin, info: info}
	err = r.run(e, missing)
	var unheard *unheard
	if errors.As(err, &unheard) && ctx.Err() == nil {
		s.Log.InfoContext(ctx, "what comes before an event of another server could not be had",
			"origin", origin, "room", info.ID, "event", e.ID, "error", err)
		s.gaps.note(e.ID, s.Rooms.Now())
		return nil // what comes after it will bring it
	}
	return err
}

// unheard is what another server did not tell.
type unheard struct{ err error }

func (e *unheard) Error() string { return e.err.Error() }
func (e *unheard) Unwrap() error { return e.err }

// gaps remembers for a while which events could not be taken in because of what is missing before them: a server that sends
// them again and again does not have others asked as often.
type gaps struct {
	mu    sync.Mutex
	until map[matrix.EventID]time.Time
}

const (
	gapPause = 30 * time.Second
	maxGaps  = 1000
)

func (g *gaps) hopeless(id matrix.EventID, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return now.Before(g.until[id])
}

func (g *gaps) note(id matrix.EventID, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.until) >= maxGaps {
		clear(g.until)
	}
	g.until[id] = now.Add(gapPause)
}

// A repair finds what has to be known before an event.
type repair struct {
	*Service
	ctx    context.Context
	origin matrix.ServerName
	info   *storage.RoomInfo
}

const (
	// maxMissed is how many events in a row are asked for that this server has missed; what lies before them is told by the
	// state that it has led to.
	maxMissed   = 500
	missedBatch = 50
	// fetchedOneByOne is up to how many events of a state are asked for by themselves, and fetchesAtOnce how many at a time.
	fetchedOneByOne = 100
	fetchesAtOnce   = 8
)

// run takes the event in, of which something is missing.
func (r *repair) run(e *matrix.Event, missing []matrix.EventID) error {
	var missed []*matrix.Event
	var err error
	if slices.ContainsFunc(missing, func(id matrix.EventID) bool { return slices.Contains(e.PrevEvents, id) }) {
		if missed, err = r.missed(e); err != nil {
			return err
		}
	}
	for _, before := range missed {
		// What is wrong with one of them is its own matter: those behind it ask for the state.
		var unheard *unheard
		if err := r.receive(before); err != nil && (matrix.Code(err) == "" && !errors.As(err, &unheard) || r.ctx.Err() != nil) {
			return err
		}
	}
	return r.receive(e)
}

// missed is the events between what is known and an event, those first that others come after.
func (r *repair) missed(e *matrix.Event) ([]*matrix.Event, error) {
	head, err := r.Store.Rooms.Head(r.ctx, r.info.NID)
	if err != nil {
		return nil, err
	}
	// What was before this server came is its past, and no news.
	past, err := r.Store.Rooms.Frontier(r.ctx, r.info.NID, maxFrom)
	if err != nil {
		return nil, err
	}
	earliest := slices.Concat(head.Extremities[:min(len(head.Extremities), matrix.MaxPrevEvents)], past)
	found := map[matrix.EventID]*matrix.Event{}
	latest := []matrix.EventID{e.ID}
	for len(found) < maxMissed && len(latest) > 0 {
		batch, err := r.Peers.MissingEvents(r.ctx, r.origin, r.info.Version, r.info.ID, earliest, latest, 0, missedBatch)
		if err != nil {
			if r.ctx.Err() != nil {
				return nil, err
			}
			break // the state will have to do
		}
		if batch, err = r.Peers.Verified(r.ctx, batch); err != nil {
			return nil, err
		}
		news := false
		for _, other := range batch {
			if found[other.ID] == nil && other.ID != e.ID {
				found[other.ID], news = other, true
			}
		}
		without(found, past)
		if !news {
			break
		}
		if latest, err = r.openEnds(found); err != nil {
			return nil, err
		}
	}
	return sorted(found), nil
}

// without takes events out, and all that they come after.
func without(found map[matrix.EventID]*matrix.Event, ids []matrix.EventID) {
	for len(ids) > 0 {
		id := ids[len(ids)-1]
		ids = ids[:len(ids)-1]
		if e := found[id]; e != nil {
			delete(found, id)
			ids = append(slices.Clip(ids), e.PrevEvents...)
		}
	}
}

// openEnds is those of some events before which something is missing.
func (r *repair) openEnds(found map[matrix.EventID]*matrix.Event) ([]matrix.EventID, error) {
	var wanted []matrix.EventID
	for _, e := range found {
		for _, id := range e.PrevEvents {
			if found[id] == nil {
				wanted = append(wanted, id)
			}
		}
	}
	known, err := r.Store.Events.Known(r.ctx, wanted)
	if err != nil {
		return nil, err
	}
	var ends []matrix.EventID
	for _, e := range found {
		if len(ends) < matrix.MaxPrevEvents && slices.ContainsFunc(e.PrevEvents, func(id matrix.EventID) bool { return found[id] == nil && known[id] == nil }) {
			ends = append(ends, e.ID)
		}
	}
	return ends, nil
}

// sorted is events such that each comes after those of them that it refers to as before it.
func sorted(events map[matrix.EventID]*matrix.Event) []*matrix.Event {
	list := make([]*matrix.Event, 0, len(events))
	for _, e := range events {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *matrix.Event) int {
		if a.Depth != b.Depth {
			return int(min(max(a.Depth-b.Depth, -1), 1))
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	// Depths are what servers say they are.
	ordered := make([]*matrix.Event, 0, len(list))
	placed := make(map[matrix.EventID]bool, len(list))
	for len(list) > 0 {
		rest := list[:0:0]
		for _, e := range list {
			waits := slices.ContainsFunc(e.PrevEvents, func(id matrix.EventID) bool { return events[id] != nil && !placed[id] })
			if waits {
				rest = append(rest, e)
				continue
			}
			placed[e.ID] = true
			ordered = append(ordered, e)
		}
		if len(rest) == len(list) {
			return ordered // a circle, which no events make
		}
		list = rest
	}
	return ordered
}

// receive takes one event in; where what comes before it is not known, with the state that the other server tells.
func (r *repair) receive(e *matrix.Event) error {
	arrival := rooms.Arrival{Event: e}
	for range 3 {
		done, err := r.Rooms.Receive(r.ctx, r.info.ID, []rooms.Arrival{arrival})
		if err != nil {
			return err
		}
		missing := done[0].Missing
		if len(missing) == 0 {
			if done[0].Verdict == storage.Rejected {
				return done[0].Refused
			}
			return nil
		}
		if slices.ContainsFunc(missing, func(id matrix.EventID) bool { return slices.Contains(e.AuthEvents, id) }) {
			if err := r.authorize(e); err != nil {
				return &unheard{err}
			}
		}
		if arrival.State == nil && slices.ContainsFunc(missing, func(id matrix.EventID) bool { return slices.Contains(e.PrevEvents, id) }) {
			if arrival.State, err = r.state(e); err != nil {
				return &unheard{err}
			}
		}
	}
	return &unheard{errIncomplete}
}

// authorize sets aside what authorizes an event: its auth chain or, where that is not told as a whole, what can be had of it.
func (r *repair) authorize(e *matrix.Event) error {
	chain, err := r.Peers.EventAuth(r.ctx, r.origin, r.info.Version, r.info.ID, e.ID)
	if err != nil && r.ctx.Err() == nil {
		chain, err = r.chain(e)
	}
	if err != nil {
		return err
	}
	return r.setAside(chain)
}

// chain is those events of an auth chain that are not known, asked for generation by generation.
func (r *repair) chain(e *matrix.Event) (chain []*matrix.Event, err error) {
	seen := map[matrix.EventID]bool{}
	for next := e.AuthEvents; len(next) > 0 && len(seen) < fetchedOneByOne; {
		known, err := r.Store.Events.Known(r.ctx, next)
		if err != nil {
			return nil, err
		}
		wanted := map[matrix.EventID]bool{}
		for _, id := range next {
			if known[id] == nil && !seen[id] && len(wanted) < fetchedOneByOne {
				seen[id], wanted[id] = true, true
			}
		}
		next = nil
		for _, auth := range r.fetch(wanted) {
			chain = append(chain, auth)
			next = append(next, auth.AuthEvents...)
		}
	}
	return chain, nil
}

func (r *repair) setAside(events []*matrix.Event) error {
	events, err := r.Peers.Verified(r.ctx, events)
	if err != nil {
		return err
	}
	_, err = r.Rooms.SetAside(r.ctx, r.info.ID, events)
	return err
}

var (
	errNoState    = errors.New("the state before the event is not told")
	errIncomplete = errors.New("what was told of it is not all")
)

// state is the state before an event as the other server tells it, of which all is known that could be had.
func (r *repair) state(e *matrix.Event) ([]matrix.EventID, error) {
	state, auth, err := r.Peers.StateIDs(r.ctx, r.origin, r.info.ID, e.ID)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(state, auth)
	known, err := r.Store.Events.Known(r.ctx, all)
	if err != nil {
		return nil, err
	}
	wanted := map[matrix.EventID]bool{}
	for _, id := range all {
		if known[id] == nil {
			wanted[id] = true
		}
	}
	switch {
	case len(wanted) > fetchedOneByOne:
		whole, chain, err := r.Peers.State(r.ctx, r.origin, r.info.Version, r.info.ID, e.ID)
		if err != nil {
			return nil, err
		}
		if err := r.setAside(slices.Concat(chain, whole)); err != nil {
			return nil, err
		}
	case len(wanted) > 0:
		if err := r.setAside(r.fetch(wanted)); err != nil {
			return nil, err
		}
	}
	if known, err = r.Store.Events.Known(r.ctx, state); err != nil {
		return nil, err
	}
	state = slices.DeleteFunc(state, func(id matrix.EventID) bool { return known[id] == nil || known[id].RoomNID != r.info.NID })
	if len(state) == 0 {
		return nil, errNoState
	}
	return state, nil
}

// fetch asks for events one by one; those that cannot be had are left out.
func (r *repair) fetch(wanted map[matrix.EventID]bool) []*matrix.Event {
	var mu sync.Mutex
	var wait sync.WaitGroup
	var events []*matrix.Event
	free := make(chan struct{}, fetchesAtOnce)
	for id := range wanted {
		free <- struct{}{}
		wait.Go(func() {
			defer func() { <-free }()
			e, err := r.Peers.Event(r.ctx, r.origin, r.info.Version, r.info.ID, id)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			events = append(events, e)
		})
	}
	wait.Wait()
	return events
}
