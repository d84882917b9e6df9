package sliding

import (
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"trestle/homeserver/syncer"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

const (
	// maxConnections bounds the connections of one device.
	maxConnections = 8
	// connectionBudget bounds what is remembered of all connections, in rooms
	// and members that were sent.
	connectionBudget = 3_000_000
	// maxMembers bounds the members of one room that a connection remembers to
	// have sent; forgetting them costs repeats, nothing else.
	maxMembers = 500
)

// A connection is a loop of requests: what its client was sent, as of the
// newest pos that the client has shown, and what the answer after that changed.
type connection struct {
	id string

	// turn is the newest request's; one before it has been given up by its client.
	turn atomic.Int64
	size atomic.Int64

	mu      sync.Mutex
	counter int64
	base    view
	pending *view // what the newest answer has changed: only that is in its rooms
	direct  cached[map[matrix.RoomID]bool]
	tags    cached[map[matrix.RoomID][]string]
	spaces  map[int64]space
}

// A view is what a client knows.
type view struct {
	number int64
	token  syncer.Token
	rooms  map[int64]*sent
	window map[int64]bool    // the rooms that were kept up to date until token
	extras map[string]string // the extensions that were on, and how they were set
}

// cached is something that was read at a position.
type cached[T any] struct {
	position int64
	value    T
	known    bool
}

func newConnection() *connection {
	return &connection{id: strings.ToLower(rand.Text()[:10]), base: view{rooms: map[int64]*sent{}}, spaces: map[int64]space{}}
}

// show takes in that the client shows a pos. It is false for one that is
// neither that of the newest answer nor the one before.
func (c *connection) show(number int64) bool {
	switch {
	case c.pending != nil && c.pending.number == number:
		for nid, s := range c.pending.rooms {
			c.base.rooms[nid] = s
		}
		rooms := c.base.rooms
		c.base = *c.pending
		c.base.rooms = rooms
		c.pending = nil
		return true
	case c.base.number == number && number > 0:
		c.pending = nil // the client has not seen it
		return true
	}
	return false
}

// answered remembers what an answer changed, and is its pos.
func (c *connection) answered(v *view) string {
	c.counter++
	v.number = c.counter
	c.pending = v
	size := int64(10 + len(c.base.rooms) + len(v.rooms) + len(c.base.window))
	for _, rooms := range []map[int64]*sent{c.base.rooms, v.rooms} {
		for _, s := range rooms {
			size += int64(len(s.members))
		}
	}
	c.size.Store(size)
	return v.token.String() + "." + c.id + "." + strconv.FormatInt(v.number, 10)
}

type deviceKey struct {
	user   matrix.UserID
	device matrix.DeviceID
}

// A device has a few connections, by their names, the one used last at the end.
type device struct {
	mu    sync.Mutex
	names []string
	conns map[string]*connection
}

func (d *device) size() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	total := 10
	for _, c := range d.conns {
		total += int(c.size.Load())
	}
	return total
}

// use is the connection of that name; a new one if fresh.
func (d *device) use(name string, fresh bool) *connection {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.conns[name]
	if fresh {
		c = newConnection()
		d.conns[name] = c
	}
	if c == nil {
		return nil
	}
	d.names = append(slices.DeleteFunc(d.names, func(other string) bool { return other == name }), name)
	if len(d.names) > maxConnections {
		delete(d.conns, d.names[0])
		d.names = d.names[1:]
	}
	return c
}

// connections holds those of all devices.
type connections struct {
	mu      sync.Mutex
	devices *lru.Cache[deviceKey, *device]
}

func newConnections() *connections {
	return &connections{devices: lru.New[deviceKey](connectionBudget, (*device).size)}
}

// open is the connection that a pos belongs to and the pos's number, or a new
// connection where there is no pos; nil if it is not known any more.
func (all *connections) open(key deviceKey, name, pos string) (c *connection, number int64) {
	all.mu.Lock()
	defer all.mu.Unlock()
	d, found := all.devices.Get(key)
	if pos == "" {
		if !found {
			d = &device{conns: map[string]*connection{}}
		}
		c = d.use(name, true)
		all.devices.Put(key, d)
		return c, 0
	}
	id, digits, ok := splitPos(pos)
	number, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || !found {
		return nil, 0
	}
	if c = d.use(name, false); c == nil || c.id != id {
		return nil, 0
	}
	return c, number
}

// weigh counts anew what a device's connections cost.
func (all *connections) weigh(key deviceKey) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if d, ok := all.devices.Get(key); ok {
		all.devices.Put(key, d)
	}
}

// splitPos takes the connection's ID and the answer's number out of a pos.
func splitPos(pos string) (id, number string, ok bool) {
	parts := strings.Split(pos, ".")
	if len(parts) != 3 {
		return "", "", false
	}
	return parts[1], parts[2], true
}
