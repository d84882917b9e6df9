package sliding

import (
	"context"
	"errors"
	"math"
	"net/http"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// Options are what a Service needs.
type Options struct {
	Sync    *syncer.Service
	Board   *Board
	Threads Threads // nil: nobody follows any
}

// A Service is safe for concurrent use.
type Service struct {
	sync       *syncer.Service
	board      *Board
	followed   Threads
	conns      *connections
	departures *lru.Cache[int64, departure]
}

// departures that are kept in memory.
const keptDepartures = 50_000

// New makes a Service.
func New(o Options) *Service {
	return &Service{
		sync: o.Sync, board: o.Board, followed: o.Threads, conns: newConnections(),
		departures: lru.New[int64, departure](keptDepartures, nil),
	}
}

// Sync answers what is new of what a client looks at, and waits up to the
// timeout for something that is. M_UNKNOWN_POS for a pos that is neither that
// of the connection's newest answer nor the one before: the client then starts
// a new connection.
func (s *Service) Sync(ctx context.Context, req *Request) (*Response, error) {
	key := deviceKey{req.User, req.Device}
	conn, number := s.conns.open(key, req.ConnID, req.Pos)
	if conn == nil {
		return nil, unknownPos()
	}
	turn := conn.turn.Add(1)
	if err := s.acknowledge(ctx, req); err != nil {
		return nil, err
	}
	defer s.conns.weigh(key)
	// Presence asks in which rooms the user is: that is to be read only once.
	var err error
	if req.Pos == "" {
		err = s.sync.Meet(ctx, req.User)
	} else {
		_, err = s.sync.Notifier.User(ctx, req.User)
	}
	if err != nil {
		return nil, err
	}
	gone := s.sync.Ephemeral.Seen(ctx, req.User, req.Device, req.SetPresence)
	resp, idle, err := s.wait(ctx, req, conn, number, turn)
	if idle == nil {
		gone()
		return resp, err
	}
	return nil, &syncer.Idle{Subscribe: func(wake func()) func() {
		leave := s.sync.Notifier.Watch(req.User, idle.Position, idle.Serial, wake)
		return func() { leave(); gone() }
	}}
}

// wait answers as soon as there is something new. idle is up to where nothing
// was new when patience has run out.
func (s *Service) wait(ctx context.Context, req *Request, conn *connection, number, turn int64) (resp *Response, idle *notifier.Snapshot, err error) {
	timeout := max(0, min(req.Timeout, syncer.MaxTimeout))
	if req.Pos == "" {
		timeout = 0
	}
	impatient := req.Patience != 0 && req.Patience < timeout
	if impatient {
		timeout = req.Patience
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last := timeout <= 0
	for begun := false; ; begun = true {
		snap, err := s.sync.Notifier.User(ctx, req.User)
		if err != nil {
			return nil, nil, err
		}
		a := &answer{Service: s, ctx: ctx, req: req, conn: conn, snap: snap}
		if done, err := a.attempt(number, turn, begun, last); done || err != nil {
			return &a.resp, nil, err
		}
		err = s.sync.Notifier.Wait(waiting, req.Stop, req.User, snap.Position, snap.Serial)
		ended := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
		switch {
		case ended && impatient:
			return nil, snap, nil
		case ended, errors.Is(err, notifier.ErrStopped):
			last = true
		case err != nil:
			return nil, nil, err
		}
	}
}

func unknownPos() error {
	return matrix.NewError(http.StatusBadRequest, "M_UNKNOWN_POS", "This connection is not known any more. Start a new one.")
}

// An answer while it is put together.
type answer struct {
	*Service
	ctx  context.Context
	req  *Request
	conn *connection
	snap *notifier.Snapshot

	resp     Response
	news     bool // there is something in it that a client waits for
	next     *view
	entries  []*entry // the user's rooms, the most recent first
	rules    []rule
	matches  map[int64][]int // the rules that want a room
	configs  map[string]*config
	active   map[int64]bool // rooms that changed since the base
	unwanted *accounts.Unwanted
	ahead    *syncer.Ahead // what was read of many rooms at once
}

// attempt puts the answer together. It is done if there is news in it, if it is
// the last attempt, or if the client has given the request up for a newer one.
func (a *answer) attempt(number, turn int64, begun, last bool) (done bool, err error) {
	a.conn.mu.Lock()
	defer a.conn.mu.Unlock()
	if a.conn.turn.Load() != turn {
		// Nobody reads this, or whoever does may go on from where it was.
		a.resp = Response{Pos: a.req.Pos, Lists: map[string]List{}, Rooms: map[matrix.RoomID]*Room{}}
		return true, nil
	}
	if !begun && number > 0 && !a.conn.show(number) || !begun && number <= 0 && a.req.Pos != "" {
		return false, unknownPos()
	}
	if err := a.build(); err != nil {
		return false, err
	}
	if !a.news && !last && number > 0 {
		return false, nil
	}
	a.resp.Pos = a.conn.answered(a.next)
	return true, nil
}

func (a *answer) build() error {
	base := &a.conn.base
	a.resp = Response{Lists: map[string]List{}, Rooms: map[matrix.RoomID]*Room{}}
	a.news = false
	a.next = &view{
		token: syncer.Token{Position: a.snap.Position, Serial: a.snap.Serial},
		rooms: map[int64]*sent{}, window: map[int64]bool{}, extras: map[string]string{},
	}
	a.matches, a.configs, a.active, a.rules, a.entries = map[int64][]int{}, map[string]*config{}, map[int64]bool{}, nil, nil
	if base.number > 0 {
		for _, nid := range a.snap.Active(base.token.Position, base.token.Serial) {
			a.active[nid] = true
		}
	}
	var err error
	if a.unwanted, err = a.sync.Unwanted(a.ctx, a.req.User, a.snap); err != nil {
		return err
	}
	if err := a.roomsAndDevice(); err != nil {
		return err
	}
	return a.extend()
}

// roomsAndDevice fills in what the answer says of rooms and what it says to the device. The
// first time there is much to be read for both, which have nothing to do with each other.
func (a *answer) roomsAndDevice() error {
	ofRooms := func() error {
		for _, part := range []func() error{a.order, a.choose, a.rooms} {
			if err := part(); err != nil {
				return err
			}
		}
		return nil
	}
	news := false
	toDevice := func() (err error) {
		news, err = a.device()
		return err
	}
	var err error
	if a.conn.base.number == 0 {
		err = syncer.Together(ofRooms, toDevice)
	} else if err = ofRooms(); err == nil {
		err = toDevice()
	}
	a.news = a.news || news
	return err
}

// A departure is how a user who is not in a room came out of it.
type departure struct {
	event *storage.Event // nil for somebody who was never in
	taken bool           // by somebody else
}

// complete is the number of newest events that a client has who has all.
const complete = math.MaxInt32
