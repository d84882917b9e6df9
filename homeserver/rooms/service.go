// Package rooms is the only writer of room events. A change is decided
// against the room's newest state under the room's lock, built, signed and
// queued; it is answered when it is committed, and only then told to readers,
// whom this package does not know.
package rooms

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"trestle/homeserver/storage"
	"trestle/homeserver/storage/statetree"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// A Listener is told what was committed, in stream order, on the committing
// goroutine: it must be quick and must not call back.
type Listener interface {
	RoomChanged(Change)
}

// What storage calls these is what readers get.
type (
	// A StateKey is what state is looked up by.
	StateKey = storage.StateKey
	// A Summary is what directories show of a room.
	Summary = storage.Summary
	// A DirectoryUser is a hit in the user directory.
	DirectoryUser = storage.DirectoryUser
)

// A Change is one committed event.
type Change struct {
	Event *storage.Event
	Info  *storage.RoomInfo
	// Target, Membership and Was are set for m.room.member.
	Target     matrix.UserID
	Membership string
	Was        string // the membership before; empty is none
	// Stripped is what Target is told of a room that this server is not in, an array of JSON; or nil.
	Stripped []byte
	// Moves are of those whose membership has changed because branches of the room's history were merged.
	Moves []Move
	// Redacted is what this redaction has made of its target, if it is known here.
	Redacted *storage.Event
	// Relation is how the event relates to another one; nil if it does not.
	Relation *matrix.Relation
}

// A Move is that somebody's membership has become another without an event of its own.
type Move struct {
	Target     matrix.UserID
	Membership string
	Was        string
	Event      *storage.Event // by which the user stands there
}

// Profiles knows the names that go into member events.
type Profiles interface {
	Profile(ctx context.Context, user matrix.UserID) (displayName, avatarURL string, err error)
}

// Directory asks outside of this server's own tables for an alias: an
// application service may make it while it is asked.
type Directory interface {
	// QueryAlias reports whether the alias may exist now. asker is the
	// application service on whose behalf this is, or empty.
	QueryAlias(ctx context.Context, alias matrix.RoomAlias, asker string) (bool, error)
	// QueryUser gives whoever owns a user the chance to make it.
	QueryUser(ctx context.Context, user matrix.UserID, asker string) error
	// MayUseAlias is an error, M_EXCLUSIVE, if the application service, or a
	// person if it is empty, may not make or delete the alias.
	MayUseAlias(appservice string, alias matrix.RoomAlias) error
	// AliasesChanged tells that a room has other aliases than before.
	AliasesChanged(room matrix.RoomID)
}

// An Actor is who does something.
type Actor struct {
	User       matrix.UserID
	AppService string // the ID of the application service that acts as the user; empty for people
	Guest      bool
	Admin      bool
}

// Options are what a Service needs.
type Options struct {
	Store          *storage.Store
	ServerName     matrix.ServerName
	Key            matrix.SigningKey
	DefaultVersion string
	Now            func() time.Time
	Listener       Listener
	Profiles       Profiles
	Directory      Directory
	Settings       Settings // nil: nobody has any
	// HumanIDs refuses aliases that look like others (M_FAILED_HUMAN_ID_CHECK),
	// but of application services, whose aliases are what is named elsewhere.
	HumanIDs bool
	// IsGuest tells who has to leave where guests are not wanted any more; nil: nobody.
	IsGuest func(ctx context.Context, user matrix.UserID) (bool, error)
	// Erased tells whose events are shown redacted to those who were not there;
	// nil: nobody's.
	Erased func(user matrix.UserID) bool
	Log    *slog.Logger
	// NoticesUser sends notices of the server; empty: nobody does.
	NoticesUser matrix.UserID
	// Forgotten is told of users who have lost a room, with the room's number.
	Forgotten func(user matrix.UserID, room int64)
	// Relay has an event, by its number, sent to the other servers in its room, in the transaction that stores it; nil: to none.
	Relay func(ctx context.Context, tx *database.Tx, event int64) error
	// Withhold keeps an event of this server from being sent to them: another server does that.
	Withhold func(ctx context.Context, tx *database.Tx, event int64) error
	// Removed is told of rooms that are no more.
	Removed func(room int64)
}

// A Service writes and reads rooms. It is safe for concurrent use.
type Service struct {
	Options
	store   *storage.Store
	cache   *cache
	recent  *lru.Cache[txn, sending]
	repeats repeats
	making  sync.Map                // the IDs of rooms that are being made
	local   *lru.Cache[int64, bool] // rooms that those of other servers may not be in, by their numbers
	acls    *lru.Cache[aclKey, *serverACL]

	inhabited *lru.Cache[int64, *Others]        // by the rooms' numbers
	mergers   *lru.Cache[int64, statetree.Tree] // the states before some events, by their numbers

	blocked   blocks
	deletions deletions
	network   Elsewhere // nil: there are no other servers
}

// recentBytes bounds the events whose transaction IDs are remembered outside of
// the database: enough for every request that can overlap with its repeat.
const recentBytes = 32 << 20

// New makes a Service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Settings == nil {
		o.Settings = noSettings{}
	}
	s := &Service{Options: o, store: o.Store, recent: lru.New[txn](recentBytes, sending.size), repeats: newRepeats()}
	s.local = lru.New[int64, bool](knownLocal, nil)
	s.inhabited, s.mergers = newResidents(), lru.New[int64, statetree.Tree](knownMergers, nil)
	s.acls = lru.New[aclKey](aclBytes, func(a *serverACL) int { return a.size })
	s.cache = newCache(s.load)
	s.deletions.wake, s.deletions.waiting = make(chan struct{}, 1), map[string]chan struct{}{}
	return s
}

// Local reports whether a user is one of this server's.
func (s *Service) Local(user matrix.UserID) bool { return user.Server() == s.ServerName }

// Info is the room of that ID, or M_NOT_FOUND.
func (s *Service) Info(ctx context.Context, id matrix.RoomID) (*storage.RoomInfo, error) {
	info, err := s.store.Rooms.Info(ctx, id)
	if errors.Is(err, database.ErrNoRows) {
		return nil, matrix.NotFound("Room %s is not known here.", id)
	}
	return info, err
}

// notMember is the answer to whoever asks about a room that is not theirs,
// the same whether or not it exists.
func notMember(id matrix.RoomID) error {
	return matrix.Forbidden("You are not in room %s.", id)
}

// known is Info for operations that members do: an unknown room is forbidden
// ground like any other.
func (s *Service) known(ctx context.Context, id matrix.RoomID) (*storage.RoomInfo, error) {
	info, err := s.store.Rooms.Info(ctx, id)
	if errors.Is(err, database.ErrNoRows) {
		return nil, notMember(id)
	}
	return info, err
}
