package notifier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A Snapshot is one moment of the stream as it concerns a user.
type Snapshot struct {
	n *Notifier
	u *user

	Position int64 // all that the snapshot knows is at or before it
	Serial   int64 // of what is not stored
	// Last and LastSerial are the newest changes that concern the user.
	Last, LastSerial int64
	Rooms            map[int64]Room // of all memberships; must not be changed
	kinds            [kinds]int64
}

// Changed reports whether there may be changes of a kind after a position
// (for Presence: a serial).
func (s *Snapshot) Changed(kind Kind, after int64) bool { return s.kinds[kind] > after }

// Activity is what may be new in a room.
type Activity struct {
	Last, Receipts, Serial int64
	Counts                 int64 // serial of counts of the user that came late
	// Ring is the newest events, oldest first, and holds every event after
	// Complete. It must not be changed.
	Ring     []*storage.Event
	Complete int64
}

// User is the snapshot of now for a user, who is loaded if necessary.
func (n *Notifier) User(ctx context.Context, id matrix.UserID) (*Snapshot, error) {
	n.mu.Lock()
	u, ok := n.users[id]
	if !ok {
		u = &user{ready: make(chan struct{}), waiters: map[*waiter]struct{}{}}
		n.users[id] = u
	}
	u.used = time.Now()
	sweeps := n.sweeps
	n.mu.Unlock()
	if !ok {
		// Others wait for this too: it is not for one caller to end it.
		n.loadUser(context.WithoutCancel(ctx), id, u, sweeps)
	}
	select {
	case <-u.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if u.err != nil {
		return nil, u.err
	}
	return &Snapshot{
		n: n, u: u, Position: n.position, Serial: n.serial, Last: u.last, LastSerial: u.serial, Rooms: u.rooms, kinds: u.kinds,
	}, nil
}

// loadUser reads the memberships. What is committed meanwhile is kept in
// u.moves, so that none is missed between the reading and the listening.
func (n *Notifier) loadUser(ctx context.Context, id matrix.UserID, u *user, sweeps int) {
	defer close(u.ready)
	list, err := n.memberships.OfUser(ctx, id)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		u.err = fmt.Errorf("rooms of %s: %w", id, err)
		delete(n.users, id)
		return
	}
	newest := int64(0)
	for _, m := range list {
		newest = max(newest, m.Position)
	}
	// The table may be ahead: a commit is told right after it can be read.
	for n.position < newest {
		told := n.stream
		n.mu.Unlock()
		<-told
		n.mu.Lock()
	}
	n.admit(u, list, sweeps)
}

// admit is called with the lock held.
func (n *Notifier) admit(u *user, list []storage.Membership, sweeps int) {
	u.rooms = make(map[int64]Room, len(list))
	for _, m := range list {
		u.rooms[m.RoomNID] = Room{NID: m.RoomNID, Membership: m.Membership, EventNID: m.EventNID, Position: m.Position, Forgotten: m.Forgotten, Stripped: m.Stripped}
		// A room of which nothing was told since the reading began is as it was read.
		if _, ok := n.rooms[m.RoomNID]; !ok && m.Membership == "join" && n.sweeps == sweeps {
			r := n.room(m.RoomNID)
			r.last, r.complete = m.Standing.Last, m.Standing.Last
		}
	}
	for _, at := range u.moves {
		if known, ok := u.rooms[at.NID]; ok && at.Membership == "" {
			known.Forgotten = true
			u.rooms[at.NID] = known
		} else if at.Membership != "" && at.Position >= known.Position {
			u.rooms[at.NID] = at
		}
	}
	u.moves = nil
	for nid, at := range u.rooms {
		if at.Membership == "join" {
			n.room(nid).members[u] = struct{}{}
		}
	}
	u.last, u.serial = n.position, n.serial
	for k := range u.kinds {
		u.kinds[k] = n.position
	}
	u.kinds[Presence] = n.serial
}

// Room is what may be new in a room at the time of the snapshot or later.
func (s *Snapshot) Room(nid int64) Activity {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	r := s.n.room(nid)
	// The ring is shifted in place: give away a copy.
	return Activity{
		Last: r.last, Receipts: r.receipts, Serial: r.serial, Counts: s.u.counts[nid], Complete: r.complete,
		Ring: append([]*storage.Event(nil), r.ring...),
	}
}

// Active is the rooms that the user is in and that may have changed after a
// position or a serial.
func (s *Snapshot) Active(position, serial int64) []int64 {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	var nids []int64
	for nid, at := range s.Rooms {
		if at.Membership != "join" {
			continue
		}
		r := s.n.room(nid)
		if r.last > position || r.receipts > position || r.serial > serial || r.data > position || s.u.counts[nid] > serial {
			nids = append(nids, nid)
		}
	}
	return nids
}

// Joined is the rooms that a user is in, unless the user was not seen lately.
func (n *Notifier) Joined(id matrix.UserID) (rooms []int64, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.loaded(id)
	if u == nil {
		return nil, false
	}
	rooms = make([]int64, 0, len(u.rooms))
	for nid, at := range u.rooms {
		if at.Membership == "join" {
			rooms = append(rooms, nid)
		}
	}
	return rooms, true
}

// ErrStopped is what Wait returns when its stop channel is closed.
var ErrStopped = errors.New("the server stops")

// A waiter is told, from under the lock, of whatever concerns a user.
type waiter struct{ wake func() }

// Watch has wake called when something concerns the user that is newer than a
// position or a serial, perhaps more than once, until cancel is called. wake
// is called from under the Notifier's lock: it must not block.
func (n *Notifier) Watch(id matrix.UserID, position, serial int64, wake func()) (cancel func()) {
	w := &waiter{wake}
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.loaded(id)
	if u == nil || u.last > position || u.serial > serial {
		wake()
		return func() {}
	}
	u.waiters[w] = struct{}{}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(u.waiters, w)
		u.used = time.Now()
	}
}

// Wait returns when something concerns the user that is newer than a position
// or a serial, when stop is closed, or when the context ends.
func (n *Notifier) Wait(ctx context.Context, stop <-chan struct{}, id matrix.UserID, position, serial int64) error {
	woken := make(chan struct{}, 1)
	defer n.Watch(id, position, serial, func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})()
	select {
	case <-woken:
		return nil
	case <-stop:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Sweep forgets users who were not seen for a while, and rooms that none of
// the others is in. Call it from time to time.
func (n *Notifier) Sweep(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, u := range n.users {
		if u.rooms == nil || len(u.waiters) > 0 || now.Sub(u.used) < idleUser {
			continue
		}
		for nid := range u.rooms {
			if r, ok := n.rooms[nid]; ok {
				delete(r.members, u)
			}
		}
		delete(n.users, id)
	}
	for nid, r := range n.rooms {
		if len(r.members) == 0 {
			n.ringLen -= len(r.ring)
			delete(n.rooms, nid)
			n.sweeps++
		}
	}
}
