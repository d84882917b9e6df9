package ephemeral

import (
	"encoding/json"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// What is here is the events as application services are sent them: those of
// /sync with the room's ID inside (Application Service API § Pushing ephemeral
// data).

// TypingIn is the m.typing event of a room, also if nobody types.
func (s *Service) TypingIn(nid int64, room matrix.RoomID) json.RawMessage {
	return flat(typingEvent{Type: "m.typing", Content: typingContent{s.typists.in(nid)}, RoomID: room})
}

// ReceiptIn is the m.receipt event of one receipt in a room.
func ReceiptIn(room matrix.RoomID, r storage.Receipt) json.RawMessage {
	event := receiptEvent{Type: "m.receipt", Content: map[matrix.EventID]map[string]map[matrix.UserID]receiptContent{}, RoomID: room}
	event.add(r)
	return flat(event)
}

// PresenceOf is the m.presence event of a user as others see it now.
func (s *Service) PresenceOf(user matrix.UserID) json.RawMessage {
	now := s.options.Now()
	status := Status{Presence: Offline}
	locked(&s.people.mu, func() {
		if p := s.people.known[user]; p != nil {
			status = p.state(now, s.people.idleAfter)
		}
	})
	return flat(presenceEvent{Type: "m.presence", Sender: user, Content: status})
}

func flat(event any) json.RawMessage {
	raw, err := json.Marshal(event)
	if err != nil {
		panic(err) // they are made of texts and numbers
	}
	return raw
}
