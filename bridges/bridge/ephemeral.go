package bridge

import (
	"encoding/json"

	"trestle/internal/matrix"
)

// maxTyping is how many users of a room are told to be typing; the rest is left out.
const maxTyping = 50

// Typing may be implemented by a [Remote] that shows who types.
type Typing interface {
	// HandleTyping is told which people are typing in a portal's room now. It must not
	// block.
	HandleTyping(p *Portal, users []matrix.UserID)
}

// HandleEphemeral implements client.Ephemeral.
func (b *Bridge) HandleEphemeral(raw json.RawMessage) {
	remote, ok := b.remote.(Typing)
	var e struct {
		Type    string        `json:"type"`
		Room    matrix.RoomID `json:"room_id"`
		Content struct {
			UserIDs []matrix.UserID `json:"user_ids"`
		} `json:"content"`
	}
	if !ok || json.Unmarshal(raw, &e) != nil || e.Type != "m.typing" {
		return
	}
	p := b.FindRoom(e.Room)
	if p == nil {
		return
	}
	people := make([]matrix.UserID, 0, len(e.Content.UserIDs))
	for _, user := range e.Content.UserIDs {
		if _, ghost := b.remote.Ghost(user); !ghost && user != b.client.Bot().ID && len(people) < maxTyping {
			people = append(people, user)
		}
	}
	remote.HandleTyping(p, people)
}
