package unread

import (
	"context"
	"encoding/json"
	"slices"
	"sync/atomic"

	"trestle/homeserver/accounts"
	"trestle/homeserver/push"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A resident is a user of this server who may be in a room.
type resident struct {
	id   matrix.UserID
	nid  int64
	name *push.Name // in the room; nil for none, and where nobody looks at it

	wishes wishes // of whoever follows the stream
	spot   *spot  // with the service's lock held
}

// wishes are what decides whether a user is notified, as they were at a count of changes.
type wishes struct {
	rules    *push.Rules // nil: not known yet
	unwanted *unwanted
	at       int64
}

// wishesOf is what decides whether a user is notified now.
func (s *Service) wishesOf(ctx context.Context, r *resident) (*wishes, error) {
	now := s.changes.now()
	if r.wishes.rules != nil && r.wishes.at == now {
		return &r.wishes, nil
	}
	rules, err := s.Rules.Rules(ctx, r.id)
	if err != nil {
		return nil, err
	}
	whom, err := s.unwantedOf(ctx, r.id)
	if err != nil {
		return nil, err
	}
	r.wishes = wishes{rules, whom, now}
	return &r.wishes, nil
}

// nameIn is the display name that a member event gives.
func nameIn(e *storage.Event) *push.Name {
	var content struct {
		DisplayName json.RawMessage `json:"displayname"`
	}
	var name string
	// What is no text is no name.
	if json.Unmarshal(e.Content, &content) == nil {
		_ = json.Unmarshal(content.DisplayName, &name)
	}
	return push.NewName(name)
}

// residents is those in one room, as of the event that was looked at last.
type residents struct {
	users []*resident
}

// changes counts what makes caches wrong, so that nobody puts back what was
// read before.
type changes struct{ n atomic.Int64 }

func (c *changes) add()       { c.n.Add(1) }
func (c *changes) now() int64 { return c.n.Load() }

// residentsAt is the users of this server who are in the room of an event once
// it has happened. It has to be called for every event of the room, in order.
func (s *Service) residentsAt(ctx context.Context, e *storage.Event) ([]*resident, error) {
	known, ok := s.members.Get(e.RoomNID)
	if !ok {
		return s.loadResidents(ctx, e)
	}
	if e.Type != "m.room.member" || !e.IsState() {
		return known.users, nil
	}
	user := matrix.UserID(*e.StateKey)
	if !s.Rooms.Local(user) {
		return known.users, nil
	}
	without := slices.DeleteFunc(slices.Clone(known.users), func(r *resident) bool { return r.id == user })
	if e.Membership() == "join" && !s.Ghost(user) {
		nid, err := s.Store.Users.NID(ctx, string(user))
		if err != nil {
			return nil, err
		}
		without = append(without, &resident{id: user, nid: nid, name: nameIn(e)})
	}
	s.members.Put(e.RoomNID, &residents{without})
	return without, nil
}

// loadResidents reads them of the state.
func (s *Service) loadResidents(ctx context.Context, e *storage.Event) ([]*resident, error) {
	before := s.changes.now()
	state, err := s.Rooms.At(ctx, e.RoomNID, e.Root)
	if err != nil {
		return nil, err
	}
	members, err := state.Events(ctx, func(key storage.StateKey) bool {
		user := matrix.UserID(key.Key)
		return key.Type == "m.room.member" && s.Rooms.Local(user) && !s.Ghost(user)
	})
	if err != nil {
		return nil, err
	}
	members = slices.DeleteFunc(members, func(m *storage.Event) bool { return m.Membership() != "join" })
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = *m.StateKey
	}
	nids, err := s.Store.Users.Lookup(ctx, names)
	if err != nil {
		return nil, err
	}
	found := new(residents)
	for _, m := range members {
		found.users = append(found.users, &resident{id: matrix.UserID(*m.StateKey), nid: nids[*m.StateKey], name: nameIn(m)})
	}
	if s.changes.now() == before {
		s.members.Put(e.RoomNID, found)
	}
	return found.users, nil
}

// unwanted is whom a user does not want to hear from.
type unwanted struct{ *accounts.Unwanted }

func (s *Service) unwantedOf(ctx context.Context, user matrix.UserID) (*unwanted, error) {
	if known, ok := s.unwanted.Get(user); ok {
		return known, nil
	}
	before := s.changes.now()
	read, err := s.AccountData.Unwanted(ctx, user)
	if err != nil {
		return nil, err
	}
	u := &unwanted{read}
	if s.changes.now() == before {
		s.unwanted.Put(user, u)
	}
	return u, nil
}

// A thread is its root; without one, the main timeline.
type thread struct {
	id  matrix.EventID
	nid int64
}

// wholeRoom stands for all threads.
var wholeRoom = thread{nid: storage.WholeRoom}

// threadOf is the thread that an event is in. One whose root is not known here
// is none.
func (s *Service) threadOf(ctx context.Context, e *storage.Event) (thread, error) {
	relation := e.Relation()
	if relation == nil {
		return thread{}, nil
	}
	// Events that relate to the same one in the same way are in the same thread.
	key := relation.Parent
	if relation.Type != "m.thread" {
		key = "~" + key
	}
	if known, ok := s.threads.Get(key); ok {
		return known, nil
	}
	root, err := s.Rooms.Thread(ctx, e)
	if err != nil {
		return thread{}, err
	}
	found, err := s.rootOf(ctx, e.RoomNID, root)
	if err != nil {
		return thread{}, err
	}
	if found.nid != 0 || root == "" { // an unknown root may come yet
		s.threads.Put(key, found)
	}
	return found, nil
}

// rootOf is the thread with that root in a room.
func (s *Service) rootOf(ctx context.Context, room int64, root matrix.EventID) (thread, error) {
	if root == "" {
		return thread{}, nil
	}
	e, err := s.Store.Events.ByID(ctx, root)
	if isMissing(err) || err == nil && e.RoomNID != room {
		return thread{}, nil
	}
	if err != nil {
		return thread{}, err
	}
	return thread{e.ID, e.NID}, nil
}

// subscribersOf is the numbers of those who follow a thread.
func (s *Service) subscribersOf(ctx context.Context, root int64) (map[int64]bool, error) {
	if known, ok := s.subscribers.Get(root); ok {
		return known, nil
	}
	before := s.changes.now()
	nids, err := s.Threads.Subscribers(ctx, root)
	if err != nil {
		return nil, err
	}
	found := make(map[int64]bool, len(nids))
	for _, nid := range nids {
		found[nid] = true
	}
	if s.changes.now() == before {
		s.subscribers.Put(root, found)
	}
	return found, nil
}
