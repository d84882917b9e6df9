package unread

import (
	"context"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A write is some steps on their way into the database.
type write struct {
	*Service
	steps    []*step
	upTo     int64
	inserted []storage.Notification
	added    map[place]map[int64]*storage.Count // by thread
	marks    []storage.ReadMark
	redacted []int64
	// recount is where counts have to be made anew; asked is those of which the
	// result is needed in memory.
	recount map[place]bool
	asked   map[place]bool
	results map[place][]storage.Count
}

// store writes the oldest steps that are not in the database yet, and says how
// long to leave the database to others then.
func (s *Service) store(ctx context.Context) (pause time.Duration, err error) {
	// From here on what is read of the table and what is pending would not fit
	// together.
	s.table.Lock()
	defer s.table.Unlock()
	w := &write{Service: s, steps: s.batch(), added: map[place]map[int64]*storage.Count{}, recount: map[place]bool{}}
	if len(w.steps) == 0 {
		return 0, nil
	}
	for _, st := range w.steps {
		w.add(st)
	}
	w.asked = w.unsure()
	turn, err := s.Store.DB.Background(ctx, func(tx *database.Tx) error { return w.run(ctx, tx) })
	if err != nil {
		return 0, err
	}
	s.portion.Took(w.size(), turn.Took)
	w.settle(ctx)
	return turn.Rest(), nil
}

func (w *write) size() (n int) {
	for _, st := range w.steps {
		n += st.weight()
	}
	return n
}

func (w *write) add(st *step) {
	w.upTo = st.upTo
	w.redacted = append(w.redacted, st.redacted...)
	for i := range st.ops {
		o := &st.ops[i]
		at := place{o.user.nid, o.room}
		if o.void {
			continue
		}
		if o.news == nil {
			w.marks = append(w.marks, storage.ReadMark{UserNID: o.user.nid, RoomNID: o.room, ThreadNID: o.thread.nid, UpTo: o.position})
			w.recount[at] = true
			continue
		}
		w.inserted = append(w.inserted, o.notification())
		if o.uncounted {
			continue
		}
		if w.added[at] == nil {
			w.added[at] = map[int64]*storage.Count{}
		}
		c := w.added[at][o.thread.nid]
		if c == nil {
			c = &storage.Count{UserNID: o.user.nid, RoomNID: o.room, ThreadNID: o.thread.nid}
			w.added[at][o.thread.nid] = c
		}
		c.Notifications++
		if o.highlight {
			c.Highlights++
		}
		c.Newest = o.position
	}
}

// unsure is where memory needs to know what the marks have left unread.
func (w *write) unsure() map[place]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := map[place]bool{}
	for _, st := range w.steps {
		for i := range st.ops {
			o := &st.ops[i]
			if a, ok := w.accounts.Get(o.user.id); ok && o.news == nil && !o.void && a.unsure[st] {
				asked[place{o.user.nid, o.room}] = true
			}
		}
	}
	return asked
}

// run may run more than once.
func (w *write) run(ctx context.Context, tx *database.Tx) error {
	w.results = map[place][]storage.Count{}
	if len(w.inserted) > 0 {
		if err := w.Notifications.Insert(ctx, tx, w.inserted); err != nil {
			return err
		}
	}
	recount, asked := w.recount, w.asked
	for _, position := range w.redacted {
		told, err := w.Notifications.UnreadAt(ctx, tx, position)
		if err != nil {
			return err
		}
		for _, n := range told {
			recount[place{n.UserNID, n.RoomNID}], asked[place{n.UserNID, n.RoomNID}] = true, true
		}
		if err := w.Notifications.DeleteAt(ctx, tx, position); err != nil {
			return err
		}
	}
	var counts []storage.Count
	for at, threads := range w.added {
		for _, c := range threads {
			if !recount[at] {
				counts = append(counts, *c)
			}
		}
	}
	if len(counts) > 0 {
		if err := w.Notifications.Add(ctx, tx, counts); err != nil {
			return err
		}
	}
	for _, m := range w.marks {
		if err := w.Notifications.Mark(ctx, tx, m); err != nil {
			return err
		}
	}
	if err := w.count(ctx, tx, recount, asked); err != nil {
		return err
	}
	return w.Notifications.Advance(ctx, tx, w.upTo)
}

func (w *write) count(ctx context.Context, tx *database.Tx, recount, asked map[place]bool) error {
	for at := range recount {
		if err := w.Notifications.Recount(ctx, tx, at.user, at.room); err != nil {
			return err
		}
		if !asked[at] {
			continue
		}
		counts, err := w.Notifications.CountsIn(ctx, tx, at.user, at.room)
		if err != nil {
			return err
		}
		w.results[at] = counts
	}
	return nil
}

// settle takes what was stored out of memory, and what was counted in.
func (w *write) settle(ctx context.Context) {
	var nids []int64
	for at := range w.results {
		nids = append(nids, at.user)
	}
	users := map[int64]matrix.UserID{}
	names, err := w.Store.Users.Names(ctx, nids)
	if err != nil {
		// What is stored must not be stored again: memory starts anew instead.
		w.Log.ErrorContext(ctx, "whose notifications were counted", "err", err)
		w.accounts.Clear()
	}
	for i := range names {
		users[nids[i]] = matrix.UserID(names[i])
	}
	counted := map[place]*account{}
	for at, counts := range w.results {
		counted[at] = newAccount()
		w.fill(ctx, counted[at], counts)
	}
	for user, rooms := range w.replace(users, counted) {
		w.Notifier.CountsChanged(user, rooms)
	}
	if told := w.told(users); len(told) > 0 {
		w.Stored(told)
	}
}

// replace returns the rooms of users who have to be told of their counts.
func (w *write) replace(users map[int64]matrix.UserID, counted map[place]*account) map[matrix.UserID][]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = w.pending[len(w.steps):]
	for _, st := range w.steps {
		w.weight -= st.weight()
		for i := range st.ops {
			if a, ok := w.accounts.Get(st.ops[i].user.id); ok {
				delete(a.unsure, st)
			}
		}
	}
	late := map[matrix.UserID][]int64{}
	for at, fresh := range counted {
		user := users[at.user]
		a, ok := w.accounts.Get(user)
		if !ok {
			continue
		}
		delete(a.rooms, at.room)
		if threads := fresh.rooms[at.room]; threads != nil {
			a.rooms[at.room] = threads
		}
		for _, st := range w.pending {
			a.replay(st, at.user, at.room)
		}
		if w.overdue[user] != nil || len(w.redacted) > 0 {
			late[user] = append(late[user], at.room)
		}
	}
	w.announce()
	return late
}

// told is the users who have new notifications, or have read some, and those
// who were counted for anew.
func (w *write) told(counted map[int64]matrix.UserID) (list []matrix.UserID) {
	seen := map[int64]bool{}
	for _, st := range w.steps {
		for i := range st.ops {
			if o := &st.ops[i]; !seen[o.user.nid] {
				seen[o.user.nid] = true
				list = append(list, o.user.id)
			}
		}
	}
	for nid, user := range counted {
		if !seen[nid] {
			list = append(list, user)
		}
	}
	return list
}
