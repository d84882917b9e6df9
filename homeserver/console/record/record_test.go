package record_test

import (
	"reflect"
	"testing"
	"time"

	"trestle/homeserver/browsers"
	"trestle/homeserver/console/record"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// open makes a service on a database, with a clock that the test moves.
func open(t *testing.T, db *database.DB, now *time.Time) *record.Service {
	t.Helper()
	return record.New(record.Options{DB: db, Store: storage.NewConsole(db), Now: func() time.Time { return *now }})
}

func TestSamples(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		begin := time.Date(2026, 5, 1, 12, 0, 7, 0, time.UTC)
		now := begin
		s := open(t, db, &now)
		sample := func(c ...record.Count) {
			t.Helper()
			if err := s.Sample(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		want := func(service string, samples ...record.Sample) {
			t.Helper()
			got, err := s.Samples(t.Context(), service)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				got[i].At = got[i].At.UTC()
			}
			if len(got)+len(samples) > 0 && !reflect.DeepEqual(got, samples) {
				t.Errorf("the samples of %s are %+v, want %+v", service, got, samples)
			}
		}
		minute := begin.Truncate(time.Minute)
		sample(record.Count{Service: "a", Backlog: 3, Oldest: now.Add(-time.Second), Events: 10, Failures: 1}, record.Count{Service: "b"})
		first := record.Sample{At: minute, Backlog: 3, Age: time.Second, Events: 10, Failures: 1}
		want("a", first)
		want("b", record.Sample{At: minute})
		want("c")

		now = now.Add(time.Minute)
		sample(record.Count{Service: "a", Events: 25, Failures: 1})
		second := record.Sample{At: minute.Add(time.Minute), Events: 15}
		want("a", first, second)

		// The server starts anew in the same minute: it counts from zero, and
		// knows what was.
		now = now.Add(20 * time.Second)
		s = open(t, db, &now)
		sample(record.Count{Service: "a", Backlog: 2, Events: 4})
		second.Backlog, second.Events = 2, 19
		want("a", first, second)
		sample(record.Count{Service: "a", Backlog: 1, Events: 1}) // a counter that began anew
		second.Backlog, second.Events = 1, 20
		want("a", first, second)

		// After a day it is forgotten, also of services that are no more.
		now = begin.Add(record.Span)
		sample()
		want("a", second)
		want("b")
		now = now.Add(record.Span)
		sample()
		now = begin
		want("a")
	})
}

func TestNobodyHasSignedIn(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		now := time.Now()
		s, store := open(t, db, &now), storage.NewConsole(db)
		for _, cookie := range []string{"", "short", browsers.NewSecret()} {
			if session, err := s.Session(t.Context(), cookie); session != nil || err != nil {
				t.Errorf("%q is %+v, %v", cookie, session, err)
			}
		}
		err = db.Update(t.Context(), func(tx *database.Tx) error {
			return store.SaveSession(t.Context(), tx, []byte("hash"), storage.ConsoleSession{UserID: "@nobody:hs.example", ExpiresAt: now.Add(time.Hour).UnixMilli()})
		})
		if err != nil {
			t.Fatal(err)
		}
		if session, err := store.Session(t.Context(), []byte("hash"), now.UnixMilli()); session != nil || err != nil {
			t.Errorf("without an account there is %+v, %v", session, err)
		}
		if err := s.Tidy(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
