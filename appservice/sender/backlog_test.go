package sender_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
	"trestle/registration"
)

// stores runs a test with a store in memory and with those of the databases.
func stores(t *testing.T, run func(t *testing.T, store sender.Store)) {
	t.Run("memory", func(t *testing.T) { run(t, newMemory()) })
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(context.Background(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		run(t, storage.NewAppServices(db))
	})
}

// Whatever waits, in transactions, in memory and in the stream alone, is skipped at
// once and counted; messages to devices that are not frozen are not lost.
func TestSkipAll(t *testing.T) {
	stores(t, func(t *testing.T, store sender.Store) {
		w, messages, ctx := newWorld(), newWorld(), t.Context()
		as, reg := fake(t, "irc")
		reg.DeviceLists = true
		open := toll(as, http.StatusTeapot)
		options := sender.Options{
			Registry: registry(t, reg), Store: store, ToDevice: aside{messages}, MaxEvents: 10,
			BackoffMin: time.Millisecond, BackoffMax: time.Millisecond,
		}
		s := start(t, w, options)
		w.say("!elsewhere:"+server, "@alice:"+server) // which concerns nobody
		const before = 3000
		for range before { // when all of these are counted, everything is
			w.say(room, "@irc_x:"+server)
		}
		asideOf(w, messages, sender.Change{Kind: sender.ToDevice, Target: "@irc_x:" + server, Body: text(`{"type":"a key"}`)})
		as.UntilAttempt(t, 2)
		until(t, s, "it falls behind", func(st sender.Status) bool {
			return !st.Live && st.Frozen > 6 && st.Backlog() == before && st.Attempts > 0
		})
		head, err := s.Frozen(ctx, "irc")
		if err != nil {
			t.Fatal(err)
		}
		st := s.Status()[0]
		skipped, err := s.SkipAll(ctx, "irc", "a flood", "@root:"+server)
		if want := (appservice.Skipped{Transactions: st.Frozen, Frozen: st.FrozenEvents, Passed: before - st.FrozenEvents}); err != nil || skipped != want {
			t.Errorf("skipped were %+v, %v; want %+v", skipped, err, want)
		}
		letters, err := s.DeadLetters(ctx, "irc", 0, 100)
		if err != nil || len(letters) != st.Frozen {
			t.Fatalf("%d letters, %v", len(letters), err)
		}
		if l := letters[0]; l.Transaction != head.ID || l.Reason != "a flood" || l.By != "@root:"+server || l.Attempts == 0 || letters[1].Attempts != 0 {
			t.Errorf("%+v, %+v", l, letters[1])
		}
		open()
		w.say(room, "@irc_x:"+server)
		as.Until(t, head.Events+1) // what was sent in vain counts here
		until(t, s, "nothing waits", func(st sender.Status) bool { return st.Live && st.Behind == 0 && st.Backlog() == 0 })
		last := fmt.Sprintf("$%d", before+3)
		if got := eventIDs(t, as.Events()); !slices.Equal(got, append(ids(2, head.Events+1), last)) {
			t.Errorf("it was sent %q", got)
		}
		if got := kinds(as, true); !slices.Equal(got, []string{"a key"}) {
			t.Errorf("messages came: %q", got)
		}
		if now := s.Status()[0]; now.DeadLetters != st.Frozen || now.Events != 1 || now.Attempts != 0 {
			t.Errorf("%+v", now)
		}
		if again, err := s.SkipAll(ctx, "irc", "once more", "me"); err != nil || again != (appservice.Skipped{}) {
			t.Errorf("where nothing waits: %+v, %v", again, err)
		}

		closeNow(s)
		s = start(t, w, options)
		w.say(room, "@irc_x:"+server)
		as.Until(t, head.Events+2)
		newest := letters[st.Frozen-1]
		if err := s.Replay(ctx, newest.Number); err != nil {
			t.Error(err)
		}
		as.Until(t, head.Events+2+newest.Events)
	})
}

// A service that is paused and far behind when the server starts goes on behind all
// that: how much that was is known at most.
func TestSkipAllAfterAStart(t *testing.T) {
	w, store, ctx := newWorld(), newMemory(), t.Context()
	as, reg := fake(t, "irc")
	regs := registry(t, reg)
	s := start(t, w, sender.Options{Registry: regs, Store: store})
	if err := s.Pause(ctx, "irc", "later"); err != nil {
		t.Fatal(err)
	}
	for range 5000 {
		w.say(room, "@irc_x:"+server)
		w.say("!elsewhere:"+server, "@alice:"+server)
	}
	closeNow(s)
	w.skip(100_000)
	s = start(t, w, sender.Options{Registry: regs, Store: store})
	skipped, err := s.SkipAll(ctx, "irc", "a flood", "me")
	if sum := skipped.Frozen + skipped.Passed; err != nil || !skipped.AtMost || sum < 5000 || sum > 10_000 {
		t.Errorf("skipped were %+v, %v", skipped, err)
	}
	if err := s.Resume(ctx, "irc"); err != nil {
		t.Fatal(err)
	}
	position := w.say(room, "@irc_x:"+server)
	as.Until(t, 1)
	if got := eventIDs(t, as.Events()); !slices.Equal(got, []string{fmt.Sprintf("$%d", position)}) {
		t.Errorf("it was sent %q", got)
	}
	until(t, s, "nothing waits", func(st sender.Status) bool { return st.Live && st.Backlog() == 0 && !st.AtMost })
}

func (u unsure) BuryAll(ctx context.Context, acked, upTo int64, l appservice.DeadLetter) (int, int, error) {
	if u.done {
		_, _, _ = u.Store.BuryAll(ctx, acked, upTo, l)
	}
	return 0, 0, errDead
}

// When nobody knows whether all was skipped, storage is asked before anything is sent.
func TestAllSkippedOrNot(t *testing.T) {
	for done, want := range map[bool][]string{true: {"$1", "$2003"}, false: ids(1, 2003)} {
		w := newWorld()
		as, reg := fake(t, "irc")
		open := toll(as, http.StatusTeapot)
		s := start(t, w, sender.Options{Registry: registry(t, reg), Store: unsure{newMemory(), done}, BackoffMin: time.Hour, BackoffMax: time.Hour})
		w.say(room, "@irc_x:"+server)
		as.UntilAttempt(t, 1)
		for range 2001 {
			w.say(room, "@irc_x:"+server)
		}
		if _, err := s.SkipAll(t.Context(), "irc", "", "me"); !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		open()
		w.say(room, "@irc_x:"+server)
		s.Retry("irc")
		as.Until(t, len(want))
		if got := eventIDs(t, as.Events()); !slices.Equal(got, want) {
			t.Errorf("done %v: %s", done, difference(got, want))
		}
	}
}

// Who is removed and put back goes on; who is forgotten in between begins anew.
func TestForget(t *testing.T) {
	stores(t, func(t *testing.T, store sender.Store) {
		w, ctx := newWorld(), t.Context()
		as, reg := fake(t, "irc")
		_, other := fake(t, "other")
		open := toll(as, http.StatusTeapot)
		regs := registry(t, reg, other)
		s := start(t, w, sender.Options{Registry: regs, Store: store, MaxEvents: 1})
		use := func(set *registration.Set) {
			t.Helper()
			regs.Store(set)
			if err := s.Reload(ctx); err != nil {
				t.Fatal(err)
			}
		}
		both, one := regs.Load(), registry(t, other).Load()
		for range 3 {
			w.say(room, "@irc_x:"+server)
		}
		until(t, s, "all is frozen", func(st sender.Status) bool { return st.Frozen == 3 })
		head, err := s.Frozen(ctx, "irc")
		if err == nil {
			err = s.Skip(ctx, "irc", head.ID, "", "me")
		}
		if err == nil {
			err = s.Pause(ctx, "irc", "")
		}
		if err != nil {
			t.Fatal(err)
		}
		if gone, err := s.Gone(ctx); err != nil || len(gone) > 0 {
			t.Errorf("gone are %+v, %v", gone, err)
		}
		_, err = s.Forget(ctx, "irc")
		refused(t, err, "M_UNKNOWN")

		use(one)
		gone, err := s.Gone(ctx)
		if err != nil || len(gone) != 1 {
			t.Fatalf("gone are %+v, %v", gone, err)
		}
		kept := gone[0]
		if kept.Service != "irc" || kept.Position != 3 || kept.Frozen != 2 || kept.Events != 2 || kept.Letters != 1 || !kept.Paused {
			t.Errorf("kept is %+v", kept)
		}
		use(both)
		if st := s.Status()[0]; st.ID != "irc" || st.Frozen != 2 || st.DeadLetters != 1 || !st.Paused {
			t.Errorf("after coming back: %+v", st)
		}
		use(one)
		for id, code := range map[string]string{"nobody": "M_NOT_FOUND", "\x00": "M_NOT_FOUND", "other": "M_UNKNOWN"} {
			_, err := s.Forget(ctx, id)
			refused(t, err, code)
		}
		if forgotten, err := s.Forget(ctx, "irc"); err != nil || forgotten != kept {
			t.Errorf("forgotten is %+v, %v; want %+v", forgotten, err, kept)
		}
		_, err = s.Forget(ctx, "irc")
		refused(t, err, "M_NOT_FOUND")
		if gone, err := s.Gone(ctx); err != nil || len(gone) > 0 {
			t.Errorf("gone are %+v, %v", gone, err)
		}
		w.say(room, "@irc_x:"+server)
		open()
		use(both)
		w.say(room, "@irc_x:"+server)
		until(t, s, "the new one has it", func(st sender.Status) bool { return st.Events == 1 && st.Backlog() == 0 })
		if st := s.Status()[0]; st.DeadLetters != 0 || st.Paused {
			t.Errorf("the new one: %+v", st)
		}
		if got := eventIDs(t, as.Events()); got[len(got)-1] != "$5" || slices.Contains(got, "$4") || slices.Contains(got, "$3") {
			t.Errorf("it was sent %q", got)
		}
	})
}

// What a service has taken just before it was removed is not sent again when it is back.
func TestWhatWasTakenBeforeTheRemoval(t *testing.T) {
	w, ctx, store := newWorld(), t.Context(), newMemory()
	as, reg := fake(t, "irc")
	regs := registry(t, reg)
	s := start(t, w, sender.Options{Registry: regs, Store: store})
	with, without := regs.Load(), registry(t).Load()
	for n := range 5 {
		w.say(room, "@irc_x:"+server)
		until(t, s, "it is delivered", func(st sender.Status) bool { return st.Backlog() == 0 && st.Behind == 0 && st.Live })
		as.Until(t, n+1)
		for _, set := range []*registration.Set{without, with} {
			regs.Store(set)
			if err := s.Reload(ctx); err != nil {
				t.Fatal(err)
			}
			if set == without {
				if gone, err := s.Gone(ctx); err != nil || len(gone) != 1 || gone[0].Frozen != 0 {
					t.Errorf("kept is %+v, %v", gone, err)
				}
			}
		}
	}
	for _, a := range as.Attempts() {
		if a.Repeat {
			t.Errorf("transaction %s was sent again", a.TxnID)
		}
	}
}
