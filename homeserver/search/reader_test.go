package search_test

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"trestle/homeserver/notifier"
	"trestle/homeserver/rooms"
	"trestle/homeserver/search"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// nobody is what a server without profiles, aliases and services has of them.
type nobody struct{}

func (nobody) Profile(context.Context, matrix.UserID) (string, string, error)     { return "", "", nil }
func (nobody) QueryAlias(context.Context, matrix.RoomAlias, string) (bool, error) { return false, nil }
func (nobody) QueryUser(context.Context, matrix.UserID, string) error             { return nil }
func (nobody) AliasesChanged(matrix.RoomID)                                       {}
func (nobody) MayUseAlias(string, matrix.RoomAlias) error                         { return nil }

// Large events are read a few at a time, and all of them are.
func TestLargeEventsAreReadAFewAtATime(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := database.Open(ctx, url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		key, err := matrix.NewSigningKey()
		if err != nil {
			t.Fatal(err)
		}
		store := storage.New(db)
		told := notifier.New(store.Members, 0)
		house := rooms.New(rooms.Options{
			Store: store, ServerName: "test", Key: key, DefaultVersion: "11", Listener: told, Profiles: nobody{}, Directory: nobody{},
		})
		room, err := house.Create(ctx, rooms.CreateRequest{Creator: "@a:test", Preset: "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		const messages, size = 160, 60_000
		content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": "teapot " + strings.Repeat("x ", size/2)})
		if err != nil {
			t.Fatal(err)
		}
		for range messages {
			if _, err := house.Send(ctx, rooms.SendRequest{Room: room, Sender: "@a:test", Type: "m.room.message", Content: content}); err != nil {
				t.Fatal(err)
			}
		}
		s := search.New(search.Options{Store: storage.New(db), Rooms: house, Position: told.Position})
		steps, at, behind := 0, int64(0), true
		for ; behind; steps++ {
			before := at
			if at, behind, err = s.Step(ctx, told.Position()); err != nil {
				t.Fatal(err)
			}
			if read := at - before; read > (4<<20)/size+10 {
				t.Errorf("%d events of %d bytes were read at once", read, size)
			}
		}
		info, err := store.Rooms.Info(ctx, room)
		if err != nil {
			t.Fatal(err)
		}
		found, err := store.Search.Find(ctx, storage.WordQuery{Words: []string{"teapot"}, Rooms: []int64{info.NID}, UpTo: math.MaxInt64, Limit: 1000})
		if err != nil || len(found) != messages || steps < 3 {
			t.Errorf("%d of %d messages are found after %d steps, %v", len(found), messages, steps, err)
		}
	})
}
