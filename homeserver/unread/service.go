// Package unread knows what users have not read: it reads the stream, holds
// every event against the push rules of the users of this server who are in its
// room, keeps what notifies them, and counts it until they have read it.
package unread

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/push"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// AccountData is where users keep whom they do not want to hear from.
type AccountData interface {
	// Unwanted is whom a user does not want to hear from.
	Unwanted(ctx context.Context, user matrix.UserID) (*accounts.Unwanted, error)
}

// Options are what a Service works with. All but the last four are needed.
type Options struct {
	Store         *storage.Store
	Notifications *storage.Notifications
	Receipts      *storage.Receipts
	Threads       *storage.Threads
	Rooms         *rooms.Service
	Rules         *push.Book
	AccountData   AccountData
	Notifier      *notifier.Notifier

	// Ghost reports whether nobody reads what a user of this server is sent,
	// as with those that application services make up; nil: nobody is one.
	Ghost func(matrix.UserID) bool
	// Stored is told of users for whom there are new notifications in the
	// database, or fewer unread ones, and must be quick; nil: nobody wants to
	// know.
	Stored func(users []matrix.UserID)
	Now    func() time.Time
	Log    *slog.Logger
}

// A Service is safe for concurrent use between [Service.Start] and [Service.Close].
type Service struct {
	Options
	members     *lru.Cache[int64, *residents]
	threads     *lru.Cache[matrix.EventID, thread]
	subscribers *lru.Cache[int64, map[int64]bool]
	unwanted    *lru.Cache[matrix.UserID, *unwanted]
	changes     changes // of what the caches are made of

	stop     context.CancelFunc
	stopped  sync.WaitGroup
	unstored chan struct{} // capacity 1: there are steps to be stored
	urgent   chan struct{} // capacity 1: somebody waits for that

	// The event that could not be held against rules, and how often; of whoever
	// follows the stream.
	failing  int64
	failures int
	page     page // what was read of the stream; of the same
	portion  *database.Portion

	// table is held for reading while counts are read of the database, and for
	// writing while what is in memory and what is there do not fit together.
	table sync.RWMutex

	mu       sync.Mutex
	accounts *lru.Cache[matrix.UserID, *account]
	// position is up to where events were held against rules.
	position int64
	pending  []*step // that are not stored yet, oldest first
	weight   int     // of pending, in operations
	queued   int64   // position of the newest step that was ever pending
	fresh    map[place]*spot
	// overdue is who was answered without waiting for what is counted, with the
	// rooms in which something was counted since; told is when such users were
	// last told of that.
	overdue map[matrix.UserID]map[int64]bool
	told    time.Time
	moved   chan struct{} // closed and replaced at each change of the above
}

const (
	keptResidents   = 500_000 // members of rooms
	keptThreads     = 50_000  // events with threads that they are in
	keptSubscribers = 5_000   // threads with subscribers
	keptUnwanted    = 200_000 // users and patterns
	keptCounts      = 500_000 // rooms of users
)

// New makes a Service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Ghost == nil {
		o.Ghost = func(matrix.UserID) bool { return false }
	}
	if o.Stored == nil {
		o.Stored = func([]matrix.UserID) {}
	}
	return &Service{
		Options:     o,
		portion:     database.NewPortion(leastStored, maxStored),
		members:     lru.New[int64](keptResidents, func(r *residents) int { return 1 + len(r.users) }),
		threads:     lru.New[matrix.EventID, thread](keptThreads, nil),
		subscribers: lru.New[int64, map[int64]bool](keptSubscribers, nil),
		unwanted:    lru.New[matrix.UserID](keptUnwanted, func(u *unwanted) int { return 1 + u.Size() }),
		accounts:    lru.New[matrix.UserID](keptCounts, (*account).size),
		unstored:    make(chan struct{}, 1), overdue: map[matrix.UserID]map[int64]bool{}, fresh: map[place]*spot{}, moved: make(chan struct{}),
	}
}

// Start goes on where the last run has stopped, until [Service.Close].
func (s *Service) Start(ctx context.Context) error {
	position, err := s.Notifications.Begin(ctx, s.Notifier.Position())
	if err != nil {
		return fmt.Errorf("how far events were held against push rules: %w", err)
	}
	s.position = min(position, s.Notifier.Position())
	s.queued = s.position
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.stopped.Go(func() { s.follow(running) })
	s.stopped.Go(func() { s.keep(running) })
	return nil
}

// Close stops, and stores what there is.
func (s *Service) Close() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.stopped.Wait()
	for s.waiting() {
		if _, err := s.store(context.Background()); err != nil {
			s.Log.Error("store notifications", "err", err)
			return // they are found again at the next start
		}
	}
}

// Ghosts have changed: who is a resident has to be found out anew.
func (s *Service) Ghosts() {
	s.changes.add()
	s.members.Clear()
}

// SubscriptionsChanged takes in that somebody follows a thread, or has stopped to.
func (s *Service) SubscriptionsChanged(root int64) {
	s.changes.add()
	s.subscribers.Delete(root)
}

// UserChanged takes in that the account data of a user have changed.
func (s *Service) UserChanged(user matrix.UserID) {
	s.changes.add()
	s.unwanted.Delete(user)
}

// expiry is how long notifications are kept.
const expiry = 30 * 24 * time.Hour

// Tidy deletes old notifications.
func (s *Service) Tidy(ctx context.Context) error {
	return s.Notifications.Expire(ctx, s.Now().Add(-expiry).UnixMilli())
}

// Deactivated deletes what a user was notified of, and which threads it follows.
func (s *Service) Deactivated(ctx context.Context, user matrix.UserID, _ bool) error {
	nids, err := s.Store.Users.Lookup(ctx, []string{string(user)})
	if err != nil || len(nids) == 0 {
		return err
	}
	nid := nids[string(user)]
	if err := s.Store.DB.Update(ctx, func(tx *database.Tx) error { return s.Threads.DeleteUser(ctx, tx, nid) }); err != nil {
		return err
	}
	s.changes.add()
	s.subscribers.Clear()
	s.accounts.Delete(user)
	return s.Notifications.DeleteUser(ctx, nid)
}
