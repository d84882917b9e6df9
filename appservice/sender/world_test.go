package sender_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/registration"
)

const server = "hs.example"

// A world is a stream in memory, with the rooms that follow from it.
type world struct {
	mu      sync.Mutex
	changes []sender.Change // in order of position
	head    int64
	aliases map[matrix.RoomID][]matrix.RoomAlias
	wake    func(int64)
	loads   int // of rooms
	read    int // changes, but for memberships alone
	failing int // the load of a room that fails, counted down
}

func newWorld() *world {
	return &world{aliases: map[matrix.RoomID][]matrix.RoomAlias{}, wake: func(int64) {}}
}

type text string

func (t text) AppendJSON(dst []byte) []byte { return append(dst, t...) }

// add appends a change at the next position.
func (w *world) add(c sender.Change) int64 {
	w.mu.Lock()
	w.head++
	if c.Position = w.head; c.Time == 0 {
		c.Time = time.Now().UnixMilli()
	}
	if c.Body == nil {
		c.Body = text(fmt.Sprintf(`{"event_id":"$%d","room_id":%q,"sender":%q}`, c.Position, c.Room, c.Sender))
	}
	c.Size = len(c.Body.AppendJSON(nil))
	w.changes = append(w.changes, c)
	wake, position := w.wake, w.head
	w.mu.Unlock()
	wake(position)
	return position
}

func (w *world) say(room matrix.RoomID, user matrix.UserID) int64 {
	return w.add(sender.Change{Room: room, Sender: user})
}

func (w *world) member(room matrix.RoomID, by, user matrix.UserID, membership string) int64 {
	return w.add(sender.Change{Room: room, Sender: by, Target: user, Membership: membership})
}

// skip lets positions go by that hold no change that is read here.
func (w *world) skip(n int64) {
	w.mu.Lock()
	w.head += n
	wake, position := w.wake, w.head
	w.mu.Unlock()
	wake(position)
}

func (w *world) woken(wake func(int64)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake = wake
}

func (w *world) Head(context.Context) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.head, nil
}

func (w *world) Count(_ context.Context, after, upTo int64) (n int64, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.changes {
		if c := &w.changes[i]; c.Kind == sender.Event && c.Position > after && c.Position <= upTo {
			n++
		}
	}
	return n, nil
}

func (w *world) Moves(ctx context.Context, after, upTo int64, limit int) (page []sender.Change, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.changes {
		if c.Position > after && c.Position <= upTo && c.Membership != "" && len(page) < limit {
			page = append(page, c)
		}
	}
	return page, nil
}

func (w *world) Changes(_ context.Context, after, upTo int64, limit int) ([]sender.Change, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first, _ := slices.BinarySearchFunc(w.changes, after+1, func(c sender.Change, p int64) int { return int(c.Position - p) })
	var page []sender.Change
	for _, c := range w.changes[first:] {
		if c.Position > upTo || len(page) == limit {
			break
		}
		page = append(page, c)
	}
	w.read += len(page)
	return page, nil
}

func (w *world) Room(_ context.Context, room matrix.RoomID, position int64) (sender.Room, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loads++
	if w.failing--; w.failing == 0 {
		return sender.Room{}, errors.New("the room cannot be read")
	}
	return w.room(room, position), nil
}

func (w *world) room(room matrix.RoomID, position int64) sender.Room {
	joined := map[matrix.UserID]bool{}
	for i := range w.changes {
		c := &w.changes[i]
		if c.Position > position {
			break
		}
		if c.Room == room {
			follow(joined, c)
		}
	}
	r := sender.Room{Aliases: w.aliases[room]}
	for user := range joined {
		r.Members = append(r.Members, user)
	}
	return r
}

func follow(joined map[matrix.UserID]bool, c *sender.Change) {
	switch {
	case c.Membership == "join" || c.Reset:
		joined[c.Target] = true
	case c.Membership != "":
		delete(joined, c.Target)
	}
}

// expected is the IDs of the events that a service should see, found by
// looking at everyone in the room every time.
func (w *world) expected(set *registration.Set, id string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	rooms := map[matrix.RoomID]map[matrix.UserID]bool{}
	var events []string
	for i := range w.changes {
		c := &w.changes[i]
		if rooms[c.Room] == nil {
			rooms[c.Room] = map[matrix.UserID]bool{}
		}
		follow(rooms[c.Room], c)
		seen := slices.Contains(set.RoomWatchers(c.Room), set.ByID(id))
		for user := range rooms[c.Room] {
			seen = seen || slices.Contains(set.UserWatchers(user), set.ByID(id))
		}
		for _, user := range []matrix.UserID{c.Sender, c.Target} {
			seen = seen || slices.Contains(set.UserWatchers(user), set.ByID(id))
		}
		if seen {
			events = append(events, fmt.Sprintf("$%d", c.Position))
		}
	}
	return events
}

// eventIDs reads what a fake service has got.
func eventIDs(t testing.TB, events []json.RawMessage) []string {
	t.Helper()
	var ids []string
	for _, raw := range events {
		var e struct {
			ID string `json:"event_id"`
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatalf("event %s: %v", raw, err)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

// service makes a registration of a fake service: users @<id>_….
func service(t testing.TB, id, url string) *registration.Registration {
	t.Helper()
	r := registration.Generate(id, url, id+"bot")
	r.Namespaces.Users = []registration.Namespace{namespace(t, "@"+id+"_.*", true)}
	return r
}

func namespace(t testing.TB, regex string, exclusive bool) registration.Namespace {
	t.Helper()
	n, err := registration.NewNamespace(regex, exclusive)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func registry(t testing.TB, regs ...*registration.Registration) *registration.Registry {
	t.Helper()
	set, err := registration.NewSet(server, regs...)
	if err != nil {
		t.Fatal(err)
	}
	return registration.NewRegistry(set)
}

// fake starts a fake service and its registration.
func fake(t testing.TB, id string) (*testkit.FakeAS, *registration.Registration) {
	t.Helper()
	as := testkit.NewFakeAS(t, "")
	r := service(t, id, as.URL)
	as.HSToken = r.HSToken
	return as, r
}

// start runs a sender over the world until the test ends.
func start(t testing.TB, w *world, opts sender.Options) *sender.Service {
	t.Helper()
	if opts.Store == nil {
		opts.Store = newMemory()
	}
	if opts.BackoffMin == 0 {
		opts.BackoffMin, opts.BackoffMax = time.Millisecond, 5*time.Millisecond
	}
	opts.Stream, opts.Rooms = w, w
	s := sender.New(opts)
	w.woken(s.Wake)
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(s) })
	return s
}

// closeNow ends a sender without waiting for anything.
func closeNow(s *sender.Service) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Close(ctx)
}

// memory is a store that forgets with the test.
type memory struct {
	mu      sync.Mutex
	cursors map[string]appservice.Cursor
	frozen  map[string][]appservice.Frozen
	writes  int

	pauses  map[string]appservice.Pause
	letters []appservice.DeadLetter
	last    int64 // number of a letter
}

func newMemory() *memory {
	return &memory{cursors: map[string]appservice.Cursor{}, frozen: map[string][]appservice.Frozen{}, pauses: map[string]appservice.Pause{}}
}

// copied is a backup.
func (m *memory) copied() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemory()
	c.cursors, c.frozen = maps.Clone(m.cursors), maps.Clone(m.frozen)
	return c
}

func (m *memory) Begin(_ context.Context, c appservice.Cursor) (appservice.Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.cursors[c.Service]; !ok {
		m.cursors[c.Service] = c
	}
	return m.cursors[c.Service], nil
}

func (m *memory) Waiting(_ context.Context, service string, after int64) ([]appservice.Frozen, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []appservice.Frozen
	for _, f := range m.frozen[service] {
		if f.Number > after {
			list = append(list, f)
		}
	}
	return list, nil
}

func (m *memory) Freeze(ctx context.Context, list []appservice.Frozen, acked int64) error {
	m.mu.Lock()
	service := list[0].Service
	c := m.cursors[service]
	for _, f := range list {
		if c.Number != f.Number-1 {
			m.mu.Unlock()
			return fmt.Errorf("number %d cannot be frozen after %d", f.Number, c.Number)
		}
		c.Number, c.Position = f.Number, max(c.Position, f.Position)
	}
	m.cursors[service] = c
	m.frozen[service] = append(m.frozen[service], list...)
	m.mu.Unlock()
	return m.Acknowledge(ctx, service, acked)
}

func (m *memory) Acknowledge(_ context.Context, service string, acked int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	m.frozen[service] = slices.DeleteFunc(slices.Clone(m.frozen[service]), func(f appservice.Frozen) bool { return f.Number <= acked })
	return nil
}

func (m *memory) Advance(_ context.Context, cursors []appservice.Cursor) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	for _, moved := range cursors {
		if c := m.cursors[moved.Service]; c.Number == moved.Number && c.Position < moved.Position {
			c.Position = moved.Position
			m.cursors[moved.Service] = c
		}
	}
	return nil
}

func (m *memory) Silence(_ context.Context, service string, position int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.cursors[service]; ok && c.Silent == 0 {
		c.Silent = max(1, position)
		m.cursors[service] = c
	}
	return nil
}

func (m *memory) EndSilence(_ context.Context, service string, position int64) (appservice.Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.cursors[service]
	if c.Silent > 0 {
		if c.SkippedFrom > 0 || c.Position >= c.Skipped {
			c.SkippedFrom = c.Silent
		}
		c.Skipped, c.Silent = position, 0
		m.cursors[service] = c
	}
	return c, nil
}

func (m *memory) cursor(service string) appservice.Cursor {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cursors[service]
}
