package storage_test

import (
	"encoding/json"
	"math"
	"slices"
	"sync"
	"testing"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func open(t *testing.T, url string) *storage.Store {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return storage.New(db)
}

// A room with n messages, as storage sees it.
func fill(t *testing.T, s *storage.Store, n int) []*storage.Event {
	t.Helper()
	ctx := t.Context()
	version, _ := roomversion.Lookup("11")
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	nid, err := s.Rooms.NewNID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	info := &storage.RoomInfo{NID: nid, ID: "!room:test", Version: version}
	var events []*storage.Event
	for i := range n {
		e, err := matrix.EventTemplate{
			RoomID: info.ID, Sender: "@alice:test", Type: "m.room.message", Content: json.RawMessage(`{"body":"secret"}`),
			OriginServerTS: int64(i), Depth: int64(i),
		}.Build(version, "test", key)
		if err != nil {
			t.Fatal(err)
		}
		stored := &storage.Event{Event: e, RoomNID: nid, TxnKey: string(e.ID)}
		if stored.NID, err = s.Events.NewNID(ctx); err != nil {
			t.Fatal(err)
		}
		events = append(events, stored)
	}
	err = s.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.Rooms.Insert(ctx, tx, info, "@alice:test"); err != nil {
			return err
		}
		for _, e := range events {
			position, err := tx.Position(ctx)
			if err != nil {
				return err
			}
			e.Position, e.Ordering = position, position
			if err := s.Events.Insert(ctx, tx, e, 1, 1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// Whoever read an event just before it was redacted must not put it back into
// the cache as it was.
func TestTheCacheForgetsWhatIsRedacted(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := open(t, url)
		ctx := t.Context()
		for _, e := range fill(t, s, 60) {
			redacted := *e
			var err error
			if redacted.Event, err = e.Redact(); err != nil {
				t.Fatal(err)
			}
			redacted.RedactedBy = 1
			var readers sync.WaitGroup
			stop := make(chan struct{})
			for range 3 {
				readers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if _, err := s.Events.ByID(ctx, e.ID); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			err = s.DB.Update(ctx, func(tx *database.Tx) error {
				tx.OnCommit(func() { s.Events.Cache(&redacted) })
				return s.Events.Redact(ctx, tx, &redacted)
			})
			close(stop)
			readers.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if found, err := s.Events.ByNID(ctx, e.NID); err != nil || found.RedactedBy != 1 {
				t.Fatalf("event %d is cached as it was before: %s, %v", e.NID, found.Content, err)
			}
		}
	})
}

// What readers of the stream get from memory is what is stored.
func TestTheEndOfTheStreamInMemoryIsTheStoredOne(t *testing.T) {
	s := open(t, testkit.SQLite(t))
	ctx := t.Context()
	events := fill(t, s, 50)
	for _, e := range events[10:] {
		s.Events.Cache(e)
	}
	redacted := *events[20]
	var err error
	if redacted.Event, err = redacted.Redact(); err != nil {
		t.Fatal(err)
	}
	redacted.RedactedBy = events[49].NID
	if err := s.DB.Update(ctx, func(tx *database.Tx) error { return s.Events.Redact(ctx, tx, &redacted) }); err != nil {
		t.Fatal(err)
	}
	s.Events.Cache(&redacted)
	cold := storage.New(s.DB)
	for after := range int64(52) {
		for _, limit := range []int{0, 1, 7, 100} {
			for _, upTo := range []int64{after - 1, after, after + 3, 60} {
				got, _, err := s.Events.Page(ctx, after, upTo, limit, math.MaxInt)
				if err != nil {
					t.Fatal(err)
				}
				want, _, err := cold.Events.Page(ctx, after, upTo, limit, math.MaxInt)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != len(want) {
					t.Fatalf("(%d, %d] limit %d: %d events from memory, %d stored", after, upTo, limit, len(got), len(want))
				}
				for i := range want {
					if got[i].NID != want[i].NID || got[i].RedactedBy != want[i].RedactedBy || string(got[i].JSON()) != string(want[i].JSON()) {
						t.Fatalf("(%d, %d] limit %d: event %d is %s, stored is %s", after, upTo, limit, i, got[i].JSON(), want[i].JSON())
					}
				}
			}
		}
	}
}

// A page of the stream ends where its events are large enough; page by page come all
// of them, from memory and from the database, redacted ones in the cache or not.
func TestPagesOfTheStreamAreBounded(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		warm := open(t, url)
		events := fill(t, warm, 60)
		for _, e := range events {
			warm.Events.Cache(e)
		}
		redacted, ctx := *events[3], t.Context()
		var err error
		if redacted.Event, err = redacted.Redact(); err != nil {
			t.Fatal(err)
		}
		redacted.RedactedBy = 1
		half := storage.New(warm.DB) // of which the cache knows what the table does not yet
		half.Events.Cache(&redacted)
		size := len(events[0].JSON())
		for name, s := range map[string]*storage.Store{"memory": warm, "database": storage.New(warm.DB), "both": half} {
			for _, c := range []struct{ limit, bytes, want int }{{100, 10 * size, 11}, {7, 10 * size, 7}, {60, 1 << 30, 60}, {61, 1 << 30, 60}, {100, 1, 1}} {
				var got []int64
				more, pages := true, 0
				for after := events[0].Position - 1; more; pages++ {
					var page []*storage.Event
					if page, more, err = s.Events.Page(ctx, after, events[59].Position, c.limit, c.bytes); err != nil {
						t.Fatal(err)
					}
					if len(page) > c.want {
						t.Errorf("%s: a page of %d, %d bytes has %d events", name, c.limit, c.bytes, len(page))
					}
					for _, e := range page {
						got, after = append(got, e.Position), e.Position
					}
				}
				if len(got) != 60 || !slices.IsSorted(got) || got[0] != events[0].Position || pages > 60/max(1, c.want-1)+2 {
					t.Errorf("%s: in pages of %d, %d bytes came %d events, in %d pages", name, c.limit, c.bytes, len(got), pages)
				}
			}
		}
	})
}

// However long the stream grows, memory holds no more than its end.
func TestTheEndOfTheStreamInMemoryIsBounded(t *testing.T) {
	s := open(t, testkit.SQLite(t))
	events := fill(t, s, 9000)
	for _, e := range events {
		s.Events.Cache(e)
	}
	got, _, err := s.Events.Page(t.Context(), events[0].Position-1, events[8999].Position, 9000, math.MaxInt)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range got {
		if e.NID != events[i].NID {
			t.Fatalf("event %d is number %d, want %d", i, e.NID, events[i].NID)
		}
	}
	if len(got) != 9000 {
		t.Fatalf("%d events, want 9000", len(got))
	}
}
