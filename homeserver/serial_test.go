package homeserver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// A token may come from a process whose clock was ahead: its serial is larger than
// any that this one will have for a while, and old all the same.
func TestATokenFromAFasterClock(t *testing.T) {
	base := start(t, testkit.SQLite(t), nil)
	alice, bob := login(t, base, "alice"), login(t, base, "bob")
	room, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Invite: []id.UserID{bob.UserID}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.JoinRoomByID(t.Context(), room.RoomID); err != nil {
		t.Fatal(err)
	}
	since := syncUntil(t, bob, "", func(res *mautrix.RespSync) bool { return res.Rooms.Join[room.RoomID] != nil })
	position, _, _ := strings.Cut(since, "_")
	since = fmt.Sprintf("%s_%d", position, time.Now().Add(time.Hour).UnixMicro())
	if _, err := alice.UserTyping(t.Context(), room.RoomID, true, time.Minute); err != nil {
		t.Fatal(err)
	}
	syncUntil(t, bob, since, func(res *mautrix.RespSync) bool {
		joined := res.Rooms.Join[room.RoomID]
		return joined != nil && slices.ContainsFunc(joined.Ephemeral.Events, func(e *event.Event) bool { return e.Type.Type == "m.typing" })
	})
}
