package sliding_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/relations"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
	"trestle/homeserver/syncer/sliding"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/migrations"
)

const (
	alice = matrix.UserID("@alice:test")
	bob   = matrix.UserID("@bob:test")
	carol = matrix.UserID("@carol:test")
	dave  = matrix.UserID("@dave:test")
)

// nobody is what a server without profiles, services, typing, keys and account
// data has of them.
type nobody struct{}

func (nobody) Profile(context.Context, matrix.UserID) (string, string, error)     { return "", "", nil }
func (nobody) QueryAlias(context.Context, matrix.RoomAlias, string) (bool, error) { return false, nil }
func (nobody) QueryUser(context.Context, matrix.UserID, string) error             { return nil }
func (nobody) AliasesChanged(matrix.RoomID)                                       {}
func (nobody) MayUseAlias(string, matrix.RoomAlias) error                         { return nil }

func (nobody) Typing(context.Context, matrix.RoomID) (json.RawMessage, error) { return nil, nil }
func (nobody) ReceiptsSince(context.Context, matrix.RoomID, int64, int64, matrix.UserID) (json.RawMessage, error) {
	return nil, nil
}
func (nobody) ReceiptsOf(context.Context, []int64, int64, matrix.UserID) (map[int64]json.RawMessage, bool, error) {
	return nil, true, nil
}
func (nobody) PresenceSince(context.Context, matrix.UserID, int64) ([]json.RawMessage, error) {
	return nil, nil
}
func (nobody) Seen(context.Context, matrix.UserID, matrix.DeviceID, string) func() { return func() {} }

func (nobody) Acknowledge(context.Context, matrix.UserID, matrix.DeviceID, int64) error { return nil }
func (nobody) ToDevice(context.Context, matrix.UserID, matrix.DeviceID, int64, int64) ([]json.RawMessage, int64, error) {
	return nil, 0, nil
}
func (nobody) DeviceLists(context.Context, matrix.UserID, int64, int64) (changed, left []matrix.UserID, err error) {
	return nil, nil, nil
}
func (nobody) Counts(context.Context, matrix.UserID, matrix.DeviceID) (map[string]int, []string, error) {
	return nil, nil, nil
}

func (nobody) AccountData(context.Context, matrix.UserID, matrix.RoomID, string) (json.RawMessage, error) {
	return nil, matrix.NotFound("There is none.")
}
func (nobody) Unwanted(context.Context, matrix.UserID) (*accounts.Unwanted, error) {
	return accounts.UnwantedOf(nil), nil
}
func (nobody) AccountDataSince(context.Context, matrix.UserID, int64, int64) ([]json.RawMessage, error) {
	return nil, nil
}
func (nobody) RoomAccountDataSince(context.Context, matrix.UserID, int64, int64) (map[matrix.RoomID][]json.RawMessage, error) {
	return nil, nil
}
func (nobody) RoomAccountDataOf(context.Context, matrix.UserID, []matrix.RoomID, int64) (map[matrix.RoomID][]json.RawMessage, error) {
	return nil, nil
}

// listeners are told one after the other.
type listeners []rooms.Listener

func (l listeners) RoomChanged(c rooms.Change) {
	for _, listener := range l {
		listener.RoomChanged(c)
	}
}

// A fixture is a homeserver as far as rooms and this package go.
type fixture struct {
	rooms   *rooms.Service
	sync    *syncer.Service
	sliding *sliding.Service
	db      *database.DB
	t       testing.TB
}

func open(t testing.TB, url string) *fixture {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	f := &fixture{db: db, t: t}
	f.restart()
	return f
}

// restart forgets everything that is not in the database.
func (f *fixture) restart() {
	f.t.Helper()
	store := storage.New(f.db)
	position, err := store.Position(f.t.Context())
	f.must(err)
	key, err := matrix.NewSigningKey()
	f.must(err)
	board := sliding.NewBoard(store.Rooms, store.Members)
	told := notifier.New(board, position)
	f.rooms = rooms.New(rooms.Options{
		Store: store, ServerName: "test", Key: key, DefaultVersion: "11",
		Listener: listeners{board, told}, Profiles: nobody{}, Directory: nobody{},
	})
	f.sync = syncer.New(syncer.Options{
		Rooms: f.rooms, Store: store, Notifier: told, AccountData: nobody{}, Ephemeral: nobody{}, Keys: nobody{},
		Relations: relations.New(relations.Options{Rooms: f.rooms, Store: store, AccountData: nobody{}, Position: position}),
	})
	f.sliding = sliding.New(sliding.Options{Sync: f.sync, Board: board})
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// An event is what a client reads of one.
type event struct {
	ID       matrix.EventID  `json:"event_id"`
	Type     string          `json:"type"`
	Sender   matrix.UserID   `json:"sender"`
	StateKey *string         `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

func (f *fixture) read(raw []json.RawMessage) []event {
	f.t.Helper()
	list := make([]event, len(raw))
	for i, r := range raw {
		f.must(json.Unmarshal(r, &list[i]))
	}
	return list
}

// A client does with answers what the proposal says.
type client struct {
	*fixture
	name  string
	conn  string
	state string // required_state
	lazy  bool
	pos   string
	rooms map[matrix.RoomID]*known
}

// known is what a client knows of a room.
type known struct {
	membership      string
	state           map[storage.StateKey]matrix.EventID
	timeline        []event // without a gap
	prevBatch       string
	joined, invited int64
	bump            int64
}

// ask makes a request. A client whose connection is not known any more begins anew.
func (c *client) ask(body map[string]any) *sliding.Response {
	c.t.Helper()
	for {
		body["conn_id"], body["pos"] = c.conn, c.pos
		raw, err := json.Marshal(body)
		c.must(err)
		req := &sliding.Request{User: bob, Device: "D", Timeout: time.Millisecond}
		c.must(req.Parse(raw))
		res, err := c.fixture.sliding.Sync(c.t.Context(), req)
		if matrix.Code(err) == "M_UNKNOWN_POS" && c.pos != "" {
			c.pos, c.rooms = "", map[matrix.RoomID]*known{}
			continue
		}
		c.must(err)
		return res
	}
}

// list is a request for a window of the list.
func (c *client) list(last, limit int) map[string]any {
	return map[string]any{"lists": map[string]any{"all": map[string]any{
		"range": []int{0, last}, "timeline_limit": limit, "required_state": json.RawMessage(c.state),
	}}}
}

func (c *client) take(res *sliding.Response) {
	c.t.Helper()
	c.pos = res.Pos
	for id, r := range res.Rooms {
		c.takeRoom(id, r)
	}
}

func (c *client) takeRoom(id matrix.RoomID, r *sliding.Room) {
	c.t.Helper()
	k := c.rooms[id]
	if r.Initial {
		k = &known{state: map[storage.StateKey]matrix.EventID{}}
		c.rooms[id] = k
	}
	if k == nil {
		c.t.Fatalf("%s is sent news of %s, of which it knows nothing: %+v", c.name, id, r)
	}
	if r.Membership != "" {
		k.membership = r.Membership
	}
	events := c.read(r.Timeline)
	if r.Limited || r.Expanded {
		k.timeline = nil
	}
	if len(k.timeline) == 0 && r.PrevBatch != "" {
		k.prevBatch = r.PrevBatch
	}
	for _, e := range events {
		if slices.ContainsFunc(k.timeline, func(other event) bool { return other.ID == e.ID }) {
			c.t.Fatalf("%s was sent %s twice", c.name, e.ID)
		}
	}
	k.timeline = append(k.timeline, events...)
	if r.Limited && c.lazy {
		for key := range k.state {
			if key.Type == "m.room.member" {
				delete(k.state, key) // as the proposal has it
			}
		}
	}
	for _, e := range c.read(r.State) {
		k.state[storage.StateKey{Type: e.Type, Key: *e.StateKey}] = e.ID
	}
	if r.Joined != nil {
		k.joined, k.invited = *r.Joined, *r.Invited
	}
	if r.BumpStamp != nil {
		k.bump = *r.BumpStamp
	}
}
