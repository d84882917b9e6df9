package unread

import (
	"context"
	"encoding/json"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A Count is how much is unread.
type Count struct {
	Notifications int64 `json:"notification_count"`
	Highlights    int64 `json:"highlight_count"`
}

// A Room is what a user has not read in a room.
type Room struct {
	Main    Count                    // of the main timeline
	Threads map[matrix.EventID]Count // of threads with something unread, by their roots
	// Changed is a position behind which nothing of this has changed.
	Changed int64
}

// Total is the sum of all threads.
func (r *Room) Total() Count {
	sum := r.Main
	for _, c := range r.Threads {
		sum.Notifications += c.Notifications
		sum.Highlights += c.Highlights
	}
	return sum
}

// tally is what is unread of one thread.
type tally struct {
	Count
	root   matrix.EventID
	newest int64 // position of the newest notification
}

// account is what a user has not read, by rooms and the roots of threads.
type account struct {
	rooms map[int64]map[int64]*tally
	// unsure are steps with marks whose effect shows only in the database.
	unsure map[*step]bool
	// changed is where a step has last changed the counts of a room; of other
	// rooms they may be as new as since.
	changed map[int64]int64
	since   int64
}

func newAccount() *account {
	return &account{rooms: map[int64]map[int64]*tally{}, unsure: map[*step]bool{}, changed: map[int64]int64{}}
}

func (a *account) size() int { return 1 + len(a.rooms) }

// A step is what a part of the stream has changed.
type step struct {
	upTo int64
	ops  []op
	// redacted is the positions of events that notify nobody any more.
	redacted []int64
	live     int // operations that are to be stored
}

func (st *step) weight() int { return st.live + len(st.redacted) }

// An op is a notification, or a mark: all in a thread up to a position is read.
type op struct {
	user     *resident
	room     int64
	thread   thread // for marks also [storage.WholeRoom]
	position int64
	news     *news // nil for a mark
	actions  json.RawMessage

	highlight bool
	uncounted bool // of a room that the user is not in: an invite
	invited   bool // a mark that takes in an invite, which is not counted
	// void: what notified was read before it was stored. It is not stored.
	void bool
}

// news is what the notifications of one event have in common.
type news struct {
	event int64 // its number
	ts    int64 // when it was held against rules, Unix ms
}

func (o *op) notification() storage.Notification {
	return storage.Notification{
		UserNID: o.user.nid, Position: o.position, RoomNID: o.room, EventNID: o.news.event, ThreadNID: o.thread.nid,
		Highlight: o.highlight, TS: o.news.ts, Actions: o.actions,
	}
}

// A fresh notification is one that is not on its way to the database yet.
type fresh struct {
	step *step
	op   *op
}

// A spot is what is fresh for a user in a room, the oldest first. It is gone once
// there is nothing.
type spot struct {
	list []fresh
	gone bool
}

// spot is what is fresh for a user in a room, or nil.
func (s *Service) spot(user *resident, room int64) *spot {
	if user.spot == nil || user.spot.gone {
		user.spot = s.fresh[place{user.nid, room}]
	}
	return user.spot
}

// freshen adds a notification to what is fresh.
func (s *Service) freshen(st *step, o *op) {
	at := s.spot(o.user, o.room)
	if at == nil {
		at = new(spot)
		o.user.spot, s.fresh[place{o.user.nid, o.room}] = at, at
	}
	at.list = append(at.list, fresh{st, o})
}

// keepFresh sets what is still fresh for a user in a room.
func (s *Service) keepFresh(user *resident, room int64, at *spot, list []fresh) {
	if at.list = list; len(list) == 0 {
		at.gone = true
		delete(s.fresh, place{user.nid, room})
	}
}

// apply changes the counts as an op of a step says. What it cannot tell without
// knowing the positions of all that is unread is unsure until the step is stored.
func (a *account) apply(st *step, o *op) {
	a.changed[o.room] = st.upTo
	if !a.change(o) {
		a.unsure[st] = true
	}
}

func (a *account) change(o *op) (sure bool) {
	threads := a.rooms[o.room]
	if o.news != nil {
		if o.uncounted {
			return true
		}
		if threads == nil {
			threads = map[int64]*tally{}
			a.rooms[o.room] = threads
		}
		t := threads[o.thread.nid]
		if t == nil {
			t = &tally{root: o.thread.id}
			threads[o.thread.nid] = t
		}
		t.Notifications++
		if o.highlight {
			t.Highlights++
		}
		t.newest = o.position
		return true
	}
	sure = true
	for nid, t := range threads {
		switch {
		case !o.concerns(nid):
		case t.newest <= o.position:
			delete(threads, nid)
		case t.Notifications > 1:
			sure = false
		}
	}
	if len(threads) == 0 {
		delete(a.rooms, o.room)
	}
	return sure
}

// concerns reports whether a mark is about a thread.
func (o *op) concerns(root int64) bool {
	return o.thread.nid == storage.WholeRoom || o.thread.nid == root
}

// all is how many notifications a mark takes in, if it takes in all of its
// threads; false if some are left, or if that is not known.
func (a *account) all(o *op) (n int64, known bool) {
	if len(a.unsure) > 0 {
		return 0, false
	}
	for nid, t := range a.rooms[o.room] {
		if o.concerns(nid) {
			if t.newest > o.position {
				return 0, false
			}
			n += t.Notifications
		}
	}
	return n, true
}

// replay applies those ops of a step that are the user's, in one room if it is not 0.
func (a *account) replay(st *step, user, room int64) {
	for i := range st.ops {
		o := &st.ops[i]
		if o.user.nid != user || room != 0 && o.room != room || o.void {
			continue
		}
		a.apply(st, o)
	}
}

// patience bounds how long an answer waits until what is new in it is counted
// (Client-Server API § Push Notifications, Server behaviour).
const patience = 250 * time.Millisecond

// farBehind is how many positions counting can be behind so that an answer still
// waits for it.
const farBehind = 200

// Counts is what a user has not read in a room, by its number, with all that
// happened up to a position. If counting is far behind, it is what was counted
// so far, and the user's clients are woken later.
func (s *Service) Counts(ctx context.Context, user matrix.UserID, room, position int64) (Room, error) {
	a, err := s.counted(ctx, user, position)
	if err != nil {
		return Room{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Room{Changed: max(a.changed[room], a.since)}
	for nid, t := range a.rooms[room] {
		if nid == 0 {
			r.Main = t.Count
			continue
		}
		if r.Threads == nil {
			r.Threads = map[matrix.EventID]Count{}
		}
		r.Threads[t.root] = t.Count
	}
	return r, nil
}

// Badge is how many notifications a user has not read, and in how many rooms.
func (s *Service) Badge(ctx context.Context, user matrix.UserID) (notifications, rooms int64, err error) {
	a, err := s.counted(ctx, user, 0)
	if err != nil {
		return 0, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, threads := range a.rooms {
		rooms++
		for _, t := range threads {
			notifications += t.Notifications
		}
	}
	return notifications, rooms, nil
}

// counted waits, not for long, until everything up to a position is counted
// for a user.
func (s *Service) counted(ctx context.Context, user matrix.UserID, position int64) (*account, error) {
	var timer *time.Timer
	for {
		a, err := s.account(ctx, user)
		if err != nil {
			return nil, err
		}
		moved, done := s.settled(a, position)
		if done {
			return a, nil
		}
		if s.behind(position) {
			s.owe(user)
			return a, nil
		}
		if timer == nil {
			timer = time.NewTimer(patience)
			defer timer.Stop()
		}
		select {
		case <-moved:
		case <-timer.C:
			s.owe(user)
			return a, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// behind reports whether a position is too far away to be waited for.
func (s *Service) behind(position int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return position-s.position > farBehind || s.weight > maxPending
}

// owe has a user be told of counts later.
func (s *Service) owe(user matrix.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overdue[user] == nil {
		s.overdue[user] = map[int64]bool{}
	}
}

func (s *Service) settled(a *account, position int64) (moved <-chan struct{}, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(a.unsure) > 0 {
		s.hurry()
	}
	return s.moved, s.position >= position && len(a.unsure) == 0
}

// account is what a user has not read: from memory, or else from the database
// and what has yet to go there.
func (s *Service) account(ctx context.Context, user matrix.UserID) (*account, error) {
	if a, ok := s.accounts.Get(user); ok {
		return a, nil
	}
	nids, err := s.Store.Users.Lookup(ctx, []string{string(user)})
	if err != nil {
		return nil, err
	}
	nid := nids[string(user)]
	s.table.RLock()
	defer s.table.RUnlock()
	counts, err := s.Notifications.Counts(ctx, nid)
	if err != nil {
		return nil, err
	}
	a := newAccount()
	s.fill(ctx, a, counts)
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.accounts.Get(user); ok {
		return known, nil
	}
	for _, st := range s.pending {
		a.replay(st, nid, 0)
	}
	a.since = s.position
	s.accounts.Put(user, a)
	return a, nil
}

// fill puts counts of the database into an account.
func (s *Service) fill(ctx context.Context, a *account, counts []storage.Count) {
	for _, c := range counts {
		t := &tally{Count: Count{c.Notifications, c.Highlights}, newest: c.Newest}
		if c.ThreadNID != 0 {
			root, err := s.Store.Events.ByNID(ctx, c.ThreadNID)
			if err != nil {
				continue // the thread is no more
			}
			t.root = root.ID
		}
		if a.rooms[c.RoomNID] == nil {
			a.rooms[c.RoomNID] = map[int64]*tally{}
		}
		a.rooms[c.RoomNID][c.ThreadNID] = t
	}
}
