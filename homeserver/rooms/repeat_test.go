package rooms_test

import (
	"fmt"
	"sync"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// enough is how many new messages make somebody whose requests are not looked for.
const enough = 12

// messages is how many messages readers were told of.
func (f *fixture) messages() (n int) {
	f.heard.mu.Lock()
	defer f.heard.mu.Unlock()
	for _, c := range f.heard.changes {
		if c.Event.Type == "m.room.message" {
			n++
		}
	}
	return n
}

// A repeat finds the first event after a restart, too, whatever its sender has sent
// in between, and however often it comes at once. Nobody else notices.
func TestRepeatsAfterARestart(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		before := open(t, url)
		room := before.create(rooms.CreateRequest{Preset: "public_chat"})
		before.join(room, bob)
		var first [3]matrix.EventID
		for i := range first {
			first[i] = before.send(room, alice, fmt.Sprint("old", i), fmt.Sprint("message ", i))
		}
		f := open(t, url)
		for n := range enough {
			f.send(room, alice, fmt.Sprint("new", n), "something new")
		}
		var all sync.WaitGroup
		const others = 40
		all.Go(func() {
			for n := range others {
				f.send(room, bob, fmt.Sprint("bob", n), "something else")
			}
		})
		for i, want := range first {
			for range 4 {
				all.Go(func() {
					if got := f.send(room, alice, fmt.Sprint("old", i), "another text"); got != want {
						t.Errorf("a repeat of %s has made %s", want, got)
					}
				})
			}
		}
		all.Wait()
		if n := f.messages(); n != enough+others {
			t.Errorf("%d messages after the restart, want %d", n, enough+others)
		}
		if got := f.send(room, alice, "old0", "once more"); got != first[0] {
			t.Errorf("a later repeat of %s has made %s", first[0], got)
		}
		if again := f.send(room, alice, "new0", "once more"); again == first[0] || f.messages() != enough+others {
			t.Error("what was sent after the restart is not remembered")
		}
	})
}

// A repeat is answered like the first, though the same would not be allowed now.
func TestRepeatsOfWhatIsNotAllowedAnyMore(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		before := open(t, url)
		room, other := before.create(rooms.CreateRequest{Preset: "public_chat"}), before.create(rooms.CreateRequest{Preset: "public_chat"})
		before.join(room, bob)
		before.join(other, bob)
		want := before.send(room, bob, "old", "hello")
		f := open(t, url)
		for n := range enough {
			f.send(other, bob, fmt.Sprint("new", n), "something new")
		}
		if err := f.Kick(t.Context(), rooms.MemberRequest{Room: room, Sender: alice, Target: bob}); err != nil {
			t.Fatal(err)
		}
		if got := f.send(room, bob, "old", "hello"); got != want {
			t.Errorf("a repeat of %s has made %s", want, got)
		}
		_, err := f.Send(t.Context(), rooms.SendRequest{Room: room, Sender: bob, Type: "m.room.message", Content: []byte(`{}`), TxnKey: "never"})
		f.wantCode(err, "M_FORBIDDEN")
	})
}

// So are the steps of ordered requests, of services that have not repeated anything for long.
func TestOrderedRepeatsAfterARestart(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		before := open(t, url)
		room := before.create(rooms.CreateRequest{Preset: "public_chat"})
		before.join(room, bob)
		old := []rooms.SendRequest{said(alice, "old 0"), said(bob, "old 1"), said(alice, "old 2")}
		first, err := before.SendOrdered(t.Context(), room, old, true)
		if err != nil {
			t.Fatal(err)
		}
		f := open(t, url)
		for n := range enough {
			if _, err := f.SendOrdered(t.Context(), room, []rooms.SendRequest{said(alice, fmt.Sprint("new ", n))}, true); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Kick(t.Context(), rooms.MemberRequest{Room: room, Sender: alice, Target: bob}); err != nil {
			t.Fatal(err)
		}
		// One that is not allowed any more, and one that only the database knows of.
		for _, repeat := range [][]rooms.SendRequest{{old[1], said(alice, "behind")}, {said(alice, "between"), old[0], old[2]}} {
			again, err := f.SendOrdered(t.Context(), room, repeat, true)
			if err != nil || len(again) != len(repeat) {
				t.Fatal(again, err)
			}
			for i, req := range repeat {
				for j := range old {
					if req.TxnKey == old[j].TxnKey && again[i] != first[j] {
						t.Errorf("a repeat of %v has made %v", first[j], again[i])
					}
				}
			}
		}
		if n := f.messages(); n != enough+2 {
			t.Errorf("%d messages after the restart, want %d", n, enough+2)
		}
		never, err := f.SendOrdered(t.Context(), room, []rooms.SendRequest{said(bob, "never")}, true)
		if err != nil || len(never) != 1 {
			t.Fatal(never, err)
		}
		f.wantCode(never[0].Err, "M_FORBIDDEN")
	})
}
