package storage_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"trestle/appservice"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func TestAppServices(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := context.Background()
		db, err := database.Open(ctx, url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s := storage.NewAppServices(db)

		first := appservice.Cursor{Service: "irc", Epoch: "e1", Position: 10}
		for _, c := range []appservice.Cursor{first, {Service: "irc", Epoch: "e2", Position: 99}} {
			if got, err := s.Begin(ctx, c); err != nil || got != first {
				t.Fatalf("began at %+v, %v", got, err)
			}
		}
		frozen := func(number, position int64) appservice.Frozen {
			return appservice.Frozen{Service: "irc", Number: number, ID: "e1-x", Body: []byte("{\"events\":[\x00\xff]}"),
				Position: position, Events: 3, Oldest: 1234}
		}
		for i := int64(1); i <= 3; i++ {
			if err := s.Freeze(ctx, []appservice.Frozen{frozen(i, 10*i+10)}, i-2); err != nil {
				t.Fatal(err)
			}
		}
		for _, number := range []int64{3, 5, 0} {
			if err := s.Freeze(ctx, []appservice.Frozen{frozen(number, 99), frozen(number+1, 100)}, 3); !errors.Is(err, storage.ErrCursorMoved) {
				t.Errorf("freezing number %d after 3: %v", number, err)
			}
		}
		waiting, err := s.Waiting(ctx, "irc", 0)
		if want := []appservice.Frozen{frozen(2, 30), frozen(3, 40)}; err != nil || !reflect.DeepEqual(waiting, want) {
			t.Errorf("waiting are %+v, %v", waiting, err)
		}
		if waiting, _ := s.Waiting(ctx, "irc", 2); len(waiting) != 1 {
			t.Errorf("%d are waiting behind the second", len(waiting))
		}
		check := func(position, number int64) {
			t.Helper()
			c, err := s.Begin(ctx, appservice.Cursor{Service: "irc"})
			if want := (appservice.Cursor{Service: "irc", Epoch: "e1", Position: position, Number: number}); err != nil || c != want {
				t.Errorf("the cursor is %+v, %v; want %+v", c, err, want)
			}
		}
		check(40, 3)
		moves := []appservice.Cursor{
			{Service: "irc", Position: 60, Number: 2}, {Service: "irc", Position: 30, Number: 3},
			{Service: "irc", Position: 50, Number: 3}, {Service: "none", Position: 5},
		}
		if err := s.Advance(ctx, moves); err != nil {
			t.Fatal(err)
		}
		check(50, 3)
		if err := s.Freeze(ctx, []appservice.Frozen{frozen(4, 42), frozen(5, 45)}, 0); err != nil {
			t.Fatal(err)
		}
		check(50, 5)
		if err := s.Acknowledge(ctx, "irc", 4); err != nil {
			t.Fatal(err)
		}
		if waiting, err := s.Waiting(ctx, "irc", 0); err != nil || len(waiting) != 1 || waiting[0].Number != 5 {
			t.Errorf("left are %+v, %v", waiting, err)
		}
	})
}
