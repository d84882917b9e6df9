// Package notifier knows how far the stream is committed and wakes those who
// wait for it. It remembers, for users who were seen lately, which rooms they
// are in, and for rooms in use the newest events, so that a client that keeps
// up is answered from memory.
package notifier

import (
	"context"
	"maps"
	"sync"
	"time"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A Kind is a kind of change that concerns one user.
type Kind int

// The kinds of changes beside room events.
const (
	AccountData Kind = iota
	ToDevice
	DeviceList // of somebody who shares a room with the user, or of the user
	Threads    // which the user follows
	Presence
	Keys // counts of one-time keys
	kinds
)

// Memberships loads what is stored of a user's rooms.
type Memberships interface {
	OfUser(ctx context.Context, user matrix.UserID) ([]storage.Membership, error)
}

// A Notifier is safe for concurrent use.
type Notifier struct {
	memberships Memberships

	mu       sync.Mutex
	position int64 // everything up to here is committed and visible
	receipt  int64 // position of the newest receipt in any room
	// serial counts what is not stored: typing and presence. It starts at a
	// time, so that one from before a restart is smaller than any after it.
	serial  int64
	users   map[matrix.UserID]*user
	rooms   map[int64]*room
	stream  chan struct{} // closed and replaced at each change
	ringLen int           // events in all rings
	sweeps  int           // how many rooms were forgotten
}

// A user who was seen lately.
type user struct {
	ready   chan struct{} // closed once loaded
	err     error
	rooms   map[int64]Room  // copied on write; nil until loaded
	moves   []Room          // what happened while it was being loaded; no membership means forgotten
	last    int64           // position of the newest change that concerns the user
	serial  int64           // the same for what is not stored
	counts  map[int64]int64 // serials of the newest counts that came late, by room
	kinds   [kinds]int64
	waiters map[*waiter]struct{}
	used    time.Time
}

// A room that was in use lately.
type room struct {
	last     int64 // position of its newest event
	receipts int64 // position of its newest receipt
	serial   int64 // of its newest typing notification
	data     int64
	members  map[*user]struct{}
	ring     []*storage.Event
	// complete is the position after which the ring holds every event.
	complete int64
}

// A Room is where a user stands in a room.
type Room struct {
	NID        int64
	Membership string
	EventNID   int64
	// Position is that of the newest member event.
	Position  int64
	Forgotten bool
	Stripped  []byte
}

const (
	ringSize = 64
	// ringTotal bounds the events in all rings.
	ringTotal = 100_000
	// idleUser is how long a user without waiters is remembered.
	idleUser = 30 * time.Minute
)

// New makes a Notifier that starts at a position.
func New(memberships Memberships, position int64) *Notifier {
	return &Notifier{
		memberships: memberships, position: position, receipt: position, serial: time.Now().UnixMicro(),
		users: map[matrix.UserID]*user{}, rooms: map[int64]*room{}, stream: make(chan struct{}),
	}
}

// Position is how far the stream is visible.
func (n *Notifier) Position() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.position
}

// Serial is the newest serial of what is not stored.
func (n *Notifier) Serial() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.serial
}

// Changed is closed at the next change of any kind: for readers of the whole stream.
func (n *Notifier) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stream
}

// advance is called with the lock held.
func (n *Notifier) advance(position int64) {
	if position > n.position {
		n.position = position
	}
	close(n.stream)
	n.stream = make(chan struct{})
}

// RoomChanged takes in a committed event.
func (n *Notifier) RoomChanged(c rooms.Change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.Event.Backfilled() {
		// It is nobody's newest event: only readers of the whole stream wake. One that it redacts may be.
		if c.Redacted != nil {
			if r := n.rooms[c.Event.RoomNID]; r != nil {
				r.replace(c.Redacted)
			}
		}
		n.advance(c.Event.Position)
		return
	}
	r := n.room(c.Event.RoomNID)
	n.remember(r, c)
	r.last = c.Event.Position
	if c.Target != "" {
		n.moveMember(r, c.Target, Room{NID: c.Event.RoomNID, Membership: c.Membership, EventNID: c.Event.NID, Position: c.Event.Position, Stripped: c.Stripped})
	}
	for _, m := range c.Moves {
		n.moveMember(r, m.Target, Room{NID: c.Event.RoomNID, Membership: m.Membership, EventNID: m.Event.NID, Position: c.Event.Position})
	}
	n.advance(c.Event.Position)
	for u := range r.members {
		u.touch(c.Event.Position)
	}
	target := n.loaded(c.Target)
	if target != nil {
		target.touch(c.Event.Position)
	}
	if (c.Membership == "join") != (c.Was == "join") {
		// Who shares a room with whom has changed, and so whose devices matter.
		for u := range r.members {
			u.kinds[DeviceList] = c.Event.Position
		}
		if target != nil {
			target.kinds[DeviceList] = c.Event.Position
		}
	}
}

func (n *Notifier) remember(r *room, c rooms.Change) {
	if len(r.ring) == ringSize {
		r.complete = r.ring[0].Position
		copy(r.ring, r.ring[1:])
		r.ring[ringSize-1] = c.Event
	} else {
		r.ring = append(r.ring, c.Event)
		n.ringLen++
	}
	if c.Redacted != nil {
		r.replace(c.Redacted)
	}
	if n.ringLen > ringTotal {
		n.shrink(r)
	}
}

// replace has an event as a redaction has left it.
func (r *room) replace(redacted *storage.Event) {
	for i, e := range r.ring {
		if e.NID == redacted.NID {
			r.ring[i] = redacted
		}
	}
}

// shrink empties the rings of rooms that come up, but not of this one.
func (n *Notifier) shrink(keep *room) {
	for _, r := range n.rooms {
		if r == keep || len(r.ring) == 0 {
			continue
		}
		n.ringLen -= len(r.ring)
		r.complete = r.last
		r.ring = nil
		if n.ringLen <= ringTotal*9/10 {
			return
		}
	}
}

func (n *Notifier) room(nid int64) *room {
	r, ok := n.rooms[nid]
	if !ok {
		// What happened before now is not in memory: everything may have.
		r = &room{last: n.position, receipts: n.position, data: n.position, serial: n.serial, complete: n.position, members: map[*user]struct{}{}}
		n.rooms[nid] = r
	}
	return r
}

func (n *Notifier) moveMember(r *room, target matrix.UserID, at Room) {
	u := n.users[target]
	if u == nil {
		return
	}
	if u.rooms == nil {
		u.moves = append(u.moves, at)
		return
	}
	moved := make(map[int64]Room, len(u.rooms)+1)
	for nid, at := range u.rooms {
		moved[nid] = at
	}
	moved[at.NID] = at
	u.rooms = moved
	if at.Membership == "join" {
		r.members[u] = struct{}{}
	} else {
		delete(r.members, u)
	}
}

// Forgot takes in that a user has forgotten a room.
func (n *Notifier) Forgot(id matrix.UserID, nid int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.users[id]
	if u == nil {
		return
	}
	if u.rooms == nil {
		u.moves = append(u.moves, Room{NID: nid, Forgotten: true})
		return
	}
	kept := make(map[int64]Room, len(u.rooms))
	for other, at := range u.rooms {
		if other == nid {
			at.Forgotten = true
		}
		kept[other] = at
	}
	u.rooms = kept
}

// Removed takes in that a room is no more.
func (n *Notifier) Removed(nid int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, u := range n.users {
		if u.rooms == nil {
			u.moves = append(u.moves, Room{NID: nid, Forgotten: true})
			continue
		}
		if _, ok := u.rooms[nid]; ok {
			kept := maps.Clone(u.rooms)
			delete(kept, nid)
			u.rooms = kept
		}
	}
	if r := n.rooms[nid]; r != nil {
		n.ringLen -= len(r.ring)
		delete(n.rooms, nid)
		n.sweeps++
	}
}

// UserChanged takes in a committed change that concerns one user alone.
func (n *Notifier) UserChanged(id matrix.UserID, kind Kind, position int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.advance(position)
	if u := n.loaded(id); u != nil {
		u.kinds[kind] = max(u.kinds[kind], position)
		u.touch(position)
	}
}

// MatesChanged takes in a committed change that concerns a user and everybody
// who shares a room with it.
func (n *Notifier) MatesChanged(id matrix.UserID, nids []int64, kind Kind, position int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.advance(position)
	tell := func(u *user) {
		u.kinds[kind] = max(u.kinds[kind], position)
		u.touch(position)
	}
	if u := n.loaded(id); u != nil {
		tell(u)
	}
	for _, nid := range nids {
		if r, ok := n.rooms[nid]; ok {
			for u := range r.members {
				tell(u)
			}
		}
	}
}

// ReceiptsChanged takes in a committed receipt in a room.
func (n *Notifier) ReceiptsChanged(nid, position int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.advance(position)
	r := n.room(nid)
	n.receipt = position
	r.receipts = position
	for u := range r.members {
		u.touch(position)
	}
}

// TypingChanged takes in that who types in a room has changed.
func (n *Notifier) TypingChanged(nid int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serial++
	r := n.room(nid)
	r.serial = n.serial
	for u := range r.members {
		u.serial = n.serial
		u.wake()
	}
	n.advance(0)
}

// PresenceChanged takes in that the presence of somebody in these rooms has
// changed, and returns the serial of that.
func (n *Notifier) PresenceChanged(id matrix.UserID, nids []int64) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serial++
	if u := n.loaded(id); u != nil {
		u.kinds[Presence], u.serial = n.serial, n.serial
		u.wake()
	}
	for _, nid := range nids {
		if r, ok := n.rooms[nid]; ok {
			for u := range r.members {
				u.kinds[Presence], u.serial = n.serial, n.serial
				u.wake()
			}
		}
	}
	n.advance(0)
	return n.serial
}

// LastReceipt is the position of the newest receipt in any room.
func (n *Notifier) LastReceipt() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.receipt
}

// CountsChanged takes in that what a user has not read in rooms was counted
// later than the user was told of the rest.
func (n *Notifier) CountsChanged(id matrix.UserID, nids []int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.loaded(id)
	if u == nil {
		return
	}
	n.serial++
	if u.counts == nil {
		u.counts = map[int64]int64{}
	}
	for _, nid := range nids {
		u.counts[nid] = n.serial
	}
	u.serial = n.serial
	u.wake()
}

// Advance takes in a committed position that concerns no user who waits here.
func (n *Notifier) Advance(position int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.advance(position)
}

func (u *user) touch(position int64) {
	u.last = max(u.last, position)
	u.wake()
}

func (u *user) wake() {
	for w := range u.waiters {
		w.wake()
	}
}

// loaded is a user who is in memory, or nil.
func (n *Notifier) loaded(id matrix.UserID) *user {
	u := n.users[id]
	if u == nil || u.rooms == nil {
		return nil
	}
	return u
}
