package ephemeral_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/ephemeral"
	"trestle/homeserver/notifier"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/migrations"
)

// A town is rooms with people, and a clock.
type town struct {
	*ephemeral.Service
	t        *testing.T
	options  ephemeral.Options
	rooms    *rooms.Service
	notifier *notifier.Notifier

	mu  sync.Mutex
	now time.Time
}

func newTown(t *testing.T, url string, change ...func(*ephemeral.Options)) *town {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	store := storage.New(db)
	town := &town{t: t, now: time.UnixMilli(1_700_000_000_000), notifier: notifier.New(store.Members, 0)}
	town.rooms = rooms.New(rooms.Options{
		Store: store, ServerName: "hs", Key: key, DefaultVersion: "12", Listener: town, Profiles: nobody{}, Directory: nobody{},
	})
	town.options = ephemeral.Options{
		Store: store, Receipts: storage.NewReceipts(db), DeviceLists: storage.NewEncryption(db).DeviceLists,
		Rooms: town.rooms, AccountData: nobody{}, Notifier: town.notifier, Now: town.time,
	}
	for _, c := range change {
		c(&town.options)
	}
	town.Service = ephemeral.New(town.options)
	return town
}

// RoomChanged implements [rooms.Listener].
func (w *town) RoomChanged(c rooms.Change) {
	w.notifier.RoomChanged(c)
	w.Service.RoomChanged(c)
}

func (w *town) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// wait lets time pass and the service do its work.
func (w *town) wait(d time.Duration) {
	w.mu.Lock()
	w.now = w.now.Add(d)
	w.mu.Unlock()
	w.Work(w.t.Context())
}

func (w *town) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// room makes a room; all that are named are in it.
func (w *town) room(creator matrix.UserID, others ...matrix.UserID) matrix.RoomID {
	w.t.Helper()
	room, err := w.rooms.Create(w.t.Context(), rooms.CreateRequest{Creator: creator, Preset: "public_chat"})
	w.must(err)
	for _, user := range others {
		w.join(room, user)
	}
	return room
}

func (w *town) join(room matrix.RoomID, user matrix.UserID) {
	w.t.Helper()
	_, err := w.rooms.Join(w.t.Context(), string(room), rooms.MemberRequest{Sender: user, Target: user})
	w.must(err)
}

func (w *town) say(room matrix.RoomID, user matrix.UserID) matrix.EventID {
	w.t.Helper()
	event, err := w.rooms.Send(w.t.Context(), rooms.SendRequest{Room: room, Sender: user, Type: "m.room.message", Content: json.RawMessage(`{"body":"hi"}`)})
	w.must(err)
	return event
}

// serial is the newest serial, as far as a user is concerned.
func (w *town) serial(user matrix.UserID) int64 {
	w.t.Helper()
	snapshot, err := w.notifier.User(w.t.Context(), user)
	w.must(err)
	return snapshot.Serial
}

// nobody is services of which little is asked; of the directory nothing at all.
type nobody struct{ rooms.Directory }

func (nobody) Profile(context.Context, matrix.UserID) (string, string, error) { return "", "", nil }
func (nobody) AccountData(context.Context, matrix.UserID, matrix.RoomID, string) (json.RawMessage, error) {
	return nil, matrix.NotFound("none")
}
func (nobody) WriteAccountData(context.Context, *database.Tx, matrix.UserID, accounts.Datum) error {
	return nil
}
func (nobody) MayObserve(context.Context, matrix.UserID, matrix.UserID) (bool, error) {
	return false, nil
}
