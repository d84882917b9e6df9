package homeserver_test

import (
	"fmt"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"

	"trestle/internal/testkit"
)

// What comes due while the server is not there is sent, once, when it is back.
func TestDelayedEventsOutliveTheServer(t *testing.T) {
	server := testkit.StartTrestle(t, testkit.TrestleOptions{Args: []string{"--open-registration"}})
	alice := login(t, server.BaseURL, "alice")
	alice.Client.Transport = nil // the specification does not know delayed events yet
	room, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{})
	if err != nil {
		t.Fatal(err)
	}
	const events = 10
	for i := range events {
		url := alice.BuildURLWithQuery(mautrix.ClientURLPath{"v3", "rooms", room.RoomID, "send", "m.room.message", fmt.Sprint("later", i)},
			map[string]string{"org.matrix.msc4140.delay": fmt.Sprint(1 + 20*i)})
		content := &event.MessageEventContent{MsgType: event.MsgText, Body: fmt.Sprint("later ", i)}
		if _, err := alice.MakeRequest(t.Context(), "PUT", url, content, nil); err != nil {
			t.Fatal(err)
		}
	}
	server.Kill()
	server.Start()
	said := map[string]int{}
	syncUntil(t, alice, "", func(res *mautrix.RespSync) bool {
		for _, body := range messages(res, room.RoomID) {
			said[body]++
		}
		return len(said) == events
	})
	for body, times := range said {
		if times != 1 {
			t.Errorf("%q was sent %d times", body, times)
		}
	}
}
