package rooms

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"trestle/homeserver/storage"
	"trestle/homeserver/storage/statetree"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// A room in memory. Its lock serialises writers; readers take the committed head.
type room struct {
	info *storage.RoomInfo
	keys *keyTable

	committed atomic.Pointer[head]

	// frontier is whether the room's history goes on elsewhere, see frontierKnown.
	frontier atomic.Int64

	// broken is set when a queued event was not committed: everything built
	// on it is void, and the room has to be loaded again, once it is gone from
	// the cache: what was queued before is committed by then.
	broken atomic.Bool
	gone   chan struct{}

	// inflight are the events that are queued, by number. The committing
	// goroutine takes them out, which must never wait for a writer.
	inflightMu sync.Mutex
	inflight   map[int64]*storage.Event
	// roots are the states that are queued with them, by the numbers of their roots, and how many drafts need each.
	roots map[int64]*queuedRoot

	mu sync.Mutex
	// pending is what the next event builds on: committed, and what is queued.
	pending head
	// oldest is the oldest place that is taken by imported history, 0 before it is known.
	oldest int64
	// newcomers tells services whether they know who is in the room.
	newcomers newcomers
}

func (r *room) queued(nid int64) *storage.Event {
	r.inflightMu.Lock()
	defer r.inflightMu.Unlock()
	return r.inflight[nid]
}

func (r *room) fly(e *storage.Event) {
	r.inflightMu.Lock()
	defer r.inflightMu.Unlock()
	r.inflight[e.NID] = e
}

func (r *room) unfly(nid int64) {
	r.inflightMu.Lock()
	defer r.inflightMu.Unlock()
	delete(r.inflight, nid)
}

func (r *room) land(d *draft) {
	r.inflightMu.Lock()
	defer r.inflightMu.Unlock()
	for i := range d.steps {
		delete(r.inflight, d.steps[i].event.NID)
		if redacted := d.steps[i].redacted; redacted != nil {
			delete(r.inflight, redacted.NID)
		}
	}
	for _, a := range d.asides {
		delete(r.inflight, a.event.NID)
	}
	for _, nid := range d.arriving {
		delete(r.inflight, nid)
	}
	for _, root := range d.roots {
		if q := r.roots[root]; q != nil {
			if q.users--; q.users == 0 {
				delete(r.roots, root)
			}
		}
	}
}

// A queuedRoot is a state that is not stored yet.
type queuedRoot struct {
	tree  statetree.Tree
	users int
}

// hold keeps a new state at hand until the draft is stored.
func (d *draft) hold(tree statetree.Tree) {
	r := d.room
	r.inflightMu.Lock()
	defer r.inflightMu.Unlock()
	q := r.roots[tree.Root()]
	if q == nil {
		q = &queuedRoot{tree: tree}
		r.roots[tree.Root()] = q
	}
	q.users++
	d.roots = append(d.roots, tree.Root())
}

// tree is the state of a root, which may be queued.
func (d *draft) tree(root int64) (statetree.Tree, error) {
	d.room.inflightMu.Lock()
	q := d.room.roots[root]
	d.room.inflightMu.Unlock()
	if q != nil {
		return q.tree, nil
	}
	return d.s.store.State.Tree(d.ctx, root)
}

// A head is where a room stands. Immutable.
type head struct {
	tree         statetree.Tree
	extremities  []matrix.EventID
	depth        int64
	lastPosition int64
	summary      storage.Summary
	power        *eventauth.PowerLevels // nil until asked for
	locals       int                    // one more than how many of this server's users are in; 0 until asked for
}

func (h *head) stored() storage.RoomHead {
	return storage.RoomHead{Root: h.tree.Root(), Extremities: h.extremities, Depth: h.depth, LastPosition: h.lastPosition}
}

func (s *Service) load(ctx context.Context, nid int64) (*room, error) {
	stored, err := s.store.Rooms.Stored(ctx, []int64{nid})
	if err != nil {
		return nil, err
	}
	if stored[nid] == nil {
		return nil, fmt.Errorf("room %d: %w", nid, database.ErrNoRows)
	}
	keys, err := s.store.State.Keys(ctx, nid)
	if err != nil {
		return nil, err
	}
	return s.assemble(ctx, nid, stored[nid], keys)
}

func newRoom(info *storage.RoomInfo, keys []storage.StateKey) *room {
	r := &room{info: info, keys: newKeyTable(keys), inflight: map[int64]*storage.Event{}, roots: map[int64]*queuedRoot{}, gone: make(chan struct{})}
	r.committed.Store(&head{})
	return r
}

// A keyTable numbers a room's state keys densely. What is stored of it only grows.
type keyTable struct {
	mu      sync.RWMutex
	numbers map[storage.StateKey]uint32
	keys    []storage.StateKey
	serial  uint64 // another one if a number may have come to mean another key
}

// keySerials gives out the serials of all tables.
var keySerials atomic.Uint64

func newKeyTable(keys []storage.StateKey) *keyTable {
	t := &keyTable{numbers: make(map[storage.StateKey]uint32, len(keys)), keys: keys, serial: keySerials.Add(1)}
	for i, key := range keys {
		t.numbers[key] = uint32(i)
	}
	return t
}

func (t *keyTable) number(key storage.StateKey) (uint32, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n, ok := t.numbers[key]
	return n, ok
}

// add numbers a key; isNew tells that the number has to be stored.
func (t *keyTable) add(key storage.StateKey) (n uint32, isNew bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok := t.numbers[key]; ok {
		return n, false
	}
	n = uint32(len(t.keys))
	t.keys = append(t.keys, key)
	t.numbers[key] = n
	return n, true
}

func (t *keyTable) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.keys)
}

// truncate forgets the newest keys, which are in no state that anybody reads.
func (t *keyTable) truncate(size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if size == len(t.keys) {
		return
	}
	for _, key := range t.keys[size:] {
		delete(t.numbers, key)
	}
	// What readers were given stays as it is.
	t.keys, t.serial = slices.Clip(t.keys[:size]), keySerials.Add(1)
}

// numbered is every key, which must not be changed, and the serial of their numbers: as long as that is the same, there are only more keys.
func (t *keyTable) numbered() ([]storage.StateKey, uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.keys, t.serial
}

// all is every key; the slice must not be changed.
func (t *keyTable) all() []storage.StateKey {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.keys
}

// A cache holds the rooms in use and some of those used lately. There is at
// most one room in memory for each number, or two writers would fork it.
type cache struct {
	load func(context.Context, int64) (*room, error)

	mu    sync.Mutex
	rooms map[int64]*cached
}

type cached struct {
	ready chan struct{} // closed once room or err is set
	room  *room
	err   error
	users int
}

// holds reports whether the entry is that room, loaded.
func (e *cached) holds(r *room) bool {
	select {
	case <-e.ready:
		return e.room == r
	default:
		return false
	}
}

// idleRooms is how many unused rooms stay in memory.
const idleRooms = 5_000

func newCache(load func(context.Context, int64) (*room, error)) *cache {
	return &cache{load: load, rooms: map[int64]*cached{}}
}

// acquire is the room of that number; release gives it back.
func (c *cache) acquire(ctx context.Context, nid int64) (*room, error) {
	c.mu.Lock()
	entry, ok := c.rooms[nid]
	if !ok {
		entry = &cached{ready: make(chan struct{})}
		c.rooms[nid] = entry
		c.evict()
	}
	entry.users++
	c.mu.Unlock()
	if !ok {
		// Whoever waits for this room has contexts of their own.
		entry.room, entry.err = c.load(context.WithoutCancel(ctx), nid)
		close(entry.ready)
	}
	<-entry.ready
	if entry.err != nil {
		c.mu.Lock()
		if c.rooms[nid] == entry {
			delete(c.rooms, nid)
		}
		c.mu.Unlock()
		return nil, entry.err
	}
	return entry.room, nil
}

func (c *cache) release(r *room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry, ok := c.rooms[r.info.NID]; ok && entry.holds(r) {
		entry.users--
	}
}

// add puts in a room that was just made, with one user.
func (c *cache) add(r *room) {
	ready := make(chan struct{})
	close(ready)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rooms[r.info.NID] = &cached{ready: ready, room: r, users: 1}
	c.evict()
}

// drop forgets a broken room; the next one who wants it loads it again.
func (c *cache) drop(r *room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry, ok := c.rooms[r.info.NID]; ok && entry.holds(r) {
		delete(c.rooms, r.info.NID)
		close(r.gone)
	}
}

// evict lets go of one unused room when there are too many. Go's random map
// order picks it.
func (c *cache) evict() {
	if len(c.rooms) <= idleRooms {
		return
	}
	for nid, entry := range c.rooms {
		if entry.users == 0 {
			delete(c.rooms, nid)
			return
		}
	}
}

// field reads a text from an event's content; anything else is empty.
func field(e *matrix.Event, name string) string {
	if e == nil {
		return ""
	}
	var content map[string]json.RawMessage
	if json.Unmarshal(e.Content, &content) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(content[name], &text) != nil {
		return ""
	}
	return text
}
