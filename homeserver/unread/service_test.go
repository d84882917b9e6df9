package unread_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func message(text string) map[string]any { return map[string]any{"msgtype": "m.text", "body": text} }

// Whoever keeps up is counted for without the database.
func TestCountsOfMemory(t *testing.T) {
	s := open(t, testkit.SQLite(t))
	room := s.create("@a:test")
	s.join(room, "@b:test")
	e := s.send(room, "@a:test", "m.room.message", message("x"), "")
	if got, want := s.counts("@b:test", e.RoomNID), `{"main":{"notification_count":1,"highlight_count":0},"threads":null}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	s.unread.Close()
	s.db.Close()
	if got, want := s.counts("@b:test", e.RoomNID), `{"main":{"notification_count":1,"highlight_count":0},"threads":null}`; got != want {
		t.Errorf("without a database: %s, want %s", got, want)
	}
	if n, rooms, err := s.unread.Badge(t.Context(), "@b:test"); n != 1 || rooms != 1 || err != nil {
		t.Errorf("the badge: %d in %d rooms, %v", n, rooms, err)
	}
}

// An answer waits for what it counts, but not for long: then its client is
// woken once the count is right.
func TestLateCounts(t *testing.T) {
	s := open(t, testkit.SQLite(t))
	room := s.create("@a:test")
	s.join(room, "@b:test")
	first := s.send(room, "@a:test", "m.room.message", message("x"), "")
	if got, want := s.counts("@b:test", first.RoomNID), `{"main":{"notification_count":1,"highlight_count":0},"threads":null}`; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	s.unread.Close()
	stuck, held := make(chan struct{}), atomic.Bool{}
	s.ghost = func(user matrix.UserID) bool {
		if user == "@slow:test" && held.Load() {
			<-stuck
		}
		return false
	}
	s.start()
	s.counts("@b:test", first.RoomNID)
	held.Store(true)
	s.join(room, "@slow:test")
	s.send(room, "@a:test", "m.room.message", message("y"), "")
	snap, err := s.notifier.User(t.Context(), "@b:test")
	s.must(err)
	if got, want := s.countsNow("@b:test", first.RoomNID), `{"main":{"notification_count":1,"highlight_count":0},"threads":null}`; got != want {
		t.Errorf("while nobody counts: %s, want %s", got, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	close(stuck)
	s.must(s.notifier.Wait(ctx, nil, "@b:test", snap.Position, snap.Serial))
	if got, want := s.counts("@b:test", first.RoomNID), `{"main":{"notification_count":2,"highlight_count":0},"threads":null}`; got != want {
		t.Errorf("late: %s, want %s", got, want)
	}
	snap, err = s.notifier.User(t.Context(), "@b:test")
	s.must(err)
	if snap.Room(first.RoomNID).Counts == 0 {
		t.Error("the room has nothing that came late")
	}
}

// Large events are read a few at a time, and all of them are.
func TestPagesOfLargeEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := open(t, url)
		room := s.create("@a:test")
		s.join(room, "@b:test")
		const messages, size = 160, 60_000
		var last *storage.Event
		for range messages {
			last = s.send(room, "@a:test", "m.room.message", message(strings.Repeat("x", size)), "")
		}
		want := fmt.Sprintf(`{"main":{"notification_count":%d,"highlight_count":0},"threads":null}`, messages)
		if got := s.counts("@b:test", last.RoomNID); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		s.unread.Close()
		s.start() // with nothing in memory
		s.unread.Close()
		sizes, events, err := s.unread.Pages(t.Context(), 0)
		s.must(err)
		if largest := slices.Max(sizes); largest > 4<<20+size+1000 || largest < 1<<20 || events < messages {
			t.Errorf("%d events in pages of %d bytes", events, sizes)
		}
		if err := s.unread.Replay(t.Context(), 0); err != nil {
			t.Error(err)
		}
		s.unread.Forget()
		if got := s.counts("@b:test", last.RoomNID); got != want {
			t.Errorf("once more: %s, want %s", got, want)
		}
	})
}

// What was notified is forgotten after a time, and with the user.
func TestNotificationsGo(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := open(t, url)
		room := s.create("@a:test")
		s.join(room, "@b:test")
		s.counts("@b:test", s.send(room, "@a:test", "m.room.message", message("x"), "").RoomNID)
		s.unread.Close()
		if got := s.listed("@b:test"); got != 1 {
			t.Errorf("%d notifications", got)
		}
		s.must(s.unread.Tidy(t.Context()))
		if got := s.listed("@b:test"); got != 1 {
			t.Errorf("%d notifications that are new", got)
		}
		s.must(s.unread.Deactivated(t.Context(), "@b:test", false))
		if got := s.listed("@b:test"); got != 0 {
			t.Errorf("%d notifications of somebody who is gone", got)
		}
	})
}

// An invite that is answered is read, and not counted when the room is.
func TestInvites(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := open(t, url)
		room := s.create("@a:test")
		s.must(s.rooms.Invite(t.Context(), rooms.MemberRequest{Room: room, Sender: "@a:test", Target: "@b:test"}))
		s.counts("@b:test", 1)
		s.unread.Close()
		s.start()
		s.join(room, "@b:test")
		one := s.send(room, "@a:test", "m.room.message", message("one"), "")
		s.counts("@b:test", s.send(room, "@a:test", "m.room.message", message("two"), "").RoomNID)
		s.unread.Close()
		s.start()
		s.read("@b:test", "m.read", one, "")
		if got, want := s.counts("@b:test", one.RoomNID), `{"main":{"notification_count":1,"highlight_count":0},"threads":null}`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}
