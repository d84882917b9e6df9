package homeserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// TestWhoComesLateLooksBack has somebody come into a room of another server and read what was said there before, page by page and from
// points in time.
func TestWhoComesLateLooksBack(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		authority := testkit.NewAuthority(t)
		here, there := federate(t, authority, testkit.SQLite(t), nil), federate(t, authority, database, nil)
		alice := login(t, here.clients, "alice")
		charlie := login(t, there.clients, "charlie")
		room, said := talked(t, alice, 5)
		if _, err := charlie.JoinRoom(t.Context(), string(room), &mautrix.ReqJoinRoom{Via: []string{here.name}}); err != nil {
			t.Fatal(err)
		}
		if found := nearest(t, charlie, room, said[3].at, "b"); found != said[3].id {
			t.Errorf("at the time of event 3 there is %s, want %s", found, said[3].id)
		}
		if found := nearest(t, charlie, room, said[1].at-1, "f"); found != said[1].id {
			t.Errorf("after the time of event 0 there is %s, want %s", found, said[1].id)
		}
		var around struct{ Start, End string }
		address := charlie.BuildURLWithQuery(mautrix.ClientURLPath{"v3", "rooms", room, "context", said[3].id}, map[string]string{"limit": "0"})
		if _, err := charlie.MakeRequest(t.Context(), http.MethodGet, address, nil, &around); err != nil {
			t.Fatal(err)
		}
		for token, want := range map[string][]id.EventID{
			around.Start: {said[0].id, said[1].id, said[2].id},
			around.End:   {said[0].id, said[1].id, said[2].id, said[3].id},
		} {
			if got := back(t, charlie, room, token, 100); !slices.Equal(got, want) {
				t.Errorf("before %s there is %v, want %v", token, got, want)
			}
		}

		// What was said today may be from another time, and is found there.
		before := time.Now().UnixMilli() - 1
		room, _ = talked(t, alice, 3)
		old, err := here.server.Rooms().Send(t.Context(), rooms.SendRequest{
			Room: matrix.RoomID(room), Sender: matrix.UserID(alice.UserID), Type: "m.room.message",
			Content: json.RawMessage(`{"body":"old","msgtype":"m.text"}`), Timestamp: 1_641_168_000_000,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := charlie.JoinRoom(t.Context(), string(room), &mautrix.ReqJoinRoom{Via: []string{here.name}}); err != nil {
			t.Fatal(err)
		}
		if found := nearest(t, charlie, room, before, "b"); found != id.EventID(old) {
			t.Errorf("before the room began there is %s, want %s", found, old)
		}

		// And a page at a time in another room.
		room, said = talked(t, alice, 130)
		if _, err := charlie.JoinRoom(t.Context(), string(room), &mautrix.ReqJoinRoom{Via: []string{here.name}}); err != nil {
			t.Fatal(err)
		}
		var want []id.EventID
		for _, s := range said {
			want = append(want, s.id)
		}
		if got := back(t, charlie, room, "", 20); !slices.Equal(got, want) {
			t.Errorf("%d events are found, want %d", len(got), len(want))
		}
	})
}

type saying struct {
	id id.EventID
	at int64
}

// talked is a room in which so much was said, each at a time of its own.
func talked(t *testing.T, who *mautrix.Client, count int) (id.RoomID, []saying) {
	t.Helper()
	room, err := who.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	var list []saying
	for i := range count {
		sent, err := who.SendText(t.Context(), room.RoomID, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		e, err := who.GetEvent(t.Context(), room.RoomID, sent.EventID)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, saying{sent.EventID, e.Timestamp})
		for count < 10 && time.Now().UnixMilli() <= e.Timestamp+1 {
			runtime.Gosched() // the clock is the server's own
		}
	}
	return room.RoomID, list
}

func nearest(t *testing.T, who *mautrix.Client, room id.RoomID, ts int64, dir string) id.EventID {
	t.Helper()
	var found struct {
		EventID id.EventID `json:"event_id"`
	}
	address := who.BuildURLWithQuery(mautrix.ClientURLPath{"v1", "rooms", room, "timestamp_to_event"}, map[string]string{"ts": fmt.Sprint(ts), "dir": dir})
	if _, err := who.MakeRequest(t.Context(), http.MethodGet, address, nil, &found); err != nil {
		t.Fatal(err)
	}
	return found.EventID
}

// back is the messages before a place, the oldest first, by pages of so many events.
func back(t *testing.T, who *mautrix.Client, room id.RoomID, from string, limit int) []id.EventID {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var list []id.EventID
	for {
		page, err := who.Messages(ctx, room, from, "", mautrix.DirectionBackward, nil, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Chunk {
			if e.Type.Type == "m.room.message" {
				list = append(list, e.ID)
			}
		}
		if from = page.End; from == "" {
			slices.Reverse(list)
			return list
		}
	}
}
