package fakehomeserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// Successor makes a room of a person that says which room it replaces; private ones let in whom they have
// invited.
func (h *Homeserver) Successor(user, predecessor string, private bool) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	room, empty := fmt.Sprintf("!next%d:%s", h.next, ServerName), ""
	content, _ := json.Marshal(map[string]any{"room_version": "11", "predecessor": map[string]string{"room_id": predecessor, "event_id": "$last"}})
	h.add(Event{Room: room, Sender: user, Type: "m.room.create", StateKey: &empty, Content: content})
	h.setMembership(room, user, user, "join", "")
	h.private[room] = private
	levels, _ := json.Marshal(map[string]any{"users": map[string]int{user: 100, "@" + Sender + ":" + ServerName: 100}})
	h.add(Event{Room: room, Sender: user, Type: "m.room.power_levels", StateKey: &empty, Content: levels})
	return room
}

// Tombstone replaces a room by another, and has it take no more messages of virtual users.
func (h *Homeserver) Tombstone(room, user, replacement string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed[room] = true
	empty := ""
	content, _ := json.Marshal(map[string]string{"body": "moved", "replacement_room": replacement})
	h.add(Event{Room: room, Sender: user, Type: "m.room.tombstone", StateKey: &empty, Content: content})
}

// Reopen has a room that was replaced take messages of virtual users all the same, as it does of those who have
// rights there.
func (h *Homeserver) Reopen(room string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed[room] = false
}

// mayJoin is called with mu held.
func (h *Homeserver) mayJoin(room, user string) error {
	if membership := h.membership(room, user); h.private[room] && membership != "invite" && membership != "join" {
		return failure{http.StatusForbidden, "M_FORBIDDEN", "by invitation only"}
	}
	return nil
}

// messages is called with mu held: the newest first.
func (h *Homeserver) messages(r *request) any {
	all := slices.Clone(h.rooms[r.path[2]])
	slices.Reverse(all)
	from, _ := strconv.Atoi(r.query.Get("from"))
	limit, err := strconv.Atoi(r.query.Get("limit"))
	if err != nil {
		limit = 10
	}
	from = min(from, len(all))
	page := all[from:min(from+limit, len(all))]
	answer := map[string]any{"start": strconv.Itoa(from), "chunk": page}
	if from+limit < len(all) {
		answer["end"] = strconv.Itoa(from + limit)
	}
	return answer
}

// State is the content of a state event, or empty.
func (h *Homeserver) State(room, eventType, stateKey string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.allState(room) {
		if e.Type == eventType && *e.StateKey == stateKey {
			return string(e.Content)
		}
	}
	return ""
}

// Look asks the bridge for something, and returns the status and the body.
func (h *Homeserver) Look(path string) (status int, body string) {
	h.mu.Lock()
	service := h.service
	h.mu.Unlock()
	req, err := http.NewRequest(http.MethodGet, service+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+HSToken)
	resp, err := h.client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}
