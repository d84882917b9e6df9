package rooms_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// remembered is a message of bob's from the past.
func remembered(id, body string) rooms.ImportedEvent {
	content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
	return rooms.ImportedEvent{ID: matrix.EventID(id), Sender: bob, Type: "m.room.message", Content: content, Timestamp: 1000}
}

func (f *fixture) imports(room matrix.RoomID, events ...rooms.ImportedEvent) *rooms.Import {
	f.t.Helper()
	done, err := f.Import(f.t.Context(), rooms.ImportRequest{
		Room: room, By: alice, Events: events, Ghost: func(user matrix.UserID) bool { return user == bob },
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return done
}

// bodies is what is said in a room, from its oldest place on.
func (f *fixture) bodies(room matrix.RoomID) (list []string) {
	f.t.Helper()
	for _, e := range f.history(room) {
		var content struct{ Body string }
		if json.Unmarshal(e.Content, &content) == nil && content.Body != "" {
			list = append(list, content.Body)
		}
	}
	return list
}

// Places that were taken stay taken when the room is loaded anew, and what is
// said next builds on the room as it was.
func TestImportsGoBeforeImports(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		first := f.send(room, alice, "", "now")
		f.imports(room, remembered("$c:x", "c"), remembered("", "d"))
		f = open(t, url)
		f.imports(room, remembered("$a:x", "a"), remembered("$b:x", "b"))
		f.send(room, alice, "", "later")
		if got := f.bodies(room); !slices.Equal(got, []string{"a", "b", "c", "d", "now", "later"}) {
			t.Errorf("the room has %q", got)
		}
		events := f.history(room)
		if last := events[len(events)-1]; len(last.PrevEvents) != 1 || last.PrevEvents[0] != first {
			t.Errorf("what was said next follows %v", last.PrevEvents)
		}
		for _, e := range events[:4] {
			if !e.Backfilled() || e.Sender != bob || e.Root == 0 {
				t.Errorf("%s is at %d", e.ID, e.Ordering)
			}
		}
	})
}

// The same batch from several sides at once goes in once.
func TestImportsAtOnce(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		var group sync.WaitGroup
		for n := range 8 {
			group.Go(func() {
				req := rooms.ImportRequest{
					Room: room, By: alice, Forward: n%2 == 0, Ghost: func(matrix.UserID) bool { return true },
					Events: []rooms.ImportedEvent{remembered("$a:x", "a"), remembered("", "b"), remembered(fmt.Sprintf("$%d:x", n), "own")},
				}
				if _, err := f.Import(t.Context(), req); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := f.bodies(room); len(got) != 10 {
			t.Errorf("the room has %q", got)
		}
	})
}

// Who has left before the import sees nothing of it; who comes later sees it
// where the room's history is shared.
func TestWhoSeesImports(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		for visibility, want := range map[string]map[matrix.UserID]bool{
			"shared": {alice: true, bob: false, carol: true},
			"joined": {alice: true, bob: false, carol: false},
		} {
			content := json.RawMessage(`{"history_visibility":"` + visibility + `"}`)
			room := f.create(rooms.CreateRequest{Preset: "public_chat", InitialState: []rooms.InitialState{{Type: "m.room.history_visibility", Content: content}}})
			f.join(room, bob)
			if err := f.Leave(t.Context(), rooms.MemberRequest{Room: room, Sender: bob}); err != nil {
				t.Fatal(err)
			}
			done := f.imports(room, remembered("", "past"))
			f.join(room, carol)
			event := f.history(room)[0]
			if event.ID != done.IDs[0] {
				t.Fatalf("the oldest event is %s", event.ID)
			}
			for user, sees := range want {
				if visible, _, err := f.sightOf(room, user).Of(t.Context(), event); err != nil || visible != sees {
					t.Errorf("%s: %s sees it: %v, %v", visibility, user, visible, err)
				}
			}
		}
	})
}

func (f *fixture) sightOf(room matrix.RoomID, user matrix.UserID) *rooms.Sight {
	f.t.Helper()
	info, err := f.Info(f.t.Context(), room)
	if err != nil {
		f.t.Fatal(err)
	}
	sight, err := f.Sight(f.t.Context(), info, user)
	if err != nil {
		f.t.Fatal(err)
	}
	return sight
}
