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
	"trestle/registration"
)

func receivesEphemeral(r *registration.Registration) { r.ReceiveEphemeral = true }

// ephemeral is what the service was sent of one type, in order.
func ephemeral(txns []*appservice.Transaction, eventType string) (list []string) {
	for _, txn := range txns {
		for _, raw := range txn.Ephemeral {
			if strings.Contains(string(raw), `"type":"`+eventType+`"`) {
				list = append(list, string(raw))
			}
		}
	}
	return list
}

// untilLast waits until the newest ephemeral event of a type has a text in it.
func (s *service) untilLast(eventType, part string) {
	s.t.Helper()
	s.UntilSeen(s.t, eventType+" with "+part, func(txns []*appservice.Transaction) bool {
		list := ephemeral(txns, eventType)
		return len(list) > 0 && strings.Contains(list[len(list)-1], part)
	})
}

// room makes a room with alice, a person, and bob, a ghost.
func (s *service) room(alice *mautrix.Client) (room id.RoomID, ghost *mautrix.Client) {
	s.t.Helper()
	made, err := alice.CreateRoom(s.t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat"})
	if err != nil {
		s.t.Fatal(err)
	}
	ghost = s.register("irc_bob")
	if _, err := ghost.JoinRoomByID(s.t.Context(), made.RoomID); err != nil {
		s.t.Fatal(err)
	}
	return made.RoomID, ghost
}

func say(t *testing.T, client *mautrix.Client, room id.RoomID, body string) id.EventID {
	t.Helper()
	sent, err := client.SendText(t.Context(), room, body)
	if err != nil {
		t.Fatal(err)
	}
	return sent.EventID
}

func read(t *testing.T, client *mautrix.Client, room id.RoomID, e id.EventID, kind event.ReceiptType) {
	t.Helper()
	if err := client.SendReceipt(t.Context(), room, e, kind, nil); err != nil {
		t.Fatal(err)
	}
}

func TestServicesSeeTypingReceiptsAndPresence(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := withService(t, database, receivesEphemeral)
		ctx := t.Context()
		alice := login(t, s.base, "alice")
		room, ghost := s.room(alice)
		elsewhere, err := alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{})
		if err != nil {
			t.Fatal(err)
		}
		for _, typing := range []bool{true, false} {
			for _, in := range []id.RoomID{elsewhere.RoomID, room} {
				if _, err := alice.UserTyping(ctx, in, typing, 60_000_000_000); err != nil {
					t.Fatal(err)
				}
			}
			who := `{"user_ids":[]}`
			if typing {
				who = `{"user_ids":["@alice:test"]}`
			}
			s.untilLast("m.typing", `{"type":"m.typing","content":`+who+`,"room_id":"`+string(room)+`"}`)
		}
		first, second := say(t, alice, room, "one"), say(t, alice, room, "two")
		other := say(t, alice, elsewhere.RoomID, "three")
		read(t, alice, room, first, event.ReceiptTypeReadPrivate)
		read(t, alice, elsewhere.RoomID, other, event.ReceiptTypeRead)
		read(t, ghost, room, first, event.ReceiptTypeReadPrivate)
		s.untilLast("m.receipt", `"m.read.private":{"@irc_bob:test"`)
		read(t, alice, room, second, event.ReceiptTypeRead)
		s.untilLast("m.receipt", string(second)+`":{"m.read":{"@alice:test":{"ts":`)
		if err := alice.SetPresence(ctx, mautrix.ReqPresence{Presence: event.PresenceUnavailable, StatusMsg: "tea"}); err != nil {
			t.Fatal(err)
		}
		s.untilLast("m.presence", `"sender":"@alice:test"`)
		for _, raw := range append(ephemeral(s.Transactions(), "m.receipt"), ephemeral(s.Transactions(), "m.typing")...) {
			if !strings.Contains(raw, `"room_id":"`+string(room)+`"`) || strings.Contains(raw, `"m.read.private":{"@alice`) {
				t.Errorf("the service was sent %s", raw)
			}
		}
	})
}

// While a service is down, its backlog does not grow by what is old news.
func TestOldNewsIsNotSent(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		var down atomic.Bool
		s := withService(t, database, func(r *registration.Registration) { r.PushEphemeral = true })
		s.Answer = func(testkit.Attempt) int {
			if down.Load() {
				return http.StatusServiceUnavailable
			}
			return http.StatusOK
		}
		ctx := t.Context()
		alice := login(t, s.base, "alice")
		room, _ := s.room(alice)
		s.untilEvent("irc_bob")
		down.Store(true)
		var newest id.EventID
		for i := range 40 {
			newest = say(t, alice, room, fmt.Sprint("message ", i))
			read(t, alice, room, newest, event.ReceiptTypeRead)
			if _, err := alice.UserTyping(ctx, room, i%2 == 0, 60_000_000_000); err != nil {
				t.Fatal(err)
			}
		}
		s.UntilAttempt(t, len(s.Attempts())+1)
		down.Store(false)
		s.untilBody("message 39")
		s.untilLast("m.receipt", string(newest))
		s.untilLast("m.typing", `{"user_ids":[]}`)
		if n := len(ephemeral(s.Transactions(), "m.receipt")); n > 10 {
			t.Errorf("%d receipts of one person in one room were sent", n)
		}
		if n := len(ephemeral(s.Transactions(), "m.typing")); n > 10 {
			t.Errorf("%d times typing was sent", n)
		}
	})
}

// untilEvent waits for an event with a text in it.
func (s *service) untilEvent(part string) {
	s.t.Helper()
	s.UntilSeen(s.t, "an event with "+part, func(txns []*appservice.Transaction) bool {
		for _, txn := range txns {
			for _, raw := range txn.Events {
				if strings.Contains(string(raw), part) {
					return true
				}
			}
		}
		return false
	})
}
