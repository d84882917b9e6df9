package sliding

import (
	"context"
	"slices"
	"sync"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// boardRooms bounds the rooms whose standings are kept in memory.
const boardRooms = 200_000

// A Board knows where rooms stand: when something last happened in them, and by
// what lists filter them. It must be told of changes before the notifier is, so
// that whoever is woken finds rooms in their new order.
type Board struct {
	store   *storage.Rooms
	members *storage.Members

	mu    sync.Mutex
	rooms *lru.Cache[int64, *storage.Standing]
	// loading counts those who read the table; moved is the rooms that changed
	// meanwhile, of which what they read may be old.
	loading int
	moved   map[int64]bool
}

// NewBoard makes a Board without rooms.
func NewBoard(store *storage.Rooms, members *storage.Members) *Board {
	return &Board{store: store, members: members, rooms: lru.New[int64, *storage.Standing](boardRooms, nil), moved: map[int64]bool{}}
}

// RoomChanged takes in a committed event, as [rooms.Listener].
func (b *Board) RoomChanged(c rooms.Change) {
	e := c.Event
	if e.Backfilled() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loading > 0 {
		b.moved[e.RoomNID] = true
	}
	s, ok := b.rooms.Get(e.RoomNID)
	if !ok {
		return
	}
	s.Last = e.Position
	if rooms.Bumps(e.Type) {
		s.Bump = e.Position
	}
	if e.Is("m.room.encryption", "") || c.Redacted != nil && c.Redacted.IsState() {
		b.rooms.Delete(e.RoomNID)
	}
}

// OfUser is every membership of a user. Where these rooms stand is read along with
// them: whoever wants to know of a user's rooms mostly wants to know that next.
func (b *Board) OfUser(ctx context.Context, user matrix.UserID) ([]storage.Membership, error) {
	b.begin()
	defer b.loaded()
	list, err := b.members.OfUser(ctx, user)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range list {
		nid := list[i].RoomNID
		if _, known := b.rooms.Get(nid); known || b.moved[nid] {
			continue
		}
		at := list[i].Standing
		b.rooms.Put(nid, &at)
	}
	return list, nil
}

// Standings is where rooms stand now. A room that does not exist has none.
func (b *Board) Standings(ctx context.Context, nids []int64) (map[int64]storage.Standing, error) {
	found := make(map[int64]storage.Standing, len(nids))
	missing := b.known(nids, found)
	if len(missing) == 0 {
		return found, nil
	}
	defer b.loaded()
	for chunk := range slices.Chunk(missing, 500) {
		read, err := b.store.Standings(ctx, chunk)
		if err != nil {
			return nil, err
		}
		b.keep(read, found)
	}
	return found, nil
}

func (b *Board) known(nids []int64, found map[int64]storage.Standing) (missing []int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, nid := range nids {
		if s, ok := b.rooms.Get(nid); ok {
			found[nid] = *s
		} else {
			missing = append(missing, nid)
		}
	}
	if len(missing) > 0 {
		b.loading++
	}
	return missing
}

// keep puts what was read into found, too.
func (b *Board) keep(read, found map[int64]storage.Standing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for nid, s := range read {
		found[nid] = s
		if !b.moved[nid] {
			b.rooms.Put(nid, &s)
		}
	}
}

func (b *Board) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loading++
}

func (b *Board) loaded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loading--; b.loading == 0 {
		clear(b.moved)
	}
}
