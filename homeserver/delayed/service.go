// Package delayed sends events later, for clients that may not be there any
// more by then (MSC4140). What is scheduled outlives the server: what came due
// while it was down is sent when it comes back. An event is sent under a
// transaction ID of its own, so that it is sent once, whatever is interrupted.
package delayed

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// An Event is an event that is to be sent later.
type Event = storage.DelayedEvent

// A Query asks for a page of a user's events.
type Query = storage.DelayedQuery

// Rooms sends events.
type Rooms interface {
	Send(ctx context.Context, req rooms.SendRequest) (matrix.EventID, error)
	Membership(ctx context.Context, room matrix.RoomID, user matrix.UserID) (string, error)
	Info(ctx context.Context, room matrix.RoomID) (*storage.RoomInfo, error)
}

// A Limiter counts what is sent in somebody's name.
type Limiter interface {
	AllowKey(bucket, key string) error
}

// Options are what a Service needs.
type Options struct {
	DB     *database.DB
	Events *storage.DelayedEvents
	Rooms  Rooms
	// MayAct is an error if the user may not do anything any more.
	MayAct     func(ctx context.Context, user matrix.UserID) error
	Limiter    Limiter       // nil: no limits
	MaxDelay   time.Duration // 0: nothing is scheduled
	MaxPerUser int
	Now        func() time.Time
	Log        *slog.Logger
}

// A Service schedules events. It is safe for concurrent use. [Service.Start]
// makes it send them, [Service.Close] stops it.
type Service struct {
	options Options
	wake    chan struct{} // capacity 1
	stop    context.CancelFunc
	stopped chan struct{}

	mu   sync.Mutex
	busy map[string]chan struct{} // events that somebody acts on, closed when done
}

// New makes a Service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{options: o, wake: make(chan struct{}, 1), busy: map[string]chan struct{}{}}
}

// Limits is how far ahead events can be scheduled, and how many of one user.
func (s *Service) Limits() (maxDelay time.Duration, maxPerUser int) {
	return s.options.MaxDelay, s.options.MaxPerUser
}

// Find is an event of a user, or M_NOT_FOUND.
func (s *Service) Find(ctx context.Context, user matrix.UserID, id string) (*Event, error) {
	e, err := s.options.Events.Find(ctx, id)
	if err == nil && (e == nil || e.User != user) {
		err = unknown()
	}
	return e, err
}

// List is a page of a user's events: those that are scheduled, or those whose
// fate is known.
func (s *Service) List(ctx context.Context, q Query) ([]*Event, error) {
	return s.options.Events.Page(ctx, q)
}

// Deactivated forgets what a user has scheduled.
func (s *Service) Deactivated(ctx context.Context, user matrix.UserID, _ bool) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error { return s.options.Events.DeleteOf(ctx, tx, user) })
}

// How long and how many of each user it is known what became of events.
const (
	retention = 7 * 24 * time.Hour
	kept      = 1000
)

// Tidy forgets what became of old events.
func (s *Service) Tidy(ctx context.Context) error {
	before := s.now() - retention.Milliseconds()
	return s.options.DB.Update(ctx, func(tx *database.Tx) error { return s.options.Events.Tidy(ctx, tx, before, kept) })
}

func (s *Service) now() int64 { return s.options.Now().UnixMilli() }

// lock keeps others from acting on an event. The caller calls unlock.
func (s *Service) lock(ctx context.Context, id string) (unlock func(), err error) {
	for {
		s.mu.Lock()
		other, taken := s.busy[id]
		if !taken {
			mine := make(chan struct{})
			s.busy[id] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.busy, id)
				s.mu.Unlock()
				close(mine)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func unknown() error { return matrix.NotFound("There is no such delayed event.") }
