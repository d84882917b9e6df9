package fakehomeserver

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// moderation works off bans, redactions, listings and whole states; false if the request is
// none of these. It is called with mu held.
func (h *Homeserver) moderation(method string, r *request) (answer any, known bool) {
	switch {
	case r.is("v3/rooms/*/ban"):
		h.setMembership(r.path[2], r.user, r.text("user_id"), "ban", r.text("reason"))
	case r.is("v3/rooms/*/unban"):
		h.setMembership(r.path[2], r.user, r.text("user_id"), "leave", "")
	case r.is("v3/rooms/*/redact/*/*"):
		key := r.user + " redact " + r.path[5]
		if h.sent[key] == "" {
			content, _ := json.Marshal(map[string]string{"redacts": r.path[4], "reason": r.text("reason")})
			h.sent[key] = h.add(Event{Room: r.path[2], Sender: r.user, Type: "m.room.redaction", Content: content})
		}
		return map[string]string{"event_id": h.sent[key]}, true
	case r.is("v3/directory/list/room/*") && method == http.MethodPut:
		h.listed[r.path[4]] = r.text("visibility") == "public"
		h.change()
	case r.is("v3/join/*"):
		room := r.path[2]
		if to, found := h.aliases[room]; found {
			room = to
		}
		h.setMembership(room, r.user, r.user, "join", "")
		return map[string]string{"room_id": room}, true
	case r.is("v3/rooms/*/state"):
		return h.allState(r.path[2]), true
	case r.is("v3/rooms/*/joined_members"):
		joined := map[string]any{}
		for _, e := range h.allState(r.path[2]) {
			if e.Type == "m.room.member" && e.Membership() == "join" {
				joined[*e.StateKey] = map[string]string{"display_name": h.users[*e.StateKey]}
			}
		}
		return map[string]any{"joined": joined}, true
	default:
		return nil, false
	}
	return struct{}{}, true
}

// allState is a room's state. It is called with mu held.
func (h *Homeserver) allState(room string) []Event {
	type key struct{ eventType, stateKey string }
	at := map[key]int{}
	var state []Event
	for _, e := range h.rooms[room] {
		if e.StateKey == nil {
			continue
		}
		k := key{e.Type, *e.StateKey}
		if i, set := at[k]; set {
			state[i] = e
		} else {
			at[k] = len(state)
			state = append(state, e)
		}
	}
	return state
}

// Listed tells whether a room is in the directory of public rooms.
func (h *Homeserver) Listed(room string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.listed[room]
}

// Room makes a room of a person, which has an alias if one is given.
func (h *Homeserver) Room(user, alias string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	room := fmt.Sprintf("!own%d:%s", h.next, ServerName)
	h.setMembership(room, user, user, "join", "")
	if alias != "" {
		h.aliases[alias] = room
	}
	return room
}

// Resolve is the room that an alias leads to, or empty.
func (h *Homeserver) Resolve(alias string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.aliases[alias]
}
