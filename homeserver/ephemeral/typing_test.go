package ephemeral_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func TestTypingEnds(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		room := w.room("@a:hs", "@b:hs", "@c:hs")
		expect := func(when, users string) {
			t.Helper()
			event, err := w.Typing(t.Context(), room)
			w.must(err)
			if want := `{"type":"m.typing","content":{"user_ids":[` + users + `]}}`; string(event) != want {
				t.Errorf("%s: %s, want %s", when, event, want)
			}
		}
		w.must(w.StartTyping(t.Context(), room, "@b:hs", 0))
		w.must(w.StartTyping(t.Context(), room, "@a:hs", 10*time.Second))
		w.must(w.StartTyping(t.Context(), room, "@c:hs", time.Hour))
		expect("at first", `"@a:hs","@b:hs","@c:hs"`)
		before := w.serial("@a:hs")
		w.wait(9 * time.Second)
		if w.serial("@a:hs") != before {
			t.Error("people are told of nothing")
		}
		if next := w.Work(t.Context()); next > time.Second {
			t.Errorf("the next look is in %v", next)
		}
		w.wait(time.Second)
		expect("after 10 s", `"@b:hs","@c:hs"`)
		if w.serial("@a:hs") == before {
			t.Error("people are not told that somebody stopped")
		}
		w.must(w.StartTyping(t.Context(), room, "@b:hs", 0))
		w.wait(29 * time.Second)
		expect("after 39 s", `"@b:hs","@c:hs"`)
		w.wait(time.Second)
		expect("after 40 s", `"@c:hs"`)
		w.wait(80 * time.Second)
		expect("after 2 min", ``)
	})
}

func TestManyType(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		room := w.room("@a:hs")
		for i := range 60 {
			user := matrix.UserID(fmt.Sprintf("@u%d:hs", i))
			w.join(room, user)
			w.must(w.StartTyping(t.Context(), room, user, 0))
		}
		event, err := w.Typing(t.Context(), room)
		w.must(err)
		if n := strings.Count(string(event), ":hs"); n != 50 {
			t.Errorf("%d people type", n)
		}
	})
}

// Run comes back for what ends, without being asked.
func TestRun(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		room := w.room("@a:hs")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		snapshot, err := w.notifier.User(ctx, "@a:hs")
		w.must(err)
		w.must(w.StartTyping(ctx, room, "@a:hs", time.Minute))
		w.mu.Lock()
		w.now = w.now.Add(time.Hour)
		w.mu.Unlock()
		w.must(w.StartTyping(ctx, room, "@a:hs", time.Nanosecond)) // wakes it
		w.mu.Lock()
		w.now = w.now.Add(time.Hour)
		w.mu.Unlock()
		for serial := snapshot.Serial; ; {
			w.must(w.notifier.Wait(ctx, nil, "@a:hs", 1<<60, serial))
			serial = w.serial("@a:hs")
			event, err := w.Typing(ctx, room)
			w.must(err)
			if !strings.Contains(string(event), "@a:hs") {
				break
			}
		}
		cancel()
		w.must(<-ended)
	})
}
