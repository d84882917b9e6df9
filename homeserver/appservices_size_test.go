package homeserver_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/appservice"
	"trestle/internal/testkit"
)

// What is shown with an event counts as well as the event: invites to a room with a
// long name and topic do not make a transaction that a service has no room for.
func TestTransactionsAreNoLongerThanPromised(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database)
		var down atomic.Bool
		down.Store(true)
		s.Answer = func(testkit.Attempt) int {
			if down.Load() {
				return http.StatusServiceUnavailable
			}
			return http.StatusOK
		}
		var longest atomic.Int64
		s.Body = func(body []byte) { longest.Store(max(longest.Load(), int64(len(body)))) }
		alice := login(t, s.base, "alice")
		room, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{})
		if err != nil {
			t.Fatal(err)
		}
		for kind, member := range map[event.Type]string{event.StateTopic: "topic", event.StateRoomName: "name"} {
			if _, err := alice.SendStateEvent(t.Context(), room.RoomID, kind, "", map[string]string{member: strings.Repeat("x", 50_000)}); err != nil {
				t.Fatal(err)
			}
		}
		const invites = 40
		for i := range invites {
			if _, err := alice.InviteUser(t.Context(), room.RoomID, &mautrix.ReqInviteUser{UserID: id.UserID(fmt.Sprintf("@irc_%d:test", i))}); err != nil {
				t.Fatal(err)
			}
		}
		down.Store(false)
		s.Until(t, invites)
		if longest := longest.Load(); longest < 100_000 || longest > 1_200_000 {
			t.Errorf("the longest transaction has %d bytes", longest)
		}
	})
}

// One message to all devices of a user who has many does not make a transaction that a
// service has no room for, either.
func TestMessagesToManyDevicesAreSeveralTransactions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database, keeper)
		var longest atomic.Int64
		s.Body = func(body []byte) { longest.Store(max(longest.Load(), int64(len(body)))) }
		alice := login(t, s.base, "alice")
		s.register("irc_bob")
		const devices = 60
		for n := range devices {
			s.device("@irc_bob:test", id.DeviceID(fmt.Sprint("D", n)))
		}
		tell(t, alice, "@irc_bob:test", "*", strings.Repeat("x", 50_000))
		s.UntilSeen(t, "all messages", func(txns []*appservice.Transaction) bool { return len(told(t, txns)) == devices })
		if longest := longest.Load(); longest < 100_000 || longest > 1_200_000 {
			t.Errorf("the longest transaction has %d bytes", longest)
		}
	})
}
