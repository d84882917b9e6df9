package storage_test

import (
	"encoding/json"
	"slices"
	"testing"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func notifications(t *testing.T, url string) (*database.DB, *storage.Notifications) {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db, storage.NewNotifications(db)
}

func write(t *testing.T, db *database.DB, fn func(tx *database.Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func notification(user, position, thread int64, highlight bool) storage.Notification {
	return storage.Notification{
		UserNID: user, Position: position, RoomNID: 5, EventNID: position + 100, ThreadNID: thread,
		Highlight: highlight, TS: position * 10, Actions: json.RawMessage(`["notify"]`),
	}
}

// Notifications are listed both ways, and counted as far as they are not read.
func TestNotifications(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, s := notifications(t, url)
		ctx := t.Context()
		list := []storage.Notification{notification(1, 10, 0, false), notification(1, 11, 7, true), notification(1, 12, 7, false), notification(2, 12, 0, false)}
		for range 2 { // a repeat changes nothing
			write(t, db, func(tx *database.Tx) error { return s.Insert(ctx, tx, list) })
		}
		positions := func(list []storage.Notification, err error) (found []int64) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range list {
				found = append(found, n.Position)
			}
			return found
		}
		for _, c := range []struct {
			name      string
			got, want []int64
		}{
			{"newest first", positions(s.Before(ctx, 1, 12, false, 10)), []int64{11, 10}},
			{"a page", positions(s.Before(ctx, 1, 99, false, 1)), []int64{12}},
			{"highlights", positions(s.Before(ctx, 1, 99, true, 10)), []int64{11}},
			{"after a position", positions(s.After(ctx, 1, 10, 10)), []int64{11, 12}},
			{"of an event", positions(s.UnreadAt(ctx, db.Read(), 12)), []int64{12, 12}},
		} {
			if !slices.Equal(c.got, c.want) {
				t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
			}
		}
		counts := func(name string, marks []storage.ReadMark, want ...storage.Count) {
			t.Helper()
			write(t, db, func(tx *database.Tx) error {
				for _, m := range marks {
					if err := s.Mark(ctx, tx, m); err != nil {
						return err
					}
				}
				return s.Recount(ctx, tx, 1, 5)
			})
			got, err := s.Counts(ctx, 1)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v, %v; want %v", name, got, err, want)
			}
		}
		inMain := storage.Count{UserNID: 1, RoomNID: 5, Notifications: 1, Newest: 10}
		counts("all", nil, inMain, storage.Count{UserNID: 1, RoomNID: 5, ThreadNID: 7, Notifications: 2, Highlights: 1, Newest: 12})
		counts("a part of a thread", []storage.ReadMark{{UserNID: 1, RoomNID: 5, ThreadNID: 7, UpTo: 11}}, inMain,
			storage.Count{UserNID: 1, RoomNID: 5, ThreadNID: 7, Notifications: 1, Newest: 12})
		counts("the whole room", []storage.ReadMark{{UserNID: 1, RoomNID: 5, ThreadNID: storage.WholeRoom, UpTo: 11}},
			storage.Count{UserNID: 1, RoomNID: 5, ThreadNID: 7, Notifications: 1, Newest: 12})
		if err := s.Expire(ctx, 120); err != nil {
			t.Fatal(err)
		}
		if got := positions(s.Before(ctx, 1, 99, false, 10)); !slices.Equal(got, []int64{12}) {
			t.Errorf("after the old ones have gone: %v", got)
		}
		if err := s.DeleteUser(ctx, 1); err != nil {
			t.Fatal(err)
		}
		if left, others := positions(s.After(ctx, 1, 0, 10)), positions(s.After(ctx, 2, 0, 10)); len(left) > 0 || len(others) != 1 {
			t.Errorf("after the user has gone: %v, others %v", left, others)
		}
	})
}

// The reader begins where it was told the first time.
func TestNotificationCursor(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, s := notifications(t, url)
		for _, want := range []int64{30, 30} {
			if at, err := s.Begin(t.Context(), want); err != nil || at != 30 {
				t.Errorf("begin at %d, %v", at, err)
			}
		}
		write(t, db, func(tx *database.Tx) error { return s.Advance(t.Context(), tx, 44) })
		if at, err := s.Begin(t.Context(), 99); err != nil || at != 44 {
			t.Errorf("go on at %d, %v", at, err)
		}
	})
}
