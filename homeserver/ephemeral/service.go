// Package ephemeral is what people tell each other without saying anything: who
// types, how far everybody has read, and who is there. Receipts are stored;
// typing and presence live in memory.
package ephemeral

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Notifier is told of changes, which must not make it call back.
type Notifier interface {
	ReceiptsChanged(room, position int64)
	TypingChanged(room int64)
	// PresenceChanged returns the serial of the change.
	PresenceChanged(user matrix.UserID, rooms []int64) int64
	// Joined is the rooms that a user is in who was seen lately.
	Joined(user matrix.UserID) (rooms []int64, known bool)
	// User knows which rooms a user is in.
	User(ctx context.Context, user matrix.UserID) (*notifier.Snapshot, error)
}

// Rooms knows who is in a room, and which events are in which threads.
type Rooms interface {
	Joined(ctx context.Context, room matrix.RoomID, user matrix.UserID) (bool, error)
	// Thread is the root of the thread that an event is in, or empty.
	Thread(ctx context.Context, e *storage.Event) (matrix.EventID, error)
	// Belongs reports whether an event is in a thread or relates to its root.
	Belongs(ctx context.Context, e *storage.Event, root matrix.EventID) (bool, error)
}

// AccountData keeps the m.fully_read of users.
type AccountData interface {
	// AccountData is M_NOT_FOUND if there is none.
	AccountData(ctx context.Context, user matrix.UserID, room matrix.RoomID, dataType string) (json.RawMessage, error)
	WriteAccountData(ctx context.Context, tx *database.Tx, user matrix.UserID, d accounts.Datum) error
	// MayObserve reports whether a user has agreed to be on somebody's presence list.
	MayObserve(ctx context.Context, observer, user matrix.UserID) (bool, error)
}

// Options are what a [Service] works with. All but the last four are needed.
type Options struct {
	Store       *storage.Store
	Receipts    *storage.Receipts
	DeviceLists *storage.DeviceLists
	Rooms       Rooms
	AccountData AccountData
	Notifier    Notifier

	NoPresence bool          // nobody is shown, whatever clients set
	IdleAfter  time.Duration // from when somebody who does nothing is unavailable; 0: five minutes
	Now        func() time.Time
	Log        *slog.Logger
}

// A Service is safe for concurrent use. Somebody has to [Service.Run] it.
type Service struct {
	options Options
	store   *storage.Store
	wake    chan struct{} // capacity 1
	typists typists
	people  people
	recent  *recentReceipts
}

// New makes a Service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.IdleAfter <= 0 {
		o.IdleAfter = usualIdle
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{
		options: o, store: o.Store, wake: make(chan struct{}, 1), recent: newRecentReceipts(),
		typists: typists{rooms: map[int64]map[matrix.UserID]time.Time{}},
		people:  people{idleAfter: o.IdleAfter, known: map[matrix.UserID]*person{}, changed: map[matrix.UserID]bool{}, telling: map[matrix.UserID]int{}},
	}
}

// Run ends what has taken its time, and tells of changes of presence, until
// the context ends.
func (s *Service) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		timer.Reset(s.Work(ctx))
	}
}

// Work does once what Run does all the time, and says when to come back if
// nothing happens before.
func (s *Service) Work(ctx context.Context) time.Duration {
	now := s.options.Now()
	next := s.stopTypists(now)
	if s.options.NoPresence {
		return next
	}
	s.checkPeople(now)
	s.publish(ctx)
	return min(next, presenceInterval)
}

// poke makes Run look again.
func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// RoomChanged takes in a committed event, as [rooms.Listener]: whoever leaves
// types no more, whoever says something is there, and people who have just met
// learn of each other.
func (s *Service) RoomChanged(c rooms.Change) {
	if c.Target != "" && c.Membership != "join" {
		s.leave(c.Event.RoomNID, c.Target)
		s.people.leaveRoom(c.Target, c.Event.RoomNID)
	}
	for _, m := range c.Moves {
		if m.Membership != "join" {
			s.leave(c.Event.RoomNID, m.Target)
			s.people.leaveRoom(m.Target, c.Event.RoomNID)
		}
	}
	if s.options.NoPresence {
		return
	}
	if c.Target != "" && c.Membership == "join" && c.Was != "join" {
		s.met(c.Target)
	}
	if !c.Event.Silent() {
		s.Active(c.Event.Sender)
	}
}

// inRoom is the number of a room that a user is in; else M_FORBIDDEN.
func (s *Service) inRoom(ctx context.Context, room matrix.RoomID, user matrix.UserID) (int64, error) {
	joined, err := s.options.Rooms.Joined(ctx, room, user)
	if err != nil {
		return 0, err
	}
	if !joined {
		return 0, matrix.Forbidden("You are not in room %s.", room)
	}
	info, err := s.store.Rooms.Info(ctx, room)
	if err != nil {
		return 0, err
	}
	return info.NID, nil
}

// locked runs a function with a mutex held.
func locked(mu *sync.Mutex, fn func()) {
	mu.Lock()
	defer mu.Unlock()
	fn()
}
