package unread_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"trestle/homeserver/storage"
	"trestle/homeserver/unread"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// A model knows the position of everything that is unread.
type model map[matrix.UserID]map[int64][]notified

type notified struct {
	position  int64
	thread    matrix.EventID // empty: the main timeline
	highlight bool
}

func (m model) drop(user matrix.UserID, room int64, which func(notified) bool) {
	m[user][room] = slices.DeleteFunc(m[user][room], which)
}

func (m model) counts(user matrix.UserID, room int64) string {
	var r unread.Room
	for _, n := range m[user][room] {
		c := r.Main
		if n.thread != "" {
			c = r.Threads[n.thread]
		}
		c.Notifications++
		if n.highlight {
			c.Highlights++
		}
		switch {
		case n.thread == "":
			r.Main = c
		case r.Threads == nil:
			r.Threads = map[matrix.EventID]unread.Count{n.thread: c}
		default:
			r.Threads[n.thread] = c
		}
	}
	return describe(r)
}

// A story is what people do at random, in a town and in the model.
type story struct {
	*town
	*rand.Rand
	model  model
	users  []matrix.UserID
	rooms  []*house
	latest string
}

type house struct {
	id      matrix.RoomID
	nid     int64
	in      map[matrix.UserID]bool
	events  []*storage.Event
	threads map[matrix.EventID]matrix.EventID // of events
	roots   []matrix.EventID
}

func (s *story) message(h *house) {
	sender := s.users[s.IntN(len(s.users))]
	if !h.in[sender] {
		return
	}
	content := map[string]any{"msgtype": "m.text", "body": "x"}
	var in matrix.EventID
	if len(h.roots) > 0 && s.IntN(2) == 0 {
		in = h.roots[s.IntN(len(h.roots))]
		content["m.relates_to"] = map[string]any{"rel_type": "m.thread", "event_id": in}
	}
	mentioned := s.users[s.IntN(len(s.users))]
	if s.IntN(3) == 0 {
		content["m.mentions"] = map[string]any{"user_ids": []matrix.UserID{mentioned}}
	} else {
		mentioned = ""
	}
	e := s.send(h.id, sender, "m.room.message", content, "")
	h.events, h.threads[e.ID] = append(h.events, e), in
	if in == "" && len(h.roots) < 3 {
		h.roots = append(h.roots, e.ID)
	}
	for user := range h.in {
		if h.in[user] && user != sender {
			s.model[user][h.nid] = append(s.model[user][h.nid], notified{e.Position, in, user == mentioned})
		}
	}
	s.model.drop(sender, h.nid, func(n notified) bool { return n.thread == in && n.position <= e.Position })
	s.latest = fmt.Sprintf("%s says something in thread %q", sender, in)
}

func (s *story) receipt(h *house) {
	user := s.users[s.IntN(len(s.users))]
	if len(h.events) == 0 || !h.in[user] {
		return
	}
	e := h.events[s.IntN(len(h.events))]
	in := h.threads[e.ID]
	thread := string(in)
	if in == "" {
		thread = "main"
	}
	whole := s.IntN(2) == 0
	if whole {
		thread = ""
	}
	s.read(user, []string{"m.read", "m.read.private"}[s.IntN(2)], e, thread)
	s.model.drop(user, h.nid, func(n notified) bool { return (whole || n.thread == in) && n.position <= e.Position })
	s.latest = fmt.Sprintf("%s reads up to %d in thread %q", user, e.Position, thread)
}

func (s *story) redact(h *house) {
	if len(h.events) == 0 {
		return
	}
	e := h.events[s.IntN(len(h.events))]
	if !h.in[e.Sender] || slices.Contains(h.roots, e.ID) {
		return
	}
	// What is redacted before it was looked at is in no thread that anybody knows.
	s.check()
	redaction := s.send(h.id, e.Sender, "m.room.redaction", map[string]any{"redacts": e.ID}, e.ID)
	for _, user := range s.users {
		s.model.drop(user, h.nid, func(n notified) bool { return n.position == e.Position })
	}
	s.model.drop(e.Sender, h.nid, func(n notified) bool { return n.thread == "" && n.position <= redaction.Position })
	h.events = slices.DeleteFunc(h.events, func(other *storage.Event) bool { return other == e })
	s.latest = fmt.Sprintf("%s redacts %d", e.Sender, e.Position)
}

func (s *story) move(h *house) {
	user := s.users[1+s.IntN(len(s.users)-1)]
	if h.in[user] {
		s.leave(h.id, user)
	} else {
		s.join(h.id, user)
	}
	h.in[user] = !h.in[user]
	s.model.drop(user, h.nid, func(notified) bool { return true })
	s.latest = fmt.Sprintf("%s moves", user)
}

// check compares all counts. Some are right a little later: what was redacted,
// and whatever takes longer than an answer waits.
func (s *story) check() {
	s.Helper()
	for _, user := range s.users {
		for _, h := range s.rooms {
			if !h.in[user] {
				continue
			}
			want := s.model.counts(user, h.nid)
			got := s.counts(user, h.nid)
			for deadline := time.Now().Add(2 * time.Minute); got != want && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				got = s.counts(user, h.nid)
			}
			if got != want {
				s.Fatalf("%s, then for %s in room %d: %s, want %s", s.latest, user, h.nid, got, want)
			}
		}
	}
}

// Whatever people do, wherever the counts are, they are right.
func TestCounts(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		town := open(t, url)
		for seed := range uint64(5) {
			s := &story{town: town, Rand: rand.New(rand.NewPCG(seed, 7)), model: model{}}
			for _, name := range "abc" {
				user := matrix.UserID(fmt.Sprintf("@%c%d:test", name, seed))
				s.users, s.model[user] = append(s.users, user), map[int64][]notified{}
			}
			for range 2 {
				h := &house{id: s.create(s.users[0]), in: map[matrix.UserID]bool{s.users[0]: true}, threads: map[matrix.EventID]matrix.EventID{}}
				info, err := s.town.rooms.Info(t.Context(), h.id)
				s.must(err)
				h.nid = info.NID
				s.rooms = append(s.rooms, h)
			}
			for range 150 {
				h := s.rooms[s.IntN(len(s.rooms))]
				switch n := s.IntN(40); {
				case n < 22:
					s.message(h)
				case n < 31:
					s.receipt(h)
				case n < 34:
					s.redact(h)
				case n < 37:
					s.move(h)
				case n < 39:
					s.unread.Forget()
				default:
					s.unread.Close()
					s.start()
				}
				if s.IntN(3) == 0 {
					s.check()
				}
			}
			s.check()
		}
	})
}

// Nobody counts for those whom nobody reads for.
func TestGhosts(t *testing.T) {
	s := open(t, testkit.SQLite(t))
	s.unread.Close()
	s.ghost = func(user matrix.UserID) bool { return user == "@ghost:test" }
	s.start()
	room := s.create("@a:test")
	s.join(room, "@ghost:test")
	s.join(room, "@b:test")
	e := s.send(room, "@a:test", "m.room.message", map[string]any{"body": "x"}, "")
	for user, want := range map[matrix.UserID]int64{"@b:test": 1, "@ghost:test": 0, "@a:test": 0} {
		r, err := s.unread.Counts(t.Context(), user, e.RoomNID, s.notifier.Position())
		if err != nil || r.Total().Notifications != want {
			t.Errorf("%s: %v, %v", user, r, err)
		}
	}
}
