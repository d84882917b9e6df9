package rooms

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	// MaxPast is how many events of a room's past are taken in at once.
	MaxPast = 1000
	// maxFrontier is how many events are kept in mind from which a room's history goes on elsewhere, and maxUnknown
	// how many of them come with one part of it. Who makes more on purpose has what came before the others never asked for.
	maxFrontier = 10_000
	maxUnknown  = 1000
)

// A Past is what became of a part of a room's history.
type Past struct {
	Placed  int              // how many events are new in the stream
	Refused int              // how many are known now, and not shown
	Left    []matrix.EventID // that were left out: something that has to be known is not, or nothing known here comes after them
}

// Backfill takes in what happened in a room before this server came into it: events of other servers, in any order, whose hashes
// and signatures were checked. They go before all that is there, and nobody is told of them. Each is judged by
// the state before it on its own branch; what the room has become since has no say in that.
//
// Only what others that are known, here or among these events, come after is taken in, see the frontier of the room. M_NOT_FOUND if the
// room is not known here, M_INVALID_PARAM for events of other rooms or more than [MaxPast]; other errors are none of the events'.
func (s *Service) Backfill(ctx context.Context, id matrix.RoomID, arrivals []Arrival) (*Past, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(arrivals) > MaxPast {
		return nil, matrix.InvalidParam("%d events are more than the %d that are taken in at once.", len(arrivals), MaxPast)
	}
	events := make([]*matrix.Event, len(arrivals))
	for i, a := range arrivals {
		events[i] = a.Event
	}
	if err := s.intern(ctx, info, events); err != nil {
		return nil, err
	}
	var past *Past
	_, err = s.update(ctx, info.NID, func(d *draft) (err error) {
		b := backfilling{draft: d, past: new(Past)}
		past = b.past
		return b.run(arrivals)
	})
	if err != nil {
		return nil, err
	}
	return past, nil
}

// Incomplete reports whether a room's history goes on elsewhere.
func (s *Service) Incomplete(ctx context.Context, info *storage.RoomInfo) (bool, error) {
	r, err := s.cache.acquire(ctx, info.NID)
	if err != nil {
		return false, err
	}
	defer s.cache.release(r)
	seen := r.frontier.Load()
	if known := seen & frontierKnown; known != frontierUnknown {
		return known == frontierOpen, nil
	}
	ids, err := s.store.Rooms.Frontier(ctx, info.NID, 1)
	if err != nil {
		return false, err
	}
	known := frontierNone
	if len(ids) > 0 {
		known = frontierOpen
	}
	r.frontier.CompareAndSwap(seen, seen|known) // unless it has moved since
	return known == frontierOpen, nil
}

// What a room in memory knows of its frontier: the lowest bits are one of these, the others count how often it has moved.
const (
	frontierUnknown int64 = iota
	frontierNone
	frontierOpen
	frontierKnown // the bits
)

// frontierMoved has the frontier read again by whoever asks next.
func (r *room) frontierMoved() {
	for {
		seen := r.frontier.Load()
		if r.frontier.CompareAndSwap(seen, (seen|frontierKnown)+1) {
			return
		}
	}
}

// backfilling is the taking in of a part of a room's history.
type backfilling struct {
	*draft
	past     *Past
	frontier []matrix.EventID
	known    map[matrix.EventID]*storage.Event // those events that are, and all that they refer to
	taken    []*matrix.Event
}

func (b *backfilling) run(arrivals []Arrival) (err error) {
	if b.frontier, err = b.s.store.Rooms.Frontier(b.ctx, b.room.info.NID, maxFrontier); err != nil {
		return err
	}
	if err := b.learn(arrivals); err != nil {
		return err
	}
	if err := b.lookBehind(); err != nil {
		return err
	}
	ordered := inSequence(arrivals)
	reached := b.reached(ordered)
	for _, a := range ordered {
		if b.has(a.Event.ID) {
			continue
		}
		if !reached[a.Event.ID] {
			b.past.Left = append(b.past.Left, a.Event.ID)
			continue
		}
		if err := b.take(a); err != nil {
			return fmt.Errorf("take in %s: %w", a.Event.ID, err)
		}
	}
	if len(b.steps) > 0 {
		if b.place.before, err = b.makeRoom(int64(len(b.steps))); err != nil {
			return err
		}
	}
	b.move()
	return nil
}

// learn finds all that is known of the events and what they refer to.
func (b *backfilling) learn(arrivals []Arrival) (err error) {
	ids := slices.Clone(b.frontier)
	for _, a := range arrivals {
		ids = append(ids, a.Event.ID)
		ids = slices.Concat(ids, a.Event.PrevEvents, a.Event.AuthEvents, a.State)
	}
	slices.Sort(ids)
	b.known, err = b.find(slices.Compact(ids))
	return err
}

// maxBehind is how many events are looked behind that have come by another way since they were missing.
const maxBehind = 1000

// lookBehind moves the frontier back behind events that have come by another way: the history goes on before them.
func (b *backfilling) lookBehind() error {
	seen := map[matrix.EventID]bool{}
	for next := b.frontier; len(next) > 0 && len(seen) < maxBehind; {
		var behind []matrix.EventID
		for _, id := range next {
			if b.has(id) && !seen[id] {
				seen[id] = true
				b.taken = append(b.taken, b.known[id].Event)
				behind = append(behind, b.known[id].PrevEvents...)
			}
		}
		slices.Sort(behind)
		next = slices.Compact(behind)
		found, err := b.find(next)
		if err != nil {
			return err
		}
		maps.Copy(b.known, found)
		for _, id := range next {
			if !b.has(id) {
				b.frontier = append(b.frontier, id)
			}
		}
	}
	return nil
}

// has reports whether an event has a place in the room's history, if only as one that was refused: of what only authorizes
// others it is not known.
func (b *backfilling) has(id matrix.EventID) bool {
	e := b.known[id]
	return e != nil && e.Verdict != storage.Outlier
}

// inSequence is events such that each comes after those of them that it refers to. Of several that may come next it
// is the one that says it is less deep. Those that refer to each other in a circle, which only events with chosen IDs can, are left out.
func inSequence(arrivals []Arrival) []Arrival {
	byID := make(map[matrix.EventID]Arrival, len(arrivals))
	for _, a := range arrivals {
		byID[a.Event.ID] = a
	}
	waits := make(map[matrix.EventID]int, len(byID))
	next := make(map[matrix.EventID][]matrix.EventID, len(byID))
	var ready []Arrival
	for id, a := range byID {
		refers := slices.Concat(a.Event.PrevEvents, a.Event.AuthEvents)
		slices.Sort(refers)
		for _, before := range slices.Compact(refers) {
			if _, ok := byID[before]; ok {
				waits[id]++
				next[before] = append(next[before], id)
			}
		}
		if waits[id] == 0 {
			ready = append(ready, a)
		}
	}
	less := func(a, b Arrival) int {
		return cmp.Or(cmp.Compare(a.Event.Depth, b.Event.Depth), cmp.Compare(a.Event.OriginServerTS, b.Event.OriginServerTS),
			cmp.Compare(a.Event.ID, b.Event.ID))
	}
	ordered := make([]Arrival, 0, len(byID))
	for len(ready) > 0 {
		first := slices.MinFunc(ready, less)
		ready = slices.DeleteFunc(ready, func(a Arrival) bool { return a.Event == first.Event })
		ordered = append(ordered, first)
		for _, id := range next[first.Event.ID] {
			if waits[id]--; waits[id] == 0 {
				ready = append(ready, byID[id])
			}
		}
	}
	return ordered
}

// reached is those of the events that the frontier leads to by way of events that can be taken in. What lies
// behind others would come to stand after them, once they can be.
func (b *backfilling) reached(ordered []Arrival) map[matrix.EventID]bool {
	complete := make(map[matrix.EventID]*matrix.Event, len(ordered))
	there := func(id matrix.EventID) bool { return complete[id] != nil || b.has(id) }
	for _, a := range ordered {
		known := func(id matrix.EventID) bool { return complete[id] != nil || b.known[id] != nil }
		if (a.State != nil || all(a.Event.PrevEvents, there)) && all(a.State, known) && all(a.Event.AuthEvents, known) {
			complete[a.Event.ID] = a.Event
		}
	}
	reached := map[matrix.EventID]bool{}
	for next := b.frontier; len(next) > 0; {
		var behind []matrix.EventID
		for _, id := range next {
			if e := complete[id]; e != nil && !reached[id] && !b.has(id) {
				reached[id] = true
				behind = append(behind, e.PrevEvents...)
			}
		}
		next = behind
	}
	return reached
}

func all(ids []matrix.EventID, is func(matrix.EventID) bool) bool {
	return !slices.ContainsFunc(ids, func(id matrix.EventID) bool { return !is(id) })
}

// take takes in one event.
func (b *backfilling) take(a Arrival) error {
	i := arriving{draft: b.draft, Arrival: a, known: b.known, kept: b.known[a.Event.ID]}
	if len(i.missing()) > 0 {
		b.past.Left = append(b.past.Left, a.Event.ID)
		return nil
	}
	if err := i.begin(); err != nil {
		return err
	}
	allowed, err := i.wasAllowed()
	if err != nil {
		return err
	}
	b.known[a.Event.ID] = i.stored
	b.taken = append(b.taken, i.Event)
	if allowed {
		b.past.Placed++
		return i.placeBefore()
	}
	b.past.Refused++
	i.stored.Verdict, i.stored.Branch = storage.Rejected, i.before.Root()
	b.keep(i.stored, i.kept != nil)
	return nil
}

// wasAllowed judges the event by what it says authorizes it, and by the state before it.
func (i *arriving) wasAllowed() (bool, error) {
	if len(i.Event.PrevEvents) == 0 {
		return i.isCreation()
	}
	if err := i.judge(i.Event, i.known); matrix.Code(err) == "M_FORBIDDEN" {
		return false, nil
	} else if err != nil {
		return false, err
	}
	refused, err := i.allowed(&head{tree: i.before})
	return refused == nil, err
}

// isCreation reports whether the event is that with which the room began.
func (i *arriving) isCreation() (bool, error) {
	create, err := i.state("m.room.create", "")
	if err != nil || create == nil || create.ID != i.Event.ID {
		return false, err
	}
	refused, err := i.allowed(&head{})
	return refused == nil, err
}

// placeBefore puts the event into the room's stream as a part of the past.
func (i *arriving) placeBefore() error {
	st, err := i.stepOf(i.stored)
	if err != nil {
		return err
	}
	st.promoted = i.kept != nil
	if i.Event.IsState() {
		key := i.number(storage.StateKey{Type: i.Event.Type, Key: *i.Event.StateKey})
		if i.stored.ReplacesNID, err = i.before.Get(i.ctx, i.s.store.State, key); err != nil {
			return err
		}
	}
	i.push(st)
	i.stored.Root = i.after.Root() // the newest state is none of the past's
	return i.redactions()
}

// move notes with the draft where the room's history goes on elsewhere now.
func (b *backfilling) move() {
	var reached, unknown []matrix.EventID
	for _, id := range b.frontier {
		if b.has(id) {
			reached = append(reached, id)
		}
	}
	most := min(maxUnknown, maxFrontier-len(b.frontier)+len(reached))
	for _, e := range b.taken {
		for _, id := range e.PrevEvents {
			if !b.has(id) && len(unknown) < most {
				unknown = append(unknown, id)
			}
		}
	}
	if len(reached)+len(unknown) == 0 {
		return
	}
	r, nid := b.room, b.room.info.NID
	b.extra = func(ctx context.Context, tx *database.Tx) error {
		tx.OnCommit(r.frontierMoved)
		return b.s.store.Rooms.MoveFrontier(ctx, tx, nid, unknown, reached)
	}
}

// makeRoom takes places before a room's oldest event and returns the first.
func (d *draft) makeRoom(count int64) (int64, error) {
	r := d.room
	if r.oldest == 0 {
		oldest, err := d.s.store.Events.Oldest(d.ctx, r.info.NID)
		if err != nil {
			return 0, err
		}
		r.oldest = min(oldest, storage.Beginning)
	}
	r.oldest -= count
	return r.oldest, nil
}
