package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/testkit"
)

// What somebody has taken is theirs to work off: the room's owner does not find it in the table as well. After a
// restart it is handed out as all else.
func TestWhatIsTakenIsNotHandedOut(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db := open(t, url)
		release := make(chan struct{})
		handler := &gated{newRecorder(always), release}
		in, stop := run(t, db, handler)
		store(t, in, "1", events("r", 1, 300)) // more than are held in memory
		nothing := func(*database.Tx) error { return nil }
		taken, done, err := in.Take(t.Context(), events("r", 300, 302), nothing)
		if err != nil || len(taken) != 2 || taken[0].ID != "$r-301" || taken[1].ID != "$r-302" {
			t.Fatalf("took %v, %v", taken, err)
		}
		store(t, in, "2", events("r", 301, 305)) // two of which are known
		close(release)
		want := append(ids("r", 1, 300), ids("r", 303, 305)...)
		if got := handler.wait(t, len(want)); !slices.Equal(got, want) {
			t.Errorf("handled %v, want %v", got, want)
		}
		done(taken[0])
		stop()
		again := newRecorder(always)
		_, stop = run(t, db, again)
		if got := again.wait(t, 1); !slices.Equal(got, []string{"$r-302"}) {
			t.Errorf("after the restart %v", got)
		}
		stop()
	})
}

// What is written with events is not written without them, nor they without it, however often the database refuses.
func TestWhatIsTakenIsKeptWithWhatBelongsToIt(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		r := newRecorder(always)
		in, _ := run(t, open(t, url), r)
		store(t, in, "0", events("r", 1, 1)) // and so it is started
		ctx, cancel := context.WithCancel(t.Context())
		_, _, err := in.Take(ctx, events("r", 2, 3), func(*database.Tx) error {
			cancel()
			return errors.New("not now")
		})
		if err == nil {
			t.Fatal("events are kept without what belongs to them")
		}
		failures := 0
		fresh, _, err := in.Take(t.Context(), events("r", 2, 3), func(*database.Tx) error {
			if failures++; failures < 2 {
				return errors.New("not now")
			}
			return nil
		})
		if err != nil || len(fresh) != 2 || failures != 2 {
			t.Errorf("took %v after %d attempts, %v", fresh, failures, err)
		}
	})
}

// A gated handler waits before the first event.
type gated struct {
	*recorder
	release chan struct{}
}

func (g *gated) HandleEvent(ctx context.Context, e *client.Event, done func()) {
	<-g.release
	g.recorder.HandleEvent(ctx, e, done)
}
