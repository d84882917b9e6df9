// Package exchange takes part in rooms that other servers are in: it takes in what they send, asks them for what is missing, and
// brings users of this server into rooms that are elsewhere. It decides nothing about events, which package rooms does.
package exchange

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// Peers are what other servers are asked.
type Peers interface {
	MakeJoin(ctx context.Context, server matrix.ServerName, room matrix.RoomID, user matrix.UserID, versions []string) (*federation.Template, error)
	SendJoin(ctx context.Context, server matrix.ServerName, join *matrix.Event) (*federation.JoinAnswer, error)
	MakeKnock(ctx context.Context, server matrix.ServerName, room matrix.RoomID, user matrix.UserID, versions []string) (*federation.Template, error)
	SendKnock(ctx context.Context, server matrix.ServerName, knock *matrix.Event) (stripped []json.RawMessage, err error)
	MakeLeave(ctx context.Context, server matrix.ServerName, room matrix.RoomID, user matrix.UserID, versions []string) (*federation.Template, error)
	SendLeave(ctx context.Context, server matrix.ServerName, leave *matrix.Event) error
	Invite(ctx context.Context, server matrix.ServerName, invite *matrix.Event, stripped []json.RawMessage) (*matrix.Event, error)
	Event(ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID, id matrix.EventID) (*matrix.Event, error)
	EventAuth(ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID, id matrix.EventID) ([]*matrix.Event, error)
	StateIDs(ctx context.Context, server matrix.ServerName, room matrix.RoomID, id matrix.EventID) (state, auth []matrix.EventID, err error)
	State(ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID, id matrix.EventID) (state, auth []*matrix.Event, err error)
	MissingEvents(
		ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID,
		earliest, latest []matrix.EventID, minDepth int64, limit int,
	) ([]*matrix.Event, error)
	// Verified is those of some events that are signed as they have to be.
	Verified(ctx context.Context, events []*matrix.Event) ([]*matrix.Event, error)
}

// Options are what a [Service] works with; Log may be nil.
type Options struct {
	ServerName matrix.ServerName
	Key        matrix.SigningKey
	Store      *storage.Store
	Rooms      *rooms.Service
	Peers      Peers
	Directory  Directory
	Log        *slog.Logger
}

// Directory asks other servers for their aliases.
type Directory interface {
	Alias(ctx context.Context, alias matrix.RoomAlias) (matrix.RoomID, []matrix.ServerName, error)
}

// A Service is safe for concurrent use.
type Service struct {
	Options
	origins keyed[matrix.ServerName] // one transaction of each server at once
	busy    keyed[matrix.RoomID]     // one repair, or join, of each room at once
	gaps    gaps
	free    chan struct{} // for transactions

	closing sync.Mutex // held while work is begun, and when no more may be
	running context.Context
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// New makes a Service; Close ends it.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Service{Options: o, gaps: gaps{until: map[matrix.EventID]time.Time{}}, free: make(chan struct{}, transactionsAtOnce)}
	s.running, s.stop = context.WithCancel(context.Background())
	return s
}

// keyed is a lock for each key.
type keyed[K comparable] struct {
	mu    sync.Mutex
	locks map[K]*waiting
}

type waiting struct {
	turn  chan struct{}
	users int
}

// lock waits for the turn of a key; unlock gives it on.
func (k *keyed[K]) lock(ctx context.Context, key K) (unlock func(), err error) {
	k.mu.Lock()
	w := k.locks[key]
	if w == nil {
		w = &waiting{turn: make(chan struct{}, 1)}
		if k.locks == nil {
			k.locks = map[K]*waiting{}
		}
		k.locks[key] = w
	}
	w.users++
	k.mu.Unlock()
	done := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if w.users--; w.users == 0 {
			delete(k.locks, key)
		}
	}
	select {
	case w.turn <- struct{}{}:
		return func() { <-w.turn; done() }, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}
