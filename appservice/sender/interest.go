package sender

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"trestle/internal/lru"
	"trestle/internal/matrix"
	"trestle/registration"
)

// cachedMembers bounds the rooms whose watchers are kept, counted by members.
const cachedMembers = 500_000

// An interest decides which services see a change. It follows the stream: a
// room is loaded as it stood at the position of its first change, and then kept
// up to date by the membership events that come by. One goroutine owns it, and
// gives it every change in order.
type interest struct {
	rooms Rooms
	set   *registration.Set
	only  string // decide for this service alone, unless empty
	known *lru.Cache[matrix.RoomID, *watched]

	counted *registration.Set // of which wants says how many services want each kind
	wants   [kinds]int

	mu    sync.Mutex
	stale map[matrix.RoomID]bool // to be loaded anew
}

// watched is a room and the services that see everything in it.
type watched struct {
	fixed   []*registration.Registration // by the room's ID and aliases
	members map[matrix.UserID]*group     // those who are in it and watched; nil until one comes or goes
	groups  []*group
	all     []*registration.Registration // fixed and of the groups; nil after a change
	rest    []matrix.UserID              // those who are in it and may be watched, until there are members
}

// A group is the members of a room whom the same services watch. Most rooms have
// one or two.
type group struct {
	watchers []*registration.Registration
	members  int
}

func newInterest(rooms Rooms, set *registration.Set, only string) *interest {
	i := &interest{rooms: rooms, set: set, only: only}
	i.forget()
	return i
}

// forget drops what is known. It must be called before the stream is read from
// an earlier position again.
func (i *interest) forget() {
	i.known = lru.New[matrix.RoomID](cachedMembers, func(w *watched) int { return 1 + len(w.members) + len(w.rest) })
}

// use takes another set of registrations into account from now on.
func (i *interest) use(set *registration.Set) {
	if set != i.set {
		i.set = set
		i.forget()
	}
}

// invalidate makes the next change in a room load it anew. Any goroutine may
// call it.
func (i *interest) invalidate(room matrix.RoomID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stale == nil {
		i.stale = map[matrix.RoomID]bool{}
	}
	i.stale[room] = true
}

// decide returns the services that see the change, each once.
func (i *interest) decide(ctx context.Context, c *Change) ([]*registration.Registration, error) {
	switch {
	case c.Kind == ToDevice:
		return i.filter(i.receivers(c.Target), wantsToDevice), nil
	case c.Kind == KeyCounts:
		return i.filter(i.receivers(c.Sender), wantsDevices), nil
	case c.Kind == DeviceLeft:
		return i.parted(ctx, c)
	case c.Only != "":
		return i.concerned(c), nil
	case c.Private:
		return i.filter(i.set.UserWatchers(c.Sender), (*registration.Registration).WantsEphemeral), nil
	}
	watchers := union(nil, i.set.UserWatchers(c.Sender))
	if c.Kind == Event && c.Target != "" {
		watchers = union(watchers, i.set.UserWatchers(c.Target))
	}
	rooms := c.Rooms
	if c.Room != "" {
		rooms = append([]matrix.RoomID{c.Room}, rooms...)
	}
	wants := wanting[c.Kind]
	for _, room := range rooms {
		if wants != nil && len(i.filter(watchers, wants)) == i.wanting(c.Kind) {
			break // everybody who could
		}
		w, err := i.room(ctx, room, c)
		if err != nil {
			return nil, err
		}
		watchers = union(watchers, w.watchers())
	}
	return i.filter(watchers, wants), nil
}

func wantsToDevice(r *registration.Registration) bool { return r.WantsEphemeral() || r.DeviceLists }

func wantsDevices(r *registration.Registration) bool { return r.DeviceLists }

// wanting is who wants changes of a kind at all; nil is everybody.
var wanting = [kinds]func(*registration.Registration) bool{
	Ephemeral: (*registration.Registration).WantsEphemeral, DeviceChanged: wantsDevices, DeviceLeft: wantsDevices,
}

// wanting is how many of the services want changes of a kind.
func (i *interest) wanting(kind Kind) int {
	if i.counted != i.set {
		i.counted, i.wants = i.set, [kinds]int{}
		for k, wants := range wanting {
			if wants != nil {
				i.wants[k] = len(i.filter(i.set.All(), wants))
			}
		}
	}
	return i.wants[kind]
}

// receivers are the services that a user's messages and key counts are for:
// the one whose user it is, or else all that watch the user.
func (i *interest) receivers(user matrix.UserID) []*registration.Registration {
	if owner := i.set.UserOwner(user); owner != nil {
		return []*registration.Registration{owner}
	}
	return i.set.UserWatchers(user)
}

// concerned is the service that a change is for.
func (i *interest) concerned(c *Change) []*registration.Registration {
	if r := i.set.ByID(c.Only); r != nil {
		return i.filter([]*registration.Registration{r}, wantsDevices)
	}
	return nil
}

// parted returns the services that watch a room which a user has left, or the
// one that does not watch it any more, and see the user in no other one.
func (i *interest) parted(ctx context.Context, c *Change) ([]*registration.Registration, error) {
	left, err := i.room(ctx, c.Room, c)
	if err != nil {
		return nil, err
	}
	watchers := i.filter(left.watchers(), wantsDevices)
	still := i.set.UserWatchers(c.Sender)
	if c.Only != "" {
		watchers, still = i.concerned(c), union(slices.Clone(still), left.watchers())
	}
	for _, room := range c.Rooms {
		if len(watchers) == 0 {
			return nil, nil
		}
		w, err := i.room(ctx, room, c)
		if err != nil {
			return nil, err
		}
		still = union(still, w.watchers())
	}
	return slices.DeleteFunc(slices.Clone(watchers), func(r *registration.Registration) bool { return slices.Contains(still, r) }), nil
}

// room returns the room as it is after the change.
func (i *interest) room(ctx context.Context, id matrix.RoomID, c *Change) (*watched, error) {
	w, ok := i.known.Get(id)
	if i.takeStale(id) || c.Reset {
		ok = false
	}
	if !ok {
		room, err := i.rooms.Room(ctx, id, c.Position)
		if err != nil {
			return nil, fmt.Errorf("members of %s at position %d: %w", id, c.Position, err)
		}
		w = i.watch(id, room)
		i.known.Put(id, w)
		return w, nil
	}
	if c.Kind == Event && c.Membership != "" && i.follow(w, c) {
		i.known.Put(id, w) // its cost has changed
	}
	return w, nil
}

func (i *interest) takeStale(room matrix.RoomID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	stale := i.stale[room]
	delete(i.stale, room)
	return stale
}

func (i *interest) watch(id matrix.RoomID, room Room) *watched {
	w := &watched{fixed: i.set.RoomWatchers(id)}
	for _, alias := range room.Aliases {
		w.fixed = union(w.fixed, i.set.AliasWatchers(alias))
	}
	w.fixed = i.filter(w.fixed, nil)
	w.all, w.rest = w.fixed, make([]matrix.UserID, 0, len(room.Members))
	everybody := len(i.filter(i.set.All(), nil))
	for _, user := range room.Members {
		if len(w.all) == everybody { // the others cannot add to that
			w.rest = room.Members
			break
		}
		if watchers := i.filter(i.set.UserWatchers(user), nil); len(watchers) > 0 {
			w.all = union(w.all, watchers)
			w.rest = append(w.rest, user)
		}
	}
	return w
}

// settle sorts a room's members into groups, unless that has been done.
func (i *interest) settle(w *watched) bool {
	if w.members != nil {
		return false
	}
	rest := w.rest
	w.members, w.rest = make(map[matrix.UserID]*group, len(rest)), nil
	for _, user := range rest {
		i.join(w, user)
	}
	return true
}

// follow applies a membership event; it reports whether anything changed.
func (i *interest) follow(w *watched, c *Change) bool {
	settled := i.settle(w)
	if c.Membership == "join" {
		return i.join(w, c.Target) || settled
	}
	g, ok := w.members[c.Target]
	if !ok {
		return settled
	}
	delete(w.members, c.Target)
	if g.members--; g.members == 0 {
		w.groups = slices.DeleteFunc(w.groups, func(other *group) bool { return other == g })
		w.all = nil
	}
	return true
}

func (i *interest) join(w *watched, user matrix.UserID) bool {
	watchers := i.filter(i.set.UserWatchers(user), nil)
	if len(watchers) == 0 {
		return false
	}
	if _, ok := w.members[user]; ok {
		return false
	}
	g := w.group(watchers)
	g.members++
	w.members[user] = g
	return true
}

// group is that of the members with these watchers. They come one after the
// other when a room is loaded, so the last group is looked at first.
func (w *watched) group(watchers []*registration.Registration) *group {
	for n := len(w.groups) - 1; n >= 0; n-- {
		if g := w.groups[n]; slices.Equal(g.watchers, watchers) {
			return g
		}
	}
	g := &group{watchers: watchers}
	w.groups = append(w.groups, g)
	w.all = nil
	return g
}

func (w *watched) watchers() []*registration.Registration {
	if w.all == nil {
		w.all = slices.Clone(w.fixed)
		for _, g := range w.groups {
			w.all = union(w.all, g.watchers)
		}
	}
	return w.all
}

// filter keeps the service that this is about, and those that want it.
func (i *interest) filter(list []*registration.Registration, wants func(*registration.Registration) bool) []*registration.Registration {
	if i.only == "" && wants == nil {
		return list
	}
	var kept []*registration.Registration
	for _, r := range list {
		if (i.only == "" || r.ID == i.only) && (wants == nil || wants(r)) {
			kept = append(kept, r)
		}
	}
	return kept
}

// union never changes its arguments, and returns one of them where it can.
func union(a, b []*registration.Registration) []*registration.Registration {
	if len(a) == 0 {
		return b
	}
	out := a
	for _, r := range b {
		if !slices.Contains(a, r) {
			out = append(out[:len(out):len(out)], r)
		}
	}
	return out
}
