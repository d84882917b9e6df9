// Package outbox sends the events of this server's rooms to the other servers in them. It is a reader of the stream: for each
// event it finds the servers that have to hear of it, notes that with its place in the stream, and has each of them sent what
// waits for it, in order, until it is taken.
package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// Stream tells how far the stream is committed.
type Stream interface {
	Position() int64
	// Changed is closed at the next change.
	Changed() <-chan struct{}
}

// Rooms knows which other servers are in a room, in the state of a root.
type Rooms interface {
	Others(ctx context.Context, roomNID, root int64, known *rooms.Others) (*rooms.Others, error)
}

// Options are what a [Service] works with. Those up to Client are needed.
type Options struct {
	ServerName matrix.ServerName
	Store      *storage.Store
	Rooms      Rooms
	Stream     Stream
	Client     *federation.Client

	AtOnce     int           // transactions under way; default 64
	FirstPause time.Duration // after a failure; each further one doubles it, up to an hour; default 2 s
	Timeout    time.Duration // of a transaction; default 90 s
	Now        func() time.Time
	Log        *slog.Logger
}

// A Service works between Start and Close. It is safe for concurrent use.
type Service struct {
	Options
	store   *storage.Outbox
	metrics *metrics
	desk    *desk

	// Of whoever reads the stream.
	cursor  int64 // up to which events have been addressed
	unnoted int   // events that were read since the cursor was stored
	others  *lru.Cache[int64, *rooms.Others]
	failing int64 // the event that could not be addressed, and how often
	tries   int

	done atomic.Int64 // the cursor, for those who only look

	working context.Context // ends when nothing new may begin
	aborted context.Context // ends when requests under way must end as well
	stop    context.CancelFunc
	abort   context.CancelFunc
	running sync.WaitGroup
}

// keptServers bounds what is remembered of who is in rooms, in rooms and servers.
const keptServers = 500_000

// New makes a Service.
func New(o Options) *Service {
	if o.AtOnce <= 0 {
		o.AtOnce = 64
	}
	if o.FirstPause <= 0 {
		o.FirstPause = 2 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 90 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Service{Options: o, store: o.Store.Outbox, others: lru.New[int64](keptServers, func(o *rooms.Others) int { return 1 + len(o.Servers()) })}
	s.metrics = newMetrics()
	s.desk = newDesk(s)
	s.aborted, s.abort = context.WithCancel(context.Background())
	s.working, s.stop = context.WithCancel(s.aborted)
	return s
}

// Start goes on where the last run has stopped. At the very first time that is the end of the stream: nobody is told of what
// came before.
func (s *Service) Start(ctx context.Context) error {
	var err error
	if s.cursor, err = s.store.Begin(ctx, s.Stream.Position()); err != nil {
		return fmt.Errorf("how far events were addressed to other servers: %w", err)
	}
	s.done.Store(s.cursor)
	known, err := s.store.Destinations(ctx)
	if err != nil {
		return fmt.Errorf("what waits for other servers: %w", err)
	}
	for _, d := range known {
		s.desk.recall(d)
	}
	s.running.Go(func() { s.follow(s.working) })
	s.running.Go(func() { s.desk.run(s.working, s.aborted) })
	return nil
}

// Close ends the work. Requests under way may be answered until the context ends; then they are broken off, and made again
// after the next start.
func (s *Service) Close(ctx context.Context) {
	s.stop()
	defer context.AfterFunc(ctx, s.abort)()
	s.running.Wait()
	s.abort()
}

// Heard tells that another server is there. What waits for it because it could not be reached is sent at once.
func (s *Service) Heard(server matrix.ServerName) { s.desk.inbox.heard(server) }

// Position is up to where it is known which servers have to hear of what is in the stream.
func (s *Service) Position() int64 { return s.done.Load() }
