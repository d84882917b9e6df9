package syncer_test

import (
	"context"
	"encoding/json"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/relations"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
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

// nobody is what a server without profiles, services, typing and keys has of them.
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

// listeners are told of changes in the order of the server.
type listeners struct{ before, notifier rooms.Listener }

func (l *listeners) RoomChanged(c rooms.Change) {
	l.before.RoomChanged(c)
	l.notifier.RoomChanged(c)
}

// data is account data that never changes.
type data struct {
	global []json.RawMessage
	rooms  map[matrix.RoomID][]json.RawMessage
}

func (d *data) AccountData(_ context.Context, _ matrix.UserID, _ matrix.RoomID, dataType string) (json.RawMessage, error) {
	for _, raw := range d.global {
		var e struct {
			Type    string
			Content json.RawMessage
		}
		if err := json.Unmarshal(raw, &e); err != nil || e.Type == dataType {
			return e.Content, err
		}
	}
	return nil, matrix.NotFound("There is none.")
}

func (d *data) Unwanted(context.Context, matrix.UserID) (*accounts.Unwanted, error) {
	found := map[string]json.RawMessage{}
	for _, raw := range d.global {
		var e struct {
			Type    string
			Content json.RawMessage
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, err
		}
		found[e.Type] = e.Content
	}
	return accounts.UnwantedOf(found), nil
}

func (d *data) RoomAccountDataOf(context.Context, matrix.UserID, []matrix.RoomID, int64) (map[matrix.RoomID][]json.RawMessage, error) {
	return d.rooms, nil
}

func (d *data) AccountDataSince(_ context.Context, _ matrix.UserID, since, _ int64) ([]json.RawMessage, error) {
	if since > 0 {
		return nil, nil
	}
	return d.global, nil
}

func (d *data) RoomAccountDataSince(_ context.Context, _ matrix.UserID, since, _ int64) (map[matrix.RoomID][]json.RawMessage, error) {
	if since > 0 {
		return nil, nil
	}
	return d.rooms, nil
}

// A fixture is a homeserver as far as rooms and their readers go.
type fixture struct {
	rooms    *rooms.Service
	sync     *syncer.Service
	notifier *notifier.Notifier
	store    *storage.Store
	data     data
	db       *database.DB
	t        testing.TB
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
	f.store = storage.New(f.db)
	position, err := f.store.Position(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	key, err := matrix.NewSigningKey()
	if err != nil {
		f.t.Fatal(err)
	}
	f.notifier = notifier.New(f.store.Members, position)
	listener := &listeners{notifier: f.notifier}
	f.rooms = rooms.New(rooms.Options{
		Store: f.store, ServerName: "test", Key: key, DefaultVersion: "11",
		Listener: listener, Profiles: nobody{}, Directory: nobody{},
	})
	related := relations.New(relations.Options{Rooms: f.rooms, Store: f.store, AccountData: nobody{}, Position: position})
	listener.before = related
	f.sync = syncer.New(syncer.Options{
		Rooms: f.rooms, Store: f.store, Notifier: f.notifier, AccountData: &f.data, Ephemeral: nobody{}, Keys: nobody{}, Relations: related,
	})
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) create(req rooms.CreateRequest) matrix.RoomID {
	f.t.Helper()
	if req.Creator == "" {
		req.Creator = alice
	}
	id, err := f.rooms.Create(f.t.Context(), req)
	f.must(err)
	return id
}

func (f *fixture) say(room matrix.RoomID, sender matrix.UserID, body string) matrix.EventID {
	f.t.Helper()
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
	f.must(err)
	id, err := f.rooms.Send(f.t.Context(), rooms.SendRequest{Room: room, Sender: sender, Type: "m.room.message", Content: content})
	f.must(err)
	return id
}

func (f *fixture) set(room matrix.RoomID, sender matrix.UserID, typ, key, content string) matrix.EventID {
	f.t.Helper()
	id, err := f.rooms.Send(f.t.Context(), rooms.SendRequest{Room: room, Sender: sender, Type: typ, StateKey: &key, Content: json.RawMessage(content)})
	f.must(err)
	return id
}

func (f *fixture) join(room matrix.RoomID, user matrix.UserID) {
	f.t.Helper()
	_, err := f.rooms.Join(f.t.Context(), string(room), rooms.MemberRequest{Sender: user})
	f.must(err)
}

func (f *fixture) leave(room matrix.RoomID, user matrix.UserID) {
	f.t.Helper()
	f.must(f.rooms.Leave(f.t.Context(), rooms.MemberRequest{Room: room, Sender: user}))
}

func (f *fixture) ban(room matrix.RoomID, sender, user matrix.UserID) {
	f.t.Helper()
	f.must(f.rooms.Ban(f.t.Context(), rooms.MemberRequest{Room: room, Sender: sender, Target: user}))
}

func (f *fixture) invite(room matrix.RoomID, sender, user matrix.UserID) {
	f.t.Helper()
	f.must(f.rooms.Invite(f.t.Context(), rooms.MemberRequest{Room: room, Sender: sender, Target: user}))
}

func (f *fixture) syncNow(req syncer.Request) *syncer.Response {
	f.t.Helper()
	res, err := f.sync.Sync(f.t.Context(), req)
	f.must(err)
	return res
}

// filter reads a filter of /sync.
func (f *fixture) filter(text string) *accounts.Filter {
	f.t.Helper()
	filter, err := accounts.ParseFilter([]byte(text))
	f.must(err)
	return filter
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

func (f *fixture) list(l *syncer.EventList) []event {
	f.t.Helper()
	if l == nil {
		return nil
	}
	return f.read(l.Events)
}
