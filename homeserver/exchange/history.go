package exchange

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

const (
	// askedForPast is how many servers are asked for a part of a room's past, askTime how long one of them may take, with all
	// that is missing before it, and flightTime all of them together.
	askedForPast = 5
	askTime      = 30 * time.Second
	flightTime   = 90 * time.Second
	// pastsAtOnce is how many rooms others are asked about at the same time.
	pastsAtOnce = 8
	// leastPast and mostPast are how many events are asked for at once.
	leastPast = 100
	mostPast  = 500
	// maxFrom is from how many events the past is asked for at once.
	maxFrom = 20
	// reachFlights is how often so many are asked for to come to a point in time.
	reachFlights = 4
	reachPast    = 250
	// A room that nobody tells of is not asked about again for a while, and for a longer one each time.
	firstPause = 30 * time.Second
	lastPause  = time.Hour
	maxPauses  = 1000
)

// HistoryPeers are what other servers are asked about the past of rooms.
type HistoryPeers interface {
	Backfill(
		ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID, from []matrix.EventID, limit int,
	) ([]*matrix.Event, error)
	Event(ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID, id matrix.EventID) (*matrix.Event, error)
	StateIDs(ctx context.Context, server matrix.ServerName, room matrix.RoomID, id matrix.EventID) (state, auth []matrix.EventID, err error)
	State(ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID, id matrix.EventID) (state, auth []*matrix.Event, err error)
	TimestampToEvent(ctx context.Context, server matrix.ServerName, room matrix.RoomID, ts int64, backward bool) (matrix.EventID, int64, error)
	// Verified is those of some events that are signed as they have to be.
	Verified(ctx context.Context, events []*matrix.Event) ([]*matrix.Event, error)
}

// HistoryOptions are what a [History] works with; Now and Log may be nil.
type HistoryOptions struct {
	ServerName matrix.ServerName
	Store      *storage.Store
	Rooms      *rooms.Service
	Peers      HistoryPeers
	Now        func() time.Time
	Log        *slog.Logger
}

// A History brings in what happened in rooms before this server came into them, from the newest of it on, so that what is
// known of a room has no gap. It is safe for concurrent use.
type History struct {
	HistoryOptions
	running context.Context
	stop    context.CancelFunc
	free    chan struct{}
	done    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	flights map[int64]*flight // one for each room at once
	pauses  map[int64]pause
}

// A flight is the fetching of a part of a room's past.
type flight struct {
	landed chan struct{} // closed once got is set
	got    bool
}

// A pause is until when nobody is asked about a room.
type pause struct {
	until time.Time
	long  time.Duration
}

// NewHistory makes a History; Close ends it.
func NewHistory(o HistoryOptions) *History {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	h := &History{HistoryOptions: o, free: make(chan struct{}, pastsAtOnce), flights: map[int64]*flight{}, pauses: map[int64]pause{}}
	h.running, h.stop = context.WithCancel(context.Background())
	return h
}

// Close ends all that is under way and waits for it.
func (h *History) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.stop()
	h.done.Wait()
}

// Fetch brings in about so many events from before the oldest that are known of a room. got tells that there are some, more that
// there may be others: also when ctx ends before that is known, since the fetching goes on. Neither is true of a room whose past
// is known, or about which nobody answers.
func (h *History) Fetch(ctx context.Context, info *storage.RoomInfo, limit int) (got, more bool, err error) {
	if open, err := h.open(ctx, info); !open || err != nil {
		return false, false, err
	}
	f := h.start(info, limit)
	if f == nil {
		return false, false, nil
	}
	select {
	case <-f.landed:
	case <-ctx.Done():
		return false, true, nil
	}
	if !f.got {
		return false, false, nil
	}
	more, err = h.Rooms.Incomplete(ctx, info)
	return true, more, err
}

// open reports whether a room has a past that is not known here, and others may be asked for it: those who are not in a room are told nothing.
func (h *History) open(ctx context.Context, info *storage.RoomInfo) (bool, error) {
	if open, err := h.Rooms.Incomplete(ctx, info); !open || err != nil {
		return false, err
	}
	return h.Rooms.Resident(ctx, info)
}

// start is the flight for a room, nil if there is a pause.
func (h *History) start(info *storage.RoomInfo, limit int) *flight {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.flights[info.NID]; f != nil {
		return f
	}
	if h.closed || h.Now().Before(h.pauses[info.NID].until) {
		return nil
	}
	f := &flight{landed: make(chan struct{})}
	h.flights[info.NID] = f
	h.done.Go(func() {
		got := h.fly(info, min(max(limit, leastPast), mostPast))
		h.mu.Lock()
		defer h.mu.Unlock()
		f.got = got
		h.rest(info.NID, got)
		delete(h.flights, info.NID)
		close(f.landed)
	})
	return f
}

// rest begins a pause, or ends one.
func (h *History) rest(nid int64, got bool) {
	if got || h.closed {
		delete(h.pauses, nid)
		return
	}
	if len(h.pauses) >= maxPauses {
		clear(h.pauses)
	}
	long := min(max(2*h.pauses[nid].long, firstPause), lastPause)
	h.pauses[nid] = pause{h.Now().Add(long), long}
}

// fly asks one server after the other and reports whether something was new.
func (h *History) fly(info *storage.RoomInfo, limit int) bool {
	ctx, cancel := context.WithTimeout(h.running, flightTime)
	defer cancel()
	select {
	case h.free <- struct{}{}:
		defer func() { <-h.free }()
	case <-ctx.Done():
		return false
	}
	frontier, servers, err := h.prepare(ctx, info)
	if err != nil {
		h.Log.WarnContext(ctx, "it cannot be told whom to ask for the past of a room", "room", info.ID, "error", err)
		return false
	}
	if len(frontier) == 0 {
		return true // all of it has come by another way
	}
	for _, server := range servers {
		if ctx.Err() != nil {
			return false
		}
		past, err := h.ask(ctx, server, info, frontier, limit)
		if err != nil {
			h.Log.InfoContext(ctx, "a server does not tell the past of a room", "server", server, "room", info.ID, "error", err)
			continue
		}
		if past.Placed+past.Refused > 0 {
			return true
		}
	}
	return false
}

// prepare is from where on the past is unknown, in any order so that what nobody has does not stand in the way of the rest
// for ever, and who may be asked for it.
func (h *History) prepare(ctx context.Context, info *storage.RoomInfo) ([]matrix.EventID, []matrix.ServerName, error) {
	frontier, err := h.frontier(ctx, info)
	if err != nil || len(frontier) == 0 {
		return nil, nil, err
	}
	rand.Shuffle(len(frontier), func(i, k int) { frontier[i], frontier[k] = frontier[k], frontier[i] })
	servers, err := h.servers(ctx, info)
	return frontier, servers, err
}

// frontier is from where on a room's past is unknown, after what has come by another way is taken off it.
func (h *History) frontier(ctx context.Context, info *storage.RoomInfo) ([]matrix.EventID, error) {
	frontier, err := h.Store.Rooms.Frontier(ctx, info.NID, 1000)
	if err != nil {
		return nil, err
	}
	known, err := h.Store.Events.Known(ctx, frontier)
	if err != nil {
		return nil, err
	}
	for _, e := range known {
		if e.RoomNID == info.NID && e.Verdict != storage.Outlier {
			if _, err := h.Rooms.Backfill(ctx, info.ID, nil); err != nil {
				return nil, err
			}
			return h.Store.Rooms.Frontier(ctx, info.NID, 1000)
		}
	}
	return frontier, nil
}

// servers is those that are the likeliest to know a room: those of who has the most power in it, and of the most members.
func (h *History) servers(ctx context.Context, info *storage.RoomInfo) ([]matrix.ServerName, error) {
	levels, err := h.Rooms.PowerLevels(ctx, info)
	if err != nil {
		return nil, err
	}
	members, err := h.Store.Members.OfRoom(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	type weight struct {
		power   int64
		members int
	}
	weights := map[matrix.ServerName]weight{}
	for _, m := range members {
		server := m.User.Server()
		if m.Membership != "join" || server == h.ServerName {
			continue
		}
		w, power := weights[server], levels.User(m.User)
		if w.members == 0 || power > w.power {
			w.power = power
		}
		w.members++
		weights[server] = w
	}
	list := make([]matrix.ServerName, 0, len(weights))
	for server := range weights {
		list = append(list, server)
	}
	slices.SortFunc(list, func(a, b matrix.ServerName) int {
		return cmp.Or(cmp.Compare(weights[b].power, weights[a].power), weights[b].members-weights[a].members, cmp.Compare(a, b))
	})
	return list[:min(len(list), askedForPast)], nil
}

// ask has one server tell what came before the frontier, and takes it in.
func (h *History) ask(ctx context.Context, server matrix.ServerName, info *storage.RoomInfo, frontier []matrix.EventID, limit int) (*rooms.Past, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	events, err := h.Peers.Backfill(ctx, server, info.Version, info.ID, frontier[:min(len(frontier), maxFrom)], limit)
	if err != nil {
		return nil, err
	}
	p := part{History: h, ctx: ctx, server: server, info: info}
	if err := p.choose(events, frontier); err != nil {
		return nil, err
	}
	if len(p.events) == 0 {
		return new(rooms.Past), nil
	}
	arrivals, err := p.complete()
	if err != nil {
		return nil, err
	}
	// What has come is not thrown away by whoever stops waiting.
	return h.Rooms.Backfill(context.WithoutCancel(ctx), info.ID, arrivals)
}

// Reach brings in what happened in a room before it was known here, back to the event that other servers say is the closest to a time, if
// that is closer than so many milliseconds. got tells that something is new; of what lies further back than a thousand
// events it is the newer part, so that there is no gap.
func (h *History) Reach(ctx context.Context, info *storage.RoomInfo, ts int64, backward bool, within int64) (got bool, err error) {
	if open, err := h.open(ctx, info); !open || err != nil {
		return false, err
	}
	servers, err := h.servers(ctx, info)
	if err != nil {
		return false, err
	}
	for _, server := range servers {
		id, at, err := h.Peers.TimestampToEvent(ctx, server, info.ID, ts, backward)
		if ctx.Err() != nil {
			return false, nil
		}
		if err != nil {
			continue
		}
		if max(at-ts, ts-at) >= within {
			return false, nil
		}
		return h.reach(ctx, info, id)
	}
	return false, nil
}

func (h *History) reach(ctx context.Context, info *storage.RoomInfo, id matrix.EventID) (got bool, err error) {
	for range reachFlights {
		known, err := h.Store.Events.Known(ctx, []matrix.EventID{id})
		if err != nil {
			return got, err
		}
		if e := known[id]; e != nil && e.Verdict != storage.Outlier {
			return got, nil
		}
		some, more, err := h.Fetch(ctx, info, reachPast)
		got = got || some
		if err != nil || !some || !more {
			return got, err
		}
	}
	return got, nil
}
