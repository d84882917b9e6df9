package notifier_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"trestle/homeserver/notifier"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	alice = matrix.UserID("@alice:test")
	bob   = matrix.UserID("@bob:test")
)

// stored is the memberships in the database.
type stored func(user matrix.UserID) ([]storage.Membership, error)

func (s stored) OfUser(_ context.Context, user matrix.UserID) ([]storage.Membership, error) {
	return s(user)
}

func nobody(matrix.UserID) ([]storage.Membership, error) { return nil, nil }

// member is a change of membership.
func member(room, position int64, target matrix.UserID, membership, was string) rooms.Change {
	return rooms.Change{
		Event:  &storage.Event{NID: position, RoomNID: room, Position: position, Ordering: position},
		Target: target, Membership: membership, Was: was,
	}
}

func message(room, position int64) rooms.Change {
	return rooms.Change{Event: &storage.Event{NID: position, RoomNID: room, Position: position, Ordering: position}}
}

func look(t *testing.T, n *notifier.Notifier, user matrix.UserID) *notifier.Snapshot {
	t.Helper()
	snap, err := n.User(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := notifier.New(stored(nobody), 10)
		snap := look(t, n, alice)
		wait := func(stop <-chan struct{}) <-chan error {
			ended := make(chan error, 1)
			go func() { ended <- n.Wait(t.Context(), stop, alice, snap.Position, snap.Serial) }()
			synctest.Wait()
			return ended
		}
		parked := func(ended <-chan error) bool {
			synctest.Wait()
			return len(ended) == 0
		}
		stop := make(chan struct{})
		ended := wait(stop)
		n.RoomChanged(member(1, 11, bob, "join", ""))
		n.UserChanged(bob, notifier.AccountData, 12)
		n.TypingChanged(1)
		if !parked(ended) {
			t.Error("alice is woken by what does not concern her")
		}
		close(stop)
		if err := <-ended; !errors.Is(err, notifier.ErrStopped) {
			t.Errorf("stopped: %v", err)
		}
	})
}

func TestEveryChangeWakes(t *testing.T) {
	position := int64(20)
	next := func() int64 { position++; return position }
	for name, happens := range map[string]func(*notifier.Notifier){
		"a message":      func(n *notifier.Notifier) { n.RoomChanged(message(1, next())) },
		"typing":         func(n *notifier.Notifier) { n.TypingChanged(1) },
		"a receipt":      func(n *notifier.Notifier) { n.ReceiptsChanged(1, next()) },
		"account data":   func(n *notifier.Notifier) { n.UserChanged(alice, notifier.AccountData, next()) },
		"bob's devices":  func(n *notifier.Notifier) { n.MatesChanged(bob, []int64{1}, notifier.DeviceList, next()) },
		"bob's presence": func(n *notifier.Notifier) { n.PresenceChanged(bob, []int64{1}) },
		"a kick":         func(n *notifier.Notifier) { n.RoomChanged(member(1, next(), alice, "leave", "join")) },
		"an invite":      func(n *notifier.Notifier) { n.RoomChanged(member(2, next(), alice, "invite", "")) },
	} {
		for _, order := range []string{"before", "during"} {
			t.Run(name+" "+order, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := notifier.New(stored(nobody), 10)
					n.RoomChanged(member(1, next(), alice, "join", ""))
					look(t, n, alice)
					n.RoomChanged(member(1, next(), alice, "join", ""))
					snap := look(t, n, alice)
					if order == "before" {
						happens(n)
					}
					ended := make(chan error, 1)
					go func() { ended <- n.Wait(t.Context(), nil, alice, snap.Position, snap.Serial) }()
					synctest.Wait()
					if order == "during" {
						if len(ended) != 0 {
							t.Fatal("woken by nothing")
						}
						happens(n)
					}
					if err := <-ended; err != nil {
						t.Fatal(err)
					}
					now := look(t, n, alice)
					if now.Last <= snap.Last && now.LastSerial <= snap.LastSerial {
						t.Errorf("from %+v to %+v nothing is new", snap, now)
					}
				})
			})
		}
	}
}

// Rooms that change all the time don't keep a user from being loaded.
func TestLoadingInABusyTime(t *testing.T) {
	var n *notifier.Notifier
	position := int64(10)
	loads := 0
	n = notifier.New(stored(func(matrix.UserID) ([]storage.Membership, error) {
		if loads++; loads > 50 {
			return nil, errors.New("loaded again and again")
		}
		list := []storage.Membership{{RoomNID: 1, Membership: "join", EventNID: 5, Position: 5, Standing: storage.Standing{Last: position}}}
		position++
		n.RoomChanged(message(2, position))
		position++
		n.RoomChanged(member(3, position, alice, "invite", ""))
		position++
		n.RoomChanged(member(1, position, alice, "leave", "join"))
		n.Forgot(alice, 1)
		return list, nil
	}), position)
	snap := look(t, n, alice)
	if !snap.Rooms[1].Forgotten || snap.Rooms[3].Forgotten {
		t.Errorf("forgotten are %+v", snap.Rooms)
	}
	if got := fmt.Sprint(snap.Rooms[1].Membership, snap.Rooms[3].Membership, snap.Position); got != fmt.Sprint("leave", "invite", position) {
		t.Error(got)
	}
	if active := snap.Active(0, 0); len(active) != 0 {
		t.Errorf("active in %v", active)
	}
}

// A snapshot knows nothing that is newer than its position.
func TestTheDatabaseIsAheadWhileLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := notifier.New(stored(func(matrix.UserID) ([]storage.Membership, error) {
			return []storage.Membership{{RoomNID: 1, Membership: "join", EventNID: 12, Position: 12, Standing: storage.Standing{Last: 12}}}, nil
		}), 10)
		loaded := make(chan *notifier.Snapshot, 1)
		go func() { loaded <- look(t, n, alice) }()
		synctest.Wait()
		n.RoomChanged(message(1, 11))
		synctest.Wait()
		if len(loaded) != 0 {
			t.Error("the snapshot is taken too early")
		}
		n.RoomChanged(member(1, 12, alice, "join", ""))
		if snap := <-loaded; snap.Position != 12 || snap.Rooms[1].EventNID != 12 {
			t.Errorf("%+v", snap)
		}
	})
}

func TestAnErrorWhileLoadingIsNotRemembered(t *testing.T) {
	broken := errors.New("broken")
	n := notifier.New(stored(func(matrix.UserID) ([]storage.Membership, error) { return nil, broken }), 10)
	for range 2 {
		if _, err := n.User(t.Context(), alice); !errors.Is(err, broken) {
			t.Error(err)
		}
	}
	broken = nil
	look(t, n, alice)
}

func TestForgot(t *testing.T) {
	n := notifier.New(stored(nobody), 10)
	look(t, n, alice)
	n.RoomChanged(member(1, 11, alice, "leave", "join"))
	before := look(t, n, alice)
	n.Forgot(alice, 1)
	if before.Rooms[1].Forgotten || !look(t, n, alice).Rooms[1].Forgotten {
		t.Error("forgetting shows in old snapshots, or not in new ones")
	}
	n.RoomChanged(member(1, 12, alice, "invite", "leave"))
	if look(t, n, alice).Rooms[1].Forgotten {
		t.Error("an invite to a forgotten room is forgotten")
	}
}

// The ring of a room holds every event after the place that it names.
// What an invite from outside says of the room is kept as long as it is an invite.
func TestStripped(t *testing.T) {
	n := notifier.New(stored(nobody), 10)
	look(t, n, alice)
	invite := member(1, 11, alice, "invite", "")
	invite.Stripped = []byte("[]")
	n.RoomChanged(invite)
	if at := look(t, n, alice).Rooms[1]; string(at.Stripped) != "[]" || at.Membership != "invite" {
		t.Errorf("%+v", at)
	}
	n.RoomChanged(member(1, 12, alice, "leave", "invite"))
	if at := look(t, n, alice).Rooms[1]; at.Stripped != nil {
		t.Errorf("%+v", at)
	}
}

func TestRing(t *testing.T) {
	n := notifier.New(stored(nobody), 10)
	look(t, n, alice)
	position := int64(11)
	n.RoomChanged(member(1, position, alice, "join", ""))
	for i := range int64(300) {
		position++
		n.RoomChanged(message(1+i%3, position))
		a := look(t, n, alice).Room(1)
		if len(a.Ring) == 0 {
			t.Fatal("the ring is empty")
		}
		want := int64(0)
		for p := a.Complete + 1; p <= position; p++ {
			if p == 11 || (p-12)%3 == 0 {
				want++
			}
		}
		if int64(len(a.Ring)) != want || a.Ring[len(a.Ring)-1].Position != a.Last {
			t.Fatalf("at %d the ring has %d events after %d, want %d", position, len(a.Ring), a.Complete, want)
		}
	}
	a := look(t, n, alice).Room(1)
	redacted := *a.Ring[3]
	redacted.RedactedBy = position + 1
	change := message(1, position+1)
	change.Redacted = &redacted
	n.RoomChanged(change)
	b := look(t, n, alice).Room(1)
	if a.Ring[3].RedactedBy != 0 || b.Ring[2].RedactedBy == 0 || b.Ring[2].NID != redacted.NID {
		t.Error("a redaction does not show in the ring, or in one that was given away")
	}
}

// A redaction that comes late, as a part of the past, is none of the newest events, but what it redacts may be.
func TestRedactionsOfThePastShowInTheRing(t *testing.T) {
	n := notifier.New(stored(nobody), 10)
	look(t, n, alice)
	n.RoomChanged(member(1, 11, alice, "join", ""))
	n.RoomChanged(message(1, 12))
	redacted := *look(t, n, alice).Room(1).Ring[1]
	redacted.RedactedBy = 13
	change := rooms.Change{Event: &storage.Event{NID: 13, RoomNID: 1, Position: 13, Ordering: -1}, Redacted: &redacted}
	n.RoomChanged(change)
	if ring := look(t, n, alice).Room(1).Ring; len(ring) != 2 || ring[1].RedactedBy != 13 {
		t.Errorf("the ring is %+v", ring)
	}
}

// However many rooms there are, their rings are bounded, and an emptied one
// says so.
func TestRingsAreBounded(t *testing.T) {
	n := notifier.New(stored(nobody), 0)
	look(t, n, alice)
	position := int64(0)
	for room := range int64(2000) {
		position++
		n.RoomChanged(member(room, position, alice, "join", ""))
		for range 60 {
			position++
			n.RoomChanged(message(room, position))
		}
	}
	snap := look(t, n, alice)
	total := 0
	for room := range int64(2000) {
		a := snap.Room(room)
		total += len(a.Ring)
		if first := room*61 + 1; len(a.Ring) == 61 && a.Complete >= first || len(a.Ring) == 0 && a.Complete != a.Last {
			t.Fatalf("room %d holds %d events after %d", room, len(a.Ring), a.Complete)
		}
	}
	if total > 100_000 {
		t.Errorf("%d events in memory", total)
	}
}

func TestSweep(t *testing.T) {
	loads := 0
	n := notifier.New(stored(func(matrix.UserID) ([]storage.Membership, error) {
		loads++
		return []storage.Membership{{RoomNID: 1, Membership: "join", EventNID: 5, Position: 5, Standing: storage.Standing{Last: 9}}}, nil
	}), 10)
	look(t, n, alice)
	n.Sweep(time.Now().Add(time.Minute))
	look(t, n, alice)
	if loads != 1 {
		t.Errorf("loaded %d times within a minute", loads)
	}
	n.Sweep(time.Now().Add(time.Hour))
	n.RoomChanged(message(1, 11))
	if snap := look(t, n, alice); loads != 2 || len(snap.Active(10, snap.Serial)) != 1 {
		t.Errorf("after an hour: %d loads, active %v", loads, snap.Active(10, snap.Serial))
	}
}

// Readers who load, wait and are swept while rooms change see every event and
// miss no wake-up.
func TestReadersBesideAWriter(t *testing.T) {
	const users, roomCount, events = 8, 5, 3000
	var mu sync.Mutex // of the database
	table := map[matrix.UserID]map[int64]storage.Membership{}
	last := map[int64]int64{}
	n := notifier.New(stored(func(user matrix.UserID) ([]storage.Membership, error) {
		mu.Lock()
		defer mu.Unlock()
		var list []storage.Membership
		for room, m := range table[user] {
			m.Standing.Last = last[room]
			list = append(list, m)
		}
		return list, nil
	}), 0)
	name := func(i int64) matrix.UserID { return matrix.NewUserID(fmt.Sprint("u", i), "test") }
	commit := func(change rooms.Change) {
		mu.Lock()
		last[change.Event.RoomNID] = change.Event.Position
		if change.Target != "" {
			if table[change.Target] == nil {
				table[change.Target] = map[int64]storage.Membership{}
			}
			table[change.Target][change.Event.RoomNID] = storage.Membership{
				RoomNID: change.Event.RoomNID, Membership: change.Membership, EventNID: change.Event.NID, Position: change.Event.Position,
			}
		}
		mu.Unlock()
		n.RoomChanged(change)
	}
	position := int64(0)
	for user := range int64(users) {
		for room := range int64(roomCount) {
			position++
			commit(member(room, position, name(user), "join", ""))
		}
	}
	first, end := position, position+events
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var readers sync.WaitGroup
	for user := range int64(users) {
		readers.Go(func() {
			at, serial := first, int64(0)
			for at < end {
				snap, err := n.User(ctx, name(user))
				if err != nil {
					t.Error(err)
					return
				}
				if len(snap.Rooms) != roomCount {
					t.Errorf("%d rooms", len(snap.Rooms))
				}
				seen := map[int64]bool{}
				for _, room := range snap.Active(at, serial) {
					a := snap.Room(room)
					for _, e := range a.Ring {
						seen[e.Position] = true
					}
					for p := at + 1; p <= a.Complete; p++ {
						if p%roomCount == room {
							seen[p] = true // in the database
						}
					}
				}
				for p := at + 1; p <= snap.Position; p++ {
					if !seen[p] {
						t.Errorf("%s misses %d between %d and %d", name(user), p, at, snap.Position)
						return
					}
				}
				at, serial = snap.Position, snap.Serial
				if at < end {
					if err := n.Wait(ctx, nil, name(user), at, serial); err != nil {
						t.Errorf("waiting at %d of %d: %v", at, end, err)
						return
					}
				}
			}
		})
	}
	readers.Go(func() {
		for position < end {
			position++
			commit(message(position%roomCount, position))
			if position%100 == 0 {
				n.Sweep(time.Now().Add(time.Hour))
				n.TypingChanged(position % roomCount)
			}
		}
	})
	readers.Wait()
}

// Counts that came late wake their user, in their rooms, and nobody else.
func TestCountsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := notifier.New(stored(nobody), 10)
		look(t, n, alice)
		n.RoomChanged(member(1, 11, alice, "join", ""))
		n.RoomChanged(member(2, 12, alice, "join", ""))
		n.RoomChanged(member(1, 13, bob, "join", ""))
		before, others := look(t, n, alice), look(t, n, bob)
		woken := make(chan error, 1)
		go func() { woken <- n.Wait(t.Context(), nil, alice, before.Position, before.Serial) }()
		synctest.Wait()
		n.CountsChanged(alice, []int64{2})
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
		snap := look(t, n, alice)
		if snap.Room(2).Counts <= before.Serial || snap.Room(1).Counts != 0 || snap.Position != before.Position {
			t.Errorf("rooms %+v and %+v", snap.Room(1), snap.Room(2))
		}
		if nids := snap.Active(before.Position, before.Serial); len(nids) != 1 || nids[0] != 2 {
			t.Errorf("active rooms %v", nids)
		}
		if after := look(t, n, bob); after.LastSerial != others.LastSerial {
			t.Error("somebody else is told")
		}
		n.CountsChanged("@nobody:test", []int64{1})
	})
}
