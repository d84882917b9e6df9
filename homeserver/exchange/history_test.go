package exchange_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/exchange"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/testkit"
)

const (
	ann = matrix.UserID("@ann:one")
	tim = matrix.UserID("@tim:three")
	zoe = matrix.UserID("@zoe:two")
)

// A house is the rooms of a server.
type house struct {
	*rooms.Service
	t     testing.TB
	store *storage.Store
	key   matrix.SigningKey
	clock int64
}

func openHouse(t testing.TB, url string, name matrix.ServerName) *house {
	t.Helper()
	h := &house{t: t, clock: 1_700_000_000_000 + rand.Int64N(1e9)}
	h.Service, h.store = open(t, url, rooms.Options{
		ServerName: name, DefaultVersion: "12", Now: func() time.Time { h.clock += 1000; return time.UnixMilli(h.clock) },
	})
	h.key = h.Key
	return h
}

// A scene is a room of server one in which much has happened when somebody of server two comes in.
type scene struct {
	*testing.T
	one, two *house
	room     matrix.RoomID
	join     *matrix.Event
	info     *storage.RoomInfo
	peers    *pastPeers
	now      time.Time
	nowMu    sync.Mutex
	history  *exchange.History
}

func newScene(t *testing.T, url string, messages int) *scene {
	t.Helper()
	s := &scene{T: t, one: openHouse(t, testkit.SQLite(t), "one"), two: openHouse(t, url, "two"), now: time.UnixMilli(1_800_000_000_000)}
	var err error
	if s.room, err = s.one.Create(t.Context(), rooms.CreateRequest{Creator: ann, Preset: "public_chat"}); err != nil {
		t.Fatal(err)
	}
	s.enter(tim)
	for i := range messages {
		req := rooms.SendRequest{Room: s.room, Sender: ann, Type: "m.room.message", Content: json.RawMessage(fmt.Sprintf(`{"body":"%d","msgtype":"m.text"}`, i))}
		if i%7 == 3 {
			req.Type, req.StateKey, req.Content = "m.room.topic", new(string), json.RawMessage(fmt.Sprintf(`{"topic":"%d"}`, i))
		}
		if _, err := s.one.Send(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	s.join = s.enter(zoe)
	s.peers = &pastPeers{scene: s, bad: map[matrix.EventID]bool{}}
	s.adopt()
	s.history = exchange.NewHistory(exchange.HistoryOptions{
		ServerName: "two", Store: s.two.store, Rooms: s.two.Service, Peers: s.peers,
		Now: func() time.Time { s.nowMu.Lock(); defer s.nowMu.Unlock(); return s.now }, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(s.history.Close)
	return s
}

func (s *scene) pass(d time.Duration) {
	s.nowMu.Lock()
	defer s.nowMu.Unlock()
	s.now = s.now.Add(d)
}

// enter has somebody of another server join the room at server one.
func (s *scene) enter(user matrix.UserID) *matrix.Event {
	s.Helper()
	e := s.event(user, "m.room.member", string(user), `{"membership":"join"}`)
	done, err := s.one.Receive(s.Context(), s.room, []rooms.Arrival{{Event: e}})
	if err != nil || done[0].Verdict != storage.Placed || len(done[0].Missing) > 0 {
		s.Fatalf("%s joins: %+v, %v", user, done, err)
	}
	return e
}

// event is an event after all that server one knows.
func (s *scene) event(sender matrix.UserID, typ, key, content string) *matrix.Event {
	s.Helper()
	info, err := s.one.Info(s.Context(), s.room)
	if err != nil {
		s.Fatal(err)
	}
	head, err := s.one.store.Rooms.Head(s.Context(), info.NID)
	if err != nil {
		s.Fatal(err)
	}
	now, err := s.one.Head(s.Context(), info.NID)
	if err != nil {
		s.Fatal(err)
	}
	template := matrix.EventTemplate{
		RoomID: s.room, Sender: sender, Type: typ, StateKey: &key, Content: json.RawMessage(content), OriginServerTS: s.one.clock + 1,
		PrevEvents: head.Extremities, Depth: head.Depth + 1,
	}
	for _, needed := range eventauth.NeededFor(info.Version, template) {
		e, err := now.Event(s.Context(), needed.Type, needed.Key)
		if err != nil {
			s.Fatal(err)
		}
		if e != nil {
			template.AuthEvents = append(template.AuthEvents, e.ID)
		}
	}
	e, err := template.Build(info.Version, sender.Server(), s.one.key)
	if err != nil {
		s.Fatal(err)
	}
	return e
}

func (s *scene) adopt() {
	s.Helper()
	state, auth, err := s.peers.before(s.join.ID)
	if err != nil {
		s.Fatal(err)
	}
	v, _ := roomversion.Lookup("12")
	if err := s.two.Adopt(s.Context(), rooms.Adoption{Room: s.room, Version: v, Join: s.join, State: state, Auth: auth}); err != nil {
		s.Fatal(err)
	}
	if s.info, err = s.two.Info(s.Context(), s.room); err != nil {
		s.Fatal(err)
	}
}

// there is the events of the room that a server has, in order.
func (s *scene) there(h *house) []*storage.Event {
	s.Helper()
	info, err := h.Info(s.Context(), s.room)
	if err != nil {
		s.Fatal(err)
	}
	events, err := h.store.Events.Forward(s.Context(), info.NID, math.MinInt64, math.MaxInt64, 10_000)
	if err != nil {
		s.Fatal(err)
	}
	return events
}

// same holds what the two servers have of the room against each other.
func (s *scene) same() {
	s.Helper()
	want, got := s.there(s.one), s.there(s.two)
	if len(want) != len(got) {
		s.Fatalf("%d events are there, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].ID != want[i].ID {
			s.Fatalf("event %d is %s, want %s", i, got[i].ID, want[i].ID)
		}
		if a, b := s.stateAt(s.one, want[i]), s.stateAt(s.two, got[i]); !maps.Equal(a, b) {
			s.Fatalf("the state after event %d is %v, want %v", i, b, a)
		}
	}
}

func (s *scene) stateAt(h *house, e *storage.Event) map[matrix.EventID]bool {
	s.Helper()
	state, err := h.At(s.Context(), e.RoomNID, e.After())
	if err != nil {
		s.Fatal(err)
	}
	events, err := state.Events(s.Context(), nil)
	if err != nil {
		s.Fatal(err)
	}
	ids := map[matrix.EventID]bool{}
	for _, e := range events {
		ids[e.ID] = true
	}
	return ids
}

// pastPeers is server one, and server three that knows as much, as server two asks them. What a test sets is done instead.
type pastPeers struct {
	*scene
	bad      map[matrix.EventID]bool // these are not signed as they have to be
	backfill func(ctx context.Context, server matrix.ServerName, from []matrix.EventID, limit int) ([]*matrix.Event, error)
	stateIDs func(id matrix.EventID) (state, auth []matrix.EventID, err error)
	nearest  func(ts int64, backward bool) (matrix.EventID, int64, error)

	mu    sync.Mutex
	asked []matrix.ServerName // for the past
}

var errAway = errors.New("the server is away")

func (p *pastPeers) Backfill(
	ctx context.Context, server matrix.ServerName, _ *roomversion.Version, _ matrix.RoomID, from []matrix.EventID, limit int,
) ([]*matrix.Event, error) {
	p.mu.Lock()
	p.asked = append(p.asked, server)
	p.mu.Unlock()
	if p.backfill != nil {
		return p.backfill(ctx, server, from, limit)
	}
	return p.past(from, limit)
}

// past is what came before some events, those included, newest first.
func (p *pastPeers) past(from []matrix.EventID, limit int) ([]*matrix.Event, error) {
	seen := map[matrix.EventID]bool{}
	var list []*matrix.Event
	for len(from) > 0 && len(list) < limit {
		id := from[0]
		from = from[1:]
		if seen[id] {
			continue
		}
		seen[id] = true
		e, err := p.one.store.Events.ByID(context.Background(), id)
		if err != nil {
			return nil, err
		}
		list = append(list, e.Event)
		from = slices.Concat(from, e.PrevEvents)
	}
	return list, nil
}

// before is the state before an event, and what authorizes it.
func (p *pastPeers) before(id matrix.EventID) (state, auth []*matrix.Event, err error) {
	ctx := context.Background()
	e, err := p.one.store.Events.ByID(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	all := map[matrix.EventID]*matrix.Event{}
	for _, prev := range e.PrevEvents { // one after the other, so that there is one
		before, err := p.one.store.Events.ByID(ctx, prev)
		if err != nil {
			return nil, nil, err
		}
		snapshot, err := p.one.At(ctx, before.RoomNID, before.After())
		if err != nil {
			return nil, nil, err
		}
		events, err := snapshot.Events(ctx, nil)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range events {
			state = append(state, e.Event)
			all[e.ID] = e.Event
		}
	}
	for next := slices.Clone(state); len(next) > 0; next = next[1:] {
		for _, id := range next[0].AuthEvents {
			if all[id] == nil {
				e, err := p.one.store.Events.ByID(ctx, id)
				if err != nil {
					return nil, nil, err
				}
				all[id] = e.Event
				auth, next = append(auth, e.Event), append(next, e.Event)
			}
		}
	}
	return state, auth, nil
}

func (p *pastPeers) State(_ context.Context, _ matrix.ServerName, _ *roomversion.Version, _ matrix.RoomID, id matrix.EventID) (state, auth []*matrix.Event, err error) {
	return p.before(id)
}

func (p *pastPeers) StateIDs(_ context.Context, _ matrix.ServerName, _ matrix.RoomID, id matrix.EventID) (state, auth []matrix.EventID, err error) {
	if p.stateIDs != nil {
		return p.stateIDs(id)
	}
	return p.idsBefore(id)
}

func (p *pastPeers) idsBefore(id matrix.EventID) (state, auth []matrix.EventID, err error) {
	events, chain, err := p.before(id)
	for _, e := range events {
		state = append(state, e.ID)
	}
	for _, e := range chain {
		auth = append(auth, e.ID)
	}
	return state, auth, err
}

func (p *pastPeers) Event(_ context.Context, _ matrix.ServerName, _ *roomversion.Version, _ matrix.RoomID, id matrix.EventID) (*matrix.Event, error) {
	e, err := p.one.store.Events.ByID(context.Background(), id)
	if err != nil {
		return nil, err
	}
	return e.Event, nil
}

func (p *pastPeers) TimestampToEvent(_ context.Context, _ matrix.ServerName, _ matrix.RoomID, ts int64, backward bool) (matrix.EventID, int64, error) {
	if p.nearest != nil {
		return p.nearest(ts, backward)
	}
	e, err := p.one.Nearest(context.Background(), p.room, ann, ts, backward)
	if err != nil {
		return "", 0, err
	}
	return e.ID, e.OriginServerTS, nil
}

func (p *pastPeers) Verified(_ context.Context, events []*matrix.Event) ([]*matrix.Event, error) {
	return slices.DeleteFunc(slices.Clone(events), func(e *matrix.Event) bool { return p.bad[e.ID] }), nil
}

func (p *pastPeers) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

// all fetches until there is no more.
func (s *scene) all() (fetches int) {
	s.Helper()
	for {
		got, more, err := s.history.Fetch(s.Context(), s.info, 1)
		if err != nil {
			s.Fatal(err)
		}
		fetches++
		if !more {
			if !got {
				s.Fatal("nothing came")
			}
			return fetches
		}
		if fetches > 100 {
			s.Fatal("there is no end")
		}
	}
}

func TestHistoryIsFetchedToItsBeginning(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newScene(t, url, 250)
		if n := s.all(); n != 3 {
			t.Errorf("it took %d fetches", n)
		}
		s.same()
		if s.peers.asked[0] != "one" {
			t.Errorf("%s is asked first, and not the server of who made the room", s.peers.asked[0])
		}
		asked := s.peers.count()
		if got, more, err := s.history.Fetch(t.Context(), s.info, 10); got || more || err != nil || s.peers.count() != asked {
			t.Errorf("at the beginning there is %t, %t, %v, after %d questions", got, more, err, s.peers.count()-asked)
		}
	})
}

func TestOneFetchOfARoomAtOnce(t *testing.T) {
	s := newScene(t, testkit.SQLite(t), 20)
	asked, answer := make(chan bool, 10), make(chan bool)
	s.peers.backfill = func(_ context.Context, _ matrix.ServerName, from []matrix.EventID, limit int) ([]*matrix.Event, error) {
		asked <- true
		<-answer
		return s.peers.past(from, limit)
	}
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if got, more, err := s.history.Fetch(t.Context(), s.info, 10); !got && s.peers.count() == 0 || more || err != nil {
				t.Errorf("%t, %t, %v", got, more, err)
			}
		})
	}
	<-asked
	// Who cannot wait learns that there may be more, and has it when they come again.
	soon, cancel := context.WithCancel(t.Context())
	cancel()
	if got, more, err := s.history.Fetch(soon, s.info, 10); got || !more || err != nil {
		t.Errorf("before the answer it is %t, %t, %v", got, more, err)
	}
	close(answer)
	all.Wait()
	if n := s.peers.count(); n != 1 {
		t.Errorf("the servers are asked %d times", n)
	}
	s.same()
}

func TestServersThatDoNotAnswerAreLeftAlone(t *testing.T) {
	s := newScene(t, testkit.SQLite(t), 20)
	s.peers.backfill = func(context.Context, matrix.ServerName, []matrix.EventID, int) ([]*matrix.Event, error) {
		return nil, errAway
	}
	questions := 0
	for i, wait := range []time.Duration{0, time.Second, 30 * time.Second, 31 * time.Second, 30 * time.Second, 119 * time.Second} {
		s.pass(wait)
		got, more, err := s.history.Fetch(t.Context(), s.info, 10)
		if got || more || err != nil {
			t.Errorf("%t, %t, %v", got, more, err)
		}
		if i == 0 || i == 2 || i == 4 {
			questions += 2
		}
		if n := s.peers.count(); n != questions {
			t.Fatalf("after step %d servers were asked %d times, want %d", i, n, questions)
		}
	}
	s.peers.backfill = func(_ context.Context, server matrix.ServerName, from []matrix.EventID, limit int) ([]*matrix.Event, error) {
		if server == "one" {
			return nil, errAway
		}
		return s.peers.past(from, limit)
	}
	s.pass(time.Hour)
	s.all()
	s.same()
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	s := newScene(t, testkit.SQLite(t), 5)
	asked := make(chan bool, 1)
	s.peers.backfill = func(ctx context.Context, _ matrix.ServerName, _ []matrix.EventID, _ int) ([]*matrix.Event, error) {
		asked <- true
		<-ctx.Done()
		return nil, ctx.Err()
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		_, _, _ = s.history.Fetch(context.Background(), s.info, 10)
	}()
	<-asked
	s.history.Close()
	<-done
	if got, more, err := s.history.Fetch(t.Context(), s.info, 10); got || more || err != nil {
		t.Errorf("after that it is %t, %t, %v", got, more, err)
	}
	if n := s.peers.count(); n != 1 {
		t.Errorf("%d servers were asked", n)
	}
}

// TestHostileHistory has servers answer what nobody should: nothing of it gets in, and another server, or the same one later, is believed.
func TestHostileHistory(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newScene(t, url, 60)
		stranger := s.event("@eve:evil", "m.room.message", "x", `{"body":"evil"}`)
		other := newScene(t, testkit.SQLite(t), 3)
		lies := map[string]func(from []matrix.EventID, limit int) ([]*matrix.Event, error){
			"events that nobody comes after": func([]matrix.EventID, int) ([]*matrix.Event, error) {
				return []*matrix.Event{stranger, s.join, s.there(s.one)[3].Event}, nil
			},
			"another room": func([]matrix.EventID, int) ([]*matrix.Event, error) {
				return other.peers.past([]matrix.EventID{other.join.ID}, 50)
			},
			"a gap": func(from []matrix.EventID, limit int) ([]*matrix.Event, error) {
				events, err := s.peers.past(from, limit)
				return events[1:], err
			},
			"nothing": func([]matrix.EventID, int) ([]*matrix.Event, error) { return nil, nil },
		}
		for what, lie := range lies {
			s.peers.backfill = func(_ context.Context, _ matrix.ServerName, from []matrix.EventID, limit int) ([]*matrix.Event, error) {
				return lie(from, limit)
			}
			s.pass(2 * time.Hour)
			if got, more, err := s.history.Fetch(t.Context(), s.info, 10); got || more || err != nil {
				t.Errorf("%s: %t, %t, %v", what, got, more, err)
			}
		}
		s.peers.backfill = func(_ context.Context, _ matrix.ServerName, from []matrix.EventID, limit int) ([]*matrix.Event, error) {
			events, err := s.peers.past(from, 30)
			return slices.Concat([]*matrix.Event{stranger}, events, events), err
		}
		states := map[string]func(matrix.EventID) (state, auth []matrix.EventID, err error){
			"no state": func(matrix.EventID) (state, auth []matrix.EventID, err error) { return nil, nil, nil },
			"no such state": func(matrix.EventID) (state, auth []matrix.EventID, err error) {
				return []matrix.EventID{"$none", "$nil"}, nil, nil
			},
			"is away": func(matrix.EventID) (state, auth []matrix.EventID, err error) { return nil, nil, errAway },
			"of another one": func(matrix.EventID) (state, auth []matrix.EventID, err error) {
				return other.peers.idsBefore(other.join.ID)
			},
		}
		for what, lie := range states {
			s.peers.stateIDs = lie
			s.pass(2 * time.Hour)
			if got, more, err := s.history.Fetch(t.Context(), s.info, 10); got || more || err != nil {
				t.Errorf("%s: %t, %t, %v", what, got, more, err)
			}
		}
		if events := s.there(s.two); len(events) != 1 {
			t.Fatalf("%d events got in", len(events))
		}
		// What is not signed is not there, and what lies before it waits.
		s.peers.stateIDs = nil
		forged := s.there(s.one)[50]
		s.peers.bad[forged.ID] = true
		s.pass(2 * time.Hour)
		if got, more, err := s.history.Fetch(t.Context(), s.info, 10); !got || !more || err != nil {
			t.Errorf("with one that is forged: %t, %t, %v", got, more, err)
		}
		if events := s.there(s.two); events[0].ID != s.there(s.one)[51].ID {
			t.Errorf("the oldest of %d events is another one", len(events))
		}
		delete(s.peers.bad, forged.ID)
		s.all()
		s.same()
	})
}

func TestReach(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newScene(t, url, 600)
		events := s.there(s.one)
		target := events[len(events)-300]
		for _, within := range []int64{0, 1} {
			if got, err := s.history.Reach(t.Context(), s.info, target.OriginServerTS+1, true, within); got || err != nil {
				t.Errorf("though there is one that is as close: %t, %v", got, err)
			}
		}
		if n := s.peers.count(); n != 0 {
			t.Errorf("%d times the past is asked for", n)
		}
		if got, err := s.history.Reach(t.Context(), s.info, target.OriginServerTS+1, true, math.MaxInt64); !got || err != nil {
			t.Errorf("%t, %v", got, err)
		}
		found, err := s.two.Nearest(t.Context(), s.room, zoe, target.OriginServerTS+1, true)
		if err != nil || found.ID != target.ID {
			t.Errorf("found %v, %v", found, err)
		}
		// Nobody is made to read the whole room for an event that there is not.
		asked := s.peers.count()
		s.peers.nearest = func(ts int64, _ bool) (matrix.EventID, int64, error) { return "$none", ts, nil }
		s.peers.backfill = func(_ context.Context, _ matrix.ServerName, from []matrix.EventID, _ int) ([]*matrix.Event, error) {
			return s.peers.past(from, 5)
		}
		if got, err := s.history.Reach(t.Context(), s.info, 5, false, math.MaxInt64); !got || err != nil {
			t.Errorf("%t, %v", got, err)
		}
		if n := s.peers.count() - asked; n != 4 {
			t.Errorf("%d times the past is asked for", n)
		}
	})
}

// TestWhatHasComeIsNotAskedFor has events of the past arrive as if they were new: others are asked for what was before them.
func TestWhatHasComeIsNotAskedFor(t *testing.T) {
	s := newScene(t, testkit.SQLite(t), 30)
	events := s.there(s.one)
	for _, e := range []*storage.Event{events[len(events)-2], events[len(events)-3]} {
		state, _, err := s.peers.idsBefore(e.ID) // which is known: the server was told of it when it came in
		if err != nil {
			t.Fatal(err)
		}
		if done, err := s.two.Receive(t.Context(), s.room, []rooms.Arrival{{Event: e.Event, State: state}}); err != nil || done[0].Verdict != storage.Placed {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	s.peers.backfill = func(_ context.Context, _ matrix.ServerName, from []matrix.EventID, limit int) ([]*matrix.Event, error) {
		if len(from) != 1 || from[0] != events[len(events)-4].ID {
			t.Errorf("others are asked from %v on", from)
		}
		return s.peers.past(from, limit)
	}
	s.all()
	if n := len(s.there(s.two)); n != len(events) {
		t.Errorf("%d events are there, want %d", n, len(events))
	}
}

func TestNobodyIsAskedAboutARoomThatWasLeft(t *testing.T) {
	s := newScene(t, testkit.SQLite(t), 5)
	if _, err := s.two.Send(t.Context(), rooms.SendRequest{
		Room: s.room, Sender: zoe, Type: "m.room.member", StateKey: ptr(string(zoe)), Content: json.RawMessage(`{"membership":"leave"}`),
	}); err != nil {
		t.Fatal(err)
	}
	got, more, err := s.history.Fetch(t.Context(), s.info, 10)
	if got || more || err != nil || s.peers.count() > 0 {
		t.Errorf("%t, %t, %v, after %d questions", got, more, err, s.peers.count())
	}
	if got, err := s.history.Reach(t.Context(), s.info, 0, false, math.MaxInt64); got || err != nil || s.peers.count() > 0 {
		t.Errorf("%t, %v, after %d questions", got, err, s.peers.count())
	}
}

func ptr(s string) *string { return &s }
