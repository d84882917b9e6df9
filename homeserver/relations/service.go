// Package relations knows how events relate to each other: it sums up the
// children of events for those who read them, and lists them. It writes nothing.
package relations

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"slices"
	"sync"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// AccountData is where users keep whom they ignore.
type AccountData interface {
	AccountData(ctx context.Context, user matrix.UserID, room matrix.RoomID, dataType string) (json.RawMessage, error)
}

// Options are what a Service needs.
type Options struct {
	Rooms       *rooms.Service
	Store       *storage.Store
	AccountData AccountData
	// Position is how far the stream had come when the Service was made: it is
	// told of every event after that.
	Position int64
}

// A Service is safe for concurrent use. It has to be the first that is told of
// a change, so that nobody whom the change wakes reads what was true before.
type Service struct {
	Options
	recent recent
}

// New makes a Service.
func New(o Options) *Service {
	s := &Service{Options: o}
	s.recent.seed = maphash.MakeSeed()
	s.recent.start(o.Position)
	return s
}

// RoomChanged notes what the event relates to.
func (s *Service) RoomChanged(c rooms.Change) {
	if c.Relation != nil {
		s.recent.add(c.Relation.Parent, c.Event.Position)
	}
}

// maxRecent bounds the parents that are remembered, at some 16 bytes each.
const maxRecent = 500_000

// recent is which events have got children since a place in the stream. An
// event from after that place that is not among them has none, which spares
// those who follow the stream any look into the database.
type recent struct {
	seed maphash.Seed

	mu      sync.RWMutex
	floor   int64
	parents map[uint64]struct{} // hashes of event IDs
}

func (r *recent) start(floor int64) { r.floor, r.parents = floor, map[uint64]struct{}{} }

func (r *recent) add(parent matrix.EventID, position int64) {
	key := maphash.String(r.seed, string(parent))
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.parents) >= maxRecent {
		// A parent from after the new floor has only children from after it.
		r.start(position)
	}
	r.parents[key] = struct{}{}
}

// possible is the events that may have children, the state left out: it is
// not aggregated.
func (r *recent) possible(events []*storage.Event) []*storage.Event {
	var list []*storage.Event
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, e := range events {
		if e.IsState() {
			continue
		}
		if min(e.Position, e.Ordering) > r.floor {
			if _, ok := r.parents[maphash.String(r.seed, string(e.ID))]; !ok {
				continue
			}
		}
		list = append(list, e)
	}
	return list
}

// Ignored is the users whom a user ignores (Client-Server API § Ignoring Users).
func (s *Service) Ignored(ctx context.Context, user matrix.UserID) ([]matrix.UserID, error) {
	content, err := s.AccountData.AccountData(ctx, user, "", "m.ignored_user_list")
	if matrix.Code(err) == "M_NOT_FOUND" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list struct {
		Users map[matrix.UserID]json.RawMessage `json:"ignored_users"`
	}
	if json.Unmarshal(content, &list) != nil {
		return nil, nil // whatever it is, it names nobody
	}
	ignored := make([]matrix.UserID, 0, len(list.Users))
	for name := range list.Users {
		if name != user {
			ignored = append(ignored, name)
		}
	}
	slices.Sort(ignored)
	return ignored, nil
}

// numbers is the numbers of those users who have one.
func (s *Service) numbers(ctx context.Context, users []matrix.UserID) ([]int64, error) {
	names := make([]string, len(users))
	for i, user := range users {
		names[i] = string(user)
	}
	found, err := s.Store.Users.Lookup(ctx, names)
	if err != nil {
		return nil, err
	}
	nids := make([]int64, 0, len(found))
	for _, nid := range found {
		nids = append(nids, nid)
	}
	slices.Sort(nids)
	return nids, nil
}
