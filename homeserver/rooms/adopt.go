package rooms

import (
	"context"
	"errors"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// An Adoption is a room that this server comes into by way of another one.
type Adoption struct {
	Room    matrix.RoomID
	Version *roomversion.Version
	// Join is the event by which somebody of this server comes in, as all servers see it.
	Join *matrix.Event
	// State is the room's state before that, and Auth what authorizes it: events whose hashes and signatures were checked.
	State, Auth []*matrix.Event
	AppService  string // that acts as whoever joins
	// Extra is written in the same transaction.
	Extra func(ctx context.Context, tx *database.Tx) error
}

// Adopt takes a room over from another server as it is told. What in it is not allowed by what it says authorizes it, or
// lacks that, is left out; M_FORBIDDEN if the join itself does not hold then.
func (s *Service) Adopt(ctx context.Context, a Adoption) error {
	if err := s.refuseBlocked(a.Room); err != nil {
		return err
	}
	info, err := s.store.Rooms.Info(ctx, a.Room)
	if errors.Is(err, database.ErrNoRows) {
		info, err = s.founding(ctx, a)
	}
	if err != nil {
		return err
	}
	if info.Version != a.Version {
		if info, err = s.refound(ctx, info, a); err != nil {
			return err
		}
	}
	all := slices.Concat(a.Auth, a.State)
	if err := s.intern(ctx, info, append(slices.Clone(all), a.Join)); err != nil {
		return err
	}
	_, err = s.update(ctx, info.NID, func(d *draft) error { return d.adopt(a, all) })
	if err != nil {
		return err
	}
	return s.follow(ctx, info, a.Join.Sender)
}

// founding makes a room of which nothing is known here.
func (s *Service) founding(ctx context.Context, a Adoption) (*storage.RoomInfo, error) {
	var create *matrix.Event
	for _, e := range a.State {
		if e.Is("m.room.create", "") {
			create = e
		}
	}
	if create == nil || create.RoomID != a.Room {
		return nil, matrix.Forbidden("The server that was asked for room %s does not know how it began.", a.Room)
	}
	return s.found(ctx, a.Room, a.Version, create.Sender)
}

// found makes a room without events, unless somebody has just done so.
func (s *Service) found(ctx context.Context, id matrix.RoomID, version *roomversion.Version, creator matrix.UserID) (*storage.RoomInfo, error) {
	nid, err := s.store.Rooms.NewNID(ctx)
	if err != nil {
		return nil, err
	}
	info := &storage.RoomInfo{NID: nid, ID: id, Version: version}
	err = s.store.DB.Update(ctx, func(tx *database.Tx) error { return s.store.Rooms.Insert(ctx, tx, info, creator) })
	if err != nil && !database.IsUnique(err) {
		return nil, err
	}
	return s.store.Rooms.Info(ctx, id)
}

func (d *draft) adopt(a Adoption, all []*matrix.Event) error {
	kept, _, err := d.setAside(all)
	if err != nil {
		return err
	}
	i := arriving{draft: d, Arrival: Arrival{Event: a.Join}}
	for _, e := range a.State {
		if kept[e.ID] != nil {
			i.State = append(i.State, e.ID)
		}
	}
	if inside, err := d.inside(); err != nil || inside {
		return i.follow(a, err)
	}
	ids := slices.Concat([]matrix.EventID{a.Join.ID}, a.Join.AuthEvents)
	if i.known, err = d.find(ids); err != nil {
		return err
	}
	for id, e := range kept {
		i.known[id] = e
	}
	i.kept = i.known[a.Join.ID]
	if i.kept != nil && i.kept.Verdict == storage.Placed {
		return nil // somebody has brought it by another way
	}
	if missing := i.missing(); len(missing) > 0 {
		return matrix.Forbidden("The join is authorized by events that the other server does not tell.")
	}
	if err := i.begin(); err != nil {
		return err
	}
	// Nobody here has followed the room: what it was once is no branch of what it is.
	i.head = head{tree: i.head.tree, depth: i.head.depth, lastPosition: i.head.lastPosition, summary: i.head.summary}
	verdict, refused, err := i.decideFirst()
	if err != nil {
		return err
	}
	if verdict != storage.Placed {
		return matrix.Forbidden("The room is not as it would have to be for this join: %v", refused)
	}
	if err := i.place(); err != nil {
		return err
	}
	i.steps[len(i.steps)-1].withheld = true // the server that has let us in sends it on
	return i.begun(a)
}

// follow takes in the join of a room that this server is in all the same, and could not let anybody into.
func (i *arriving) follow(a Adoption, err error) error {
	var done Reception
	for _, state := range [][]matrix.EventID{nil, i.State} {
		if err == nil {
			done, err = i.receive(Arrival{Event: a.Join, State: state})
		}
		if err != nil || len(done.Missing) == 0 {
			break // what comes before it is known, as it should be
		}
	}
	switch {
	case err != nil:
		return err
	case len(done.Missing) > 0:
		return matrix.Forbidden("The join comes after events that the other server does not tell.")
	case done.Verdict != storage.Placed:
		return done.Refused
	case !done.Known:
		i.steps[len(i.steps)-1].withheld = true
		i.arrived = nil
		i.arrives(a.AppService)
	}
	return nil
}

// decideFirst is decide for an event by which this server comes into the room: there is no state of its own to hold it to.
func (i *arriving) decideFirst() (storage.Verdict, error, error) {
	newest := i.head.tree
	i.head.tree = i.before
	defer func() { i.head.tree = newest }()
	return i.decide()
}

// begun notes with the draft where the room's history begins here, and goes on elsewhere.
func (i *arriving) begun(a Adoption) error {
	info, before := i.room.info, i.before.Root()
	i.extra = func(ctx context.Context, tx *database.Tx) error {
		tx.OnCommit(i.room.frontierMoved)
		if err := i.s.store.Rooms.Begin(ctx, tx, info.NID, before); err != nil {
			return err
		}
		if err := i.s.store.Rooms.MoveFrontier(ctx, tx, info.NID, a.Join.PrevEvents, nil); err != nil {
			return err
		}
		if a.Extra != nil {
			return a.Extra(ctx, tx)
		}
		return nil
	}
	i.arrived = nil
	i.arrives(a.AppService)
	return nil
}

// Resident reports whether this server takes part in a room: somebody of it is in, or nobody of any other server is, so
// that there is nobody to ask.
func (s *Service) Resident(ctx context.Context, info *storage.RoomInfo) (bool, error) {
	r, err := s.cache.acquire(ctx, info.NID)
	if err != nil {
		return false, err
	}
	defer s.cache.release(r)
	h := r.committed.Load()
	if h.tree.Root() == 0 || len(h.extremities) == 0 {
		return false, nil // nothing is known of the room, or nothing but an invite from outside
	}
	if h.locals == 0 {
		if h, err = s.countLocals(ctx, r); err != nil {
			return false, err
		}
	}
	if h.locals > 1 {
		return true, nil
	}
	members, err := s.store.Members.OfRoom(ctx, info.NID)
	elsewhere := slices.ContainsFunc(members, func(m storage.Member) bool { return m.Membership == "join" && !s.Local(m.User) })
	return err == nil && !elsewhere, err
}

// countLocals finds out how many of this server's users are in a room, which is kept true from then on.
func (s *Service) countLocals(ctx context.Context, r *room) (*head, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.committed.Load()
	now := &Snapshot{s: s, info: r.info, keys: r.keys, tree: h.tree}
	events, err := now.Events(ctx, func(key storage.StateKey) bool {
		return key.Type == "m.room.member" && s.Local(matrix.UserID(key.Key))
	})
	if err != nil {
		return nil, err
	}
	counted := *h
	counted.locals = 1
	for _, e := range events {
		if e.Membership() == "join" {
			counted.locals++
		}
	}
	// What is queued by now has not counted.
	if r.committed.CompareAndSwap(h, &counted) && r.pending.tree.Root() == h.tree.Root() {
		r.pending.locals = counted.locals
	}
	return &counted, nil
}
