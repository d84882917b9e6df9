package storage_test

import (
	"errors"
	"reflect"
	"testing"

	"trestle/appservice"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func TestDeadLetters(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := database.Open(ctx, url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s := storage.NewAppServices(db)
		if _, err := s.Begin(ctx, appservice.Cursor{Service: "irc", Epoch: "e"}); err != nil {
			t.Fatal(err)
		}
		body := []byte("{\"events\":[\x00\xff]}")
		for i := int64(1); i <= 3; i++ {
			f := appservice.Frozen{
				Service: "irc", Number: i, ID: "e-" + string('0'+rune(i)), Body: body, Position: 10 * i, Events: 3, Oldest: 1234,
				Messages: []appservice.Message{{User: "@irc_x:hs.example", Device: "D", Position: i}},
			}
			if err := s.Freeze(ctx, []appservice.Frozen{f}, 0); err != nil {
				t.Fatal(err)
			}
		}
		given := appservice.DeadLetter{Service: "irc", Reason: "why", By: "@root:hs.example", SkippedAt: 5, Attempts: 7, LastError: "no", FailedAt: 4}
		number, err := s.Bury(ctx, 2, given)
		if err != nil {
			t.Fatal(err)
		}
		for _, gone := range []int64{1, 2, 4} {
			if _, err := s.Bury(ctx, gone, given); !errors.Is(err, storage.ErrNotWaiting) {
				t.Errorf("burying %d: %v", gone, err)
			}
		}
		if waiting, err := s.Waiting(ctx, "irc", 0); err != nil || len(waiting) != 1 || waiting[0].Number != 3 {
			t.Errorf("left are %+v, %v", waiting, err)
		}
		want := given
		want.Number, want.Transaction, want.Position, want.Events, want.Oldest, want.Size = number, "e-2", 20, 3, 1234, len(body)
		for _, service := range []string{"irc", ""} {
			if list, err := s.Letters(ctx, service, 0, 10); err != nil || !reflect.DeepEqual(list, []appservice.DeadLetter{want}) {
				t.Errorf("%+v, %v, want %+v", list, err, want)
			}
		}
		for _, none := range []struct {
			service string
			after   int64
			limit   int
		}{{"irc", number, 10}, {"irc", 0, 0}, {"mail", 0, 10}, {"", number, 10}} {
			if list, err := s.Letters(ctx, none.service, none.after, none.limit); err != nil || len(list) > 0 {
				t.Errorf("%v: %+v, %v", none, list, err)
			}
		}
		if err := s.LetterFailed(ctx, number, "again", 9); err != nil {
			t.Fatal(err)
		}
		want.Body, want.Attempts, want.LastError, want.FailedAt = body, 8, "again", 9
		if l, err := s.Letter(ctx, number); err != nil || !reflect.DeepEqual(*l, want) {
			t.Errorf("%+v, %v, want %+v", l, err, want)
		}
		for left := range 2 {
			if n, err := s.CountLetters(ctx, "irc"); err != nil || n != 1-left {
				t.Errorf("%d letters, %v", n, err)
			}
			if there, err := s.RemoveLetter(ctx, number); err != nil || there != (left == 0) {
				t.Errorf("removed: %v, %v", there, err)
			}
		}
		if l, err := s.Letter(ctx, number); l != nil || err != nil {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

func TestPauses(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := database.Open(ctx, url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s := storage.NewAppServices(db)
		for _, p := range []appservice.Pause{{Service: "irc", Reason: "one", Since: 1}, {Service: "irc", Reason: "two", Since: 2}, {Service: "mail", Since: 3}} {
			if err := s.Pause(ctx, p); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Paused(ctx, p.Service); err != nil || *got != p {
				t.Errorf("%+v, %v, want %+v", got, err, p)
			}
		}
		if err := s.Resume(ctx, "irc"); err != nil {
			t.Fatal(err)
		}
		if p, err := s.Paused(ctx, "irc"); p != nil || err != nil {
			t.Errorf("%+v, %v", p, err)
		}
		if p, err := s.Paused(ctx, "mail"); p == nil || err != nil {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func TestBuryAll(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := database.Open(ctx, url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s := storage.NewAppServices(db)
		for _, service := range []string{"irc", "mail"} {
			if _, err := s.Begin(ctx, appservice.Cursor{Service: service, Epoch: "e"}); err != nil {
				t.Fatal(err)
			}
		}
		frozen := func(service string, number int64) error {
			f := appservice.Frozen{
				Service: service, Number: number, ID: "e-" + string('0'+rune(number)), Body: []byte("{}"), Position: 10 * number, Events: int(number), Oldest: 1000 * number,
				Messages: []appservice.Message{{User: "@irc_x:hs.example", Device: "D", Position: number}},
			}
			return s.Freeze(ctx, []appservice.Frozen{f}, 0)
		}
		if err := errors.Join(frozen("irc", 1), frozen("irc", 2), frozen("irc", 3), frozen("mail", 1)); err != nil {
			t.Fatal(err)
		}
		given := appservice.DeadLetter{Service: "irc", Reason: "why", By: "@root:hs.example", SkippedAt: 5, Attempts: 7, LastError: "no", FailedAt: 4}
		transactions, events, err := s.BuryAll(ctx, 1, 99, given)
		if err != nil || transactions != 2 || events != 5 {
			t.Errorf("buried are %d with %d events, %v", transactions, events, err)
		}
		if waiting, err := s.Waiting(ctx, "irc", 0); err != nil || len(waiting) > 0 {
			t.Errorf("left are %+v, %v", waiting, err)
		}
		letters, err := s.Letters(ctx, "irc", 0, 10)
		if err != nil || len(letters) != 2 || letters[0].Transaction != "e-2" || letters[0].Attempts != 7 || letters[0].FailedAt != 4 ||
			letters[1].Transaction != "e-3" || letters[1].Attempts != 0 || letters[1].LastError != "" || letters[1].Reason != "why" {
			t.Errorf("%+v, %v", letters, err)
		}
		// What was to be frozen just now is not.
		if err := frozen("irc", 4); !errors.Is(err, storage.ErrCursorMoved) {
			t.Errorf("freezing what was skipped: %v", err)
		}
		want := appservice.Cursor{Service: "irc", Epoch: "e", Position: 30, Number: 4, Skipped: 99}
		if c, err := s.Begin(ctx, appservice.Cursor{Service: "irc"}); err != nil || c != want {
			t.Errorf("the cursor is %+v, %v; want %+v", c, err, want)
		}
		if transactions, events, err := s.BuryAll(ctx, 3, 50, given); err != nil || transactions+events != 0 {
			t.Errorf("of nothing: %d, %d, %v", transactions, events, err)
		}
		if c, err := s.Begin(ctx, appservice.Cursor{Service: "irc"}); err != nil || c.Skipped != 99 || frozen("irc", 6) != nil {
			t.Errorf("the cursor is %+v, %v", c, err)
		}
		if err := s.Pause(ctx, appservice.Pause{Service: "pot"}); err != nil {
			t.Fatal(err)
		}
		irc := appservice.Place{Service: "irc", Position: 60, Frozen: 1, Events: 6, Oldest: 6000, Letters: 2}
		mail := appservice.Place{Service: "mail", Position: 10, Frozen: 1, Events: 1, Oldest: 1000}
		pot := appservice.Place{Service: "pot", Paused: true}
		if list, err := s.Places(ctx); err != nil || !reflect.DeepEqual(list, []appservice.Place{irc, mail, pot}) {
			t.Errorf("places are %+v, %v", list, err)
		}
		for _, p := range []appservice.Place{irc, pot} {
			if forgotten, err := s.Forget(ctx, p.Service); err != nil || *forgotten != p {
				t.Errorf("forgotten is %+v, %v; want %+v", forgotten, err, p)
			}
			if forgotten, err := s.Forget(ctx, p.Service); err != nil || forgotten != nil {
				t.Errorf("forgotten twice: %+v, %v", forgotten, err)
			}
		}
		if list, err := s.Places(ctx); err != nil || !reflect.DeepEqual(list, []appservice.Place{mail}) {
			t.Errorf("left are %+v, %v", list, err)
		}
	})
}
