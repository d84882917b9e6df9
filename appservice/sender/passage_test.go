package sender_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/internal/matrix"
	"trestle/registration"
)

// counted is how many changes of a stream have been read since it was last asked.
func (w *world) counted() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.read
	w.read = 0
	return n
}

// What is skipped is not read: of a passage of any length only what is sent all the
// same, if the service takes any of that.
func TestWhatIsSkippedIsNotRead(t *testing.T) {
	ghost, alice, bob := matrix.UserID("@irc_x:"+server), matrix.UserID("@alice:"+server), matrix.UserID("@bob:"+server)
	const later = matrix.RoomID("!later:" + server)
	for name, c := range map[string]struct {
		wants    func(*registration.Registration)
		messages []string
		changed  []matrix.UserID
	}{
		"events alone": {func(*registration.Registration) {}, nil, nil},
		"messages":     {func(r *registration.Registration) { r.ReceiveEphemeral = true }, []string{"a key"}, nil},
		"keys":         {func(r *registration.Registration) { r.DeviceLists = true }, []string{"a key"}, []matrix.UserID{alice}},
	} {
		t.Run(name, func(t *testing.T) {
			w, messages, devices := newWorld(), newWorld(), newWorld()
			as, reg := fake(t, "irc")
			c.wants(reg)
			open := toll(as, http.StatusTeapot)
			s := start(t, w, sender.Options{
				Registry: registry(t, reg), ToDevice: aside{messages}, Devices: aside{devices}, MaxEvents: 10,
				BackoffMin: time.Millisecond, BackoffMax: time.Millisecond,
			})
			flood := func() {
				for range 5000 {
					w.say(room, ghost)
				}
			}
			tell := func(user matrix.UserID) {
				asideOf(w, devices, sender.Change{Kind: sender.DeviceChanged, Sender: user, Key: string(user), Body: text(""), Rooms: []matrix.RoomID{later}})
			}
			flood()
			tell(bob) // whom the service does not see yet
			w.member(later, alice, alice, "join")
			w.member(later, ghost, ghost, "join")
			tell(alice)
			asideOf(w, messages, sender.Change{Kind: sender.ToDevice, Target: ghost, Body: text(`{"type":"a key"}`)})
			flood()
			until(t, s, "it falls behind", func(st sender.Status) bool {
				return !st.Live && st.Frozen > 6 && st.Backlog() == 10_001 && st.Attempts > 0
			})
			if _, err := s.SkipAll(t.Context(), "irc", "a flood", "me"); err != nil {
				t.Fatal(err)
			}
			before := w.counted()
			open()
			position := w.say(room, ghost)
			until(t, s, "nothing waits", func(st sender.Status) bool { return st.Live && st.Behind == 0 && st.Backlog() == 0 })
			if read := w.counted(); read > 1000 {
				t.Errorf("%d changes were read of what is not sent, after %d", read, before)
			}
			if got := eventIDs(t, as.Events()); got[len(got)-1] != fmt.Sprintf("$%d", position) || len(got) > 100 {
				t.Errorf("%d events came, the last %s", len(got), got[len(got)-1])
			}
			var changed []matrix.UserID
			for _, txn := range as.Transactions() {
				if txn.DeviceLists != nil {
					changed = append(changed, txn.DeviceLists.Changed...)
				}
			}
			if got := kinds(as, true); !slices.Equal(got, c.messages) || !slices.Equal(changed, c.changed) {
				t.Errorf("messages came: %q, and keys of %v", got, changed)
			}
		})
	}
}

// A service whose registration has no URL wants to hear nothing. When it has one, it
// hears what had waited before, and what comes; of the time between only what later
// messages cannot be read without.
func TestNothingIsKeptForAServiceWithoutURL(t *testing.T) {
	stores(t, func(t *testing.T, store sender.Store) {
		w, messages := newWorld(), newWorld()
		as, reg := fake(t, "irc")
		reg.DeviceLists = true
		open := toll(as, http.StatusTeapot)
		mute := *reg
		mute.URL = ""
		regs := registry(t, reg)
		options := sender.Options{Registry: regs, Store: store, ToDevice: aside{messages}, MaxEvents: 10, BackoffMin: time.Millisecond, BackoffMax: time.Millisecond}
		s := start(t, w, options)
		becomes := func(r *registration.Registration) {
			t.Helper()
			regs.Store(registry(t, r).Load())
			if err := s.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		say := func(n int) {
			for range n {
				w.say(room, "@irc_x:"+server)
			}
		}
		say(500)
		until(t, s, "it falls behind", func(st sender.Status) bool { return st.Backlog() == 500 && st.Attempts > 0 })
		becomes(&mute)
		say(1000)
		asideOf(w, messages, sender.Change{Kind: sender.ToDevice, Target: "@irc_x:" + server, Body: text(`{"type":"a key"}`)})
		closeNow(s)
		w.skip(100_000) // years
		s = start(t, w, options)
		say(1000)
		open()
		becomes(reg)
		position := w.say(room, "@irc_x:"+server)
		as.Until(t, 501)
		until(t, s, "nothing waits", func(st sender.Status) bool { return st.Live && st.Behind == 0 && st.Backlog() == 0 })
		want := append(ids(1, 500), fmt.Sprintf("$%d", position))
		if got := eventIDs(t, as.Events()); !slices.Equal(got, want) {
			t.Errorf("%d events came; %s", len(got), difference(got, want))
		}
		if got := kinds(as, true); !slices.Equal(got, []string{"a key"}) {
			t.Errorf("messages came: %q", got)
		}

		// Once more, with nothing left from before, and a file that is away meanwhile.
		becomes(&mute)
		say(10)
		becomes(&mute)
		becomes(service(t, "other", as.URL))
		say(10)
		becomes(reg)
		last := w.say(room, "@irc_x:"+server)
		as.Until(t, 502)
		if got := eventIDs(t, as.Events()); !slices.Equal(got, append(want, fmt.Sprintf("$%d", last))) {
			t.Errorf("%d events came; %s", len(got), difference(got, want))
		}
	})
}

// A service that is new and has no URL is still new when it gets one.
func TestAServiceThatNeverHadAURL(t *testing.T) {
	w := newWorld()
	as, reg := fake(t, "irc")
	mute := *reg
	mute.URL = ""
	regs, store := registry(t, &mute), newMemory()
	s := start(t, w, sender.Options{Registry: regs, Store: store})
	w.say(room, "@irc_x:"+server)
	regs.Store(registry(t, reg).Load())
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	position := w.say(room, "@irc_x:"+server)
	as.Until(t, 1)
	if got := eventIDs(t, as.Events()); !slices.Equal(got, []string{fmt.Sprintf("$%d", position)}) {
		t.Errorf("it was sent %q", got)
	}
}

// What an operator has skipped stays so if the service then has no URL for a while.
func TestSilenceAfterSkipping(t *testing.T) {
	stores(t, func(t *testing.T, store sender.Store) {
		ctx := t.Context()
		c, err := store.Begin(ctx, cursorAt("irc", 50))
		if err != nil || c.Position != 50 {
			t.Fatal(c, err)
		}
		silence := func(from, upTo, skippedFrom int64) {
			t.Helper()
			if err := store.Silence(ctx, "irc", from); err != nil {
				t.Fatal(err)
			}
			if err := store.Silence(ctx, "irc", from+1); err != nil { // which it is already
				t.Fatal(err)
			}
			if c, err := store.EndSilence(ctx, "irc", upTo); err != nil || c.SkippedFrom != skippedFrom || c.Skipped != upTo || c.Silent != 0 {
				t.Errorf("%+v, %v", c, err)
			}
			if c, err := store.EndSilence(ctx, "irc", upTo+1); err != nil || c.Skipped != upTo {
				t.Errorf("the end of nothing: %+v, %v", c, err)
			}
		}
		silence(100, 200, 100)
		silence(300, 400, 300) // rather too much than too little
		if _, _, err := store.BuryAll(ctx, 0, 500, letterOf("irc")); err != nil {
			t.Fatal(err)
		}
		silence(600, 700, 0)
		if err := store.Silence(ctx, "unknown", 1); err != nil {
			t.Error(err)
		}
	})
}

func cursorAt(service string, position int64) appservice.Cursor {
	return appservice.Cursor{Service: service, Epoch: "e", Position: position}
}

func letterOf(service string) appservice.DeadLetter { return appservice.DeadLetter{Service: service} }
