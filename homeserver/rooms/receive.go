package rooms

import (
	"context"
	"fmt"
	"slices"

	"trestle/homeserver/storage"
	"trestle/homeserver/storage/statetree"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// An Arrival is an event of another server, whose hash and signatures were checked.
type Arrival struct {
	Event *matrix.Event
	// State is what the state before the event consists of, as somebody who is believed tells; nil: it follows
	// from the events before, which are all known.
	State []matrix.EventID
	// Relay says that the other servers in the room learn of the event from this one.
	Relay bool
}

// A Reception is what became of an [Arrival].
type Reception struct {
	Verdict storage.Verdict
	Known   bool             // it was here already
	Refused error            // M_FORBIDDEN: why it is not in the room; nil if it is
	Missing []matrix.EventID // what has to be known first; nothing was done then
}

// Receive takes events of other servers into a room, in their order, after the checks that the specification wants
// (Server-Server API § Checks performed on receipt of a PDU). Events that are known change nothing. M_NOT_FOUND if the room
// is not known here; other errors are none of the events'.
func (s *Service) Receive(ctx context.Context, id matrix.RoomID, arrivals []Arrival) ([]Reception, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	events := make([]*matrix.Event, len(arrivals))
	for i, a := range arrivals {
		events[i] = a.Event
	}
	if err := s.intern(ctx, info, events); err != nil {
		return nil, err
	}
	var done []Reception
	_, err = s.update(ctx, info.NID, func(d *draft) error {
		done = make([]Reception, len(arrivals))
		for i, a := range arrivals {
			var err error
			if done[i], err = d.receive(a); err != nil {
				return fmt.Errorf("receive %s: %w", a.Event.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, a := range arrivals {
		if done[i].Verdict == storage.Placed && !done[i].Known && a.Event.Is("m.room.guest_access", "") {
			if err := s.dismissGuests(ctx, info); err != nil {
				return nil, err
			}
		}
	}
	return done, nil
}

// intern has numbers for all names in events before the room's lock is taken, and refuses events of other rooms.
func (s *Service) intern(ctx context.Context, info *storage.RoomInfo, events []*matrix.Event) error {
	names := map[string]bool{}
	for _, e := range events {
		if e.RoomID != info.ID || e.Version != info.Version {
			return matrix.InvalidParam("Event %s is not of room %s.", e.ID, info.ID)
		}
		names[string(e.Sender)] = true
		if e.Type == "m.room.member" && e.StateKey != nil {
			names[*e.StateKey] = true
		}
	}
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	_, err := s.store.Users.NIDs(ctx, list)
	return err
}

// receive takes in one event.
func (d *draft) receive(a Arrival) (Reception, error) {
	e := a.Event
	ids := slices.Concat([]matrix.EventID{e.ID}, e.PrevEvents, e.AuthEvents, a.State)
	slices.Sort(ids)
	known, err := d.find(slices.Compact(ids))
	if err != nil {
		return Reception{}, err
	}
	i := arriving{draft: d, Arrival: a, known: known, kept: known[e.ID]}
	// What the room began with is known beside the stream where others have had it before, and comes after nothing.
	if i.kept != nil && (i.kept.Verdict != storage.Outlier || len(e.PrevEvents) == 0) {
		return Reception{Verdict: i.kept.Verdict, Known: true}, nil
	}
	if missing := i.missing(); len(missing) > 0 {
		return Reception{Missing: missing}, nil
	}
	if err := i.begin(); err != nil {
		return Reception{}, err
	}
	verdict, refused, err := i.decide()
	if err != nil {
		return Reception{}, err
	}
	if verdict == storage.Placed {
		return Reception{}, i.place()
	}
	if verdict == storage.Rejected && a.State != nil {
		// By a state that somebody has told: another one may tell better, and would find the event refused for good.
		i.room.unfly(i.stored.NID)
		if i.kept != nil {
			i.room.fly(i.kept)
		}
		return Reception{Verdict: verdict, Refused: refused}, nil
	}
	i.stored.Verdict, i.stored.Branch = verdict, i.after.Root()
	if verdict == storage.Rejected {
		i.stored.Branch = i.before.Root()
	}
	d.keep(i.stored, i.kept != nil)
	return Reception{Verdict: verdict, Refused: refused}, nil
}

// arriving is an event on its way into a room.
type arriving struct {
	*draft
	Arrival
	known  map[matrix.EventID]*storage.Event // the event itself and those that it refers to
	kept   *storage.Event                    // what was known of it beside the stream, or nil
	stored *storage.Event
	before statetree.Tree // on its own branch of the room's history
	after  statetree.Tree
}

// missing is what has to be known first.
func (i *arriving) missing() []matrix.EventID {
	var ids []matrix.EventID
	if i.State == nil {
		for _, id := range i.Event.PrevEvents {
			// Of what only authorizes others the state is not known.
			if prev := i.known[id]; prev == nil || !prev.StateKnown() {
				ids = append(ids, id)
			}
		}
	}
	for _, id := range slices.Concat(i.Event.AuthEvents, i.State) {
		if i.known[id] == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// begin finds the state before and after the event, were it allowed.
func (i *arriving) begin() (err error) {
	i.stored = &storage.Event{Event: i.Event, RoomNID: i.room.info.NID}
	if i.kept != nil {
		i.stored.Event, i.stored.NID, i.stored.RedactedBy = i.kept.Event, i.kept.NID, i.kept.RedactedBy
	} else if i.stored.NID, err = i.s.store.Events.NewNID(i.ctx); err != nil {
		return err
	}
	i.arriving = append(i.arriving, i.stored.NID)
	i.room.fly(i.stored) // states refer to it before it has a place
	if i.before, err = i.stateBefore(); err != nil {
		return err
	}
	i.after = i.before
	if i.Event.IsState() {
		key := i.number(storage.StateKey{Type: i.Event.Type, Key: *i.Event.StateKey})
		i.after, err = i.with(i.before, []statetree.Entry{{Key: key, Value: i.stored.NID}})
	}
	return err
}

func (i *arriving) stateBefore() (statetree.Tree, error) {
	var events []*storage.Event
	if i.State == nil {
		for _, id := range i.Event.PrevEvents {
			events = append(events, i.known[id])
		}
		return i.draft.after(events)
	}
	for _, id := range i.State {
		if e := i.known[id]; e.Verdict != storage.Rejected && e.IsState() {
			events = append(events, e)
		}
	}
	return i.stateOf(events)
}

// decide passes the verdict, and says why where it is not that the event is in the room.
func (i *arriving) decide() (verdict storage.Verdict, refused, err error) {
	e := i.Event
	if len(e.PrevEvents) == 0 {
		return storage.Rejected, matrix.Forbidden("Room %s has begun already.", e.RoomID), nil
	}
	if err := i.judge(e, i.known); matrix.Code(err) == "M_FORBIDDEN" {
		return storage.Rejected, err, nil
	} else if err != nil {
		return 0, nil, err
	}
	if refused, err := i.allowed(&head{tree: i.before}); refused != nil || err != nil {
		return storage.Rejected, refused, err
	}
	if i.before.Root() != i.head.tree.Root() {
		if refused, err := i.allowed(&i.head); refused != nil || err != nil {
			return storage.SoftFailed, refused, err
		}
	}
	return storage.Placed, nil, nil
}

// allowed judges the event by a state.
func (i *arriving) allowed(at *head) (refused, err error) {
	v := &view{ctx: i.ctx, s: i.s, room: i.room, head: at}
	refused = eventauth.Allowed(i.Event, v)
	return refused, v.err // with an error, the rules have not seen the whole state
}

// place puts the event at the end of the room's stream, merging the branches of history that nothing comes after yet.
func (i *arriving) place() error {
	i.stored.Gap = i.State != nil
	st, err := i.stepOf(i.stored)
	if err != nil {
		return err
	}
	st.promoted, st.relayed = i.kept != nil, i.Relay
	others, err := i.others()
	if err != nil {
		return err
	}
	trees := []statetree.Tree{i.after}
	ids := make([]matrix.EventID, 0, len(others)+1)
	for _, e := range others {
		tree, err := i.tree(e.After())
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(trees, func(t statetree.Tree) bool { return t.Root() == tree.Root() }) {
			trees = append(trees, tree)
		}
		ids = append(ids, e.ID)
	}
	merged, err := i.resolve(trees)
	if err != nil {
		return err
	}
	if err := i.moveTo(&st, merged); err != nil {
		return err
	}
	if i.after.Root() != merged.Root() {
		i.stored.Branch = i.after.Root()
	}
	i.head.extremities = append(ids, i.Event.ID)
	i.head.depth = max(i.head.depth, i.Event.Depth)
	for k := range st.moves {
		if m := &st.moves[k]; m.was != "join" && m.membership() == "join" {
			i.arrives("")
		}
	}
	i.push(st)
	return i.redactions()
}

// maxBranches is how many branches of a room's history are kept in mind. Who makes more on purpose has
// what the oldest did to the state forgotten with the next merger.
const maxBranches = 50

// others is the room's newest events that the arriving one does not come after.
func (i *arriving) others() ([]*storage.Event, error) {
	behind := map[matrix.EventID]bool{}
	next := i.Event.PrevEvents
	for len(next) > 0 && len(behind) < 1000 {
		var refused []*storage.Event
		for _, id := range next {
			behind[id] = true
			// What was refused is nobody's newest event, but what it came after may be.
			if e := i.known[id]; e != nil && e.Verdict != storage.Placed {
				refused = append(refused, e)
			}
		}
		next = nil
		for _, e := range refused {
			for _, id := range e.PrevEvents {
				if !behind[id] {
					next = append(next, id)
				}
			}
		}
		found, err := i.find(next)
		if err != nil {
			return nil, err
		}
		for id, e := range found {
			i.known[id] = e
		}
	}
	ids := slices.DeleteFunc(slices.Clone(i.head.extremities), func(id matrix.EventID) bool { return behind[id] })
	ids = ids[max(0, len(ids)-maxBranches):]
	found, err := i.find(ids)
	if err != nil {
		return nil, err
	}
	others := make([]*storage.Event, 0, len(ids))
	for _, id := range ids {
		if e := found[id]; e != nil {
			others = append(others, e)
		}
	}
	return others, nil
}
