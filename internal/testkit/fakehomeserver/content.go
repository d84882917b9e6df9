package fakehomeserver

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// A File is one of the content repository.
type File struct {
	Type    string
	Data    []byte
	Missing int // bytes that are promised and do not come
}

// Upload puts a file where mxc://localhost/id leads.
func (h *Homeserver) Upload(id string, file File) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.files == nil {
		h.files = map[string]File{}
	}
	h.files[id] = file
}

// download is called with mu held.
func (h *Homeserver) download(w http.ResponseWriter, r *http.Request, req *request) {
	file, ok := h.files[req.path[4]]
	if r.Header.Get("Authorization") != "Bearer "+ASToken || req.path[3] != ServerName || !ok {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]string{"errcode": "M_NOT_FOUND", "error": "no such file"})
		return
	}
	w.Header().Set("Content-Type", file.Type)
	w.Header().Set("Content-Length", strconv.Itoa(len(file.Data)+file.Missing))
	_, _ = w.Write(file.Data)
}

// event is called with mu held.
func (h *Homeserver) event(r *request) (any, error) {
	for _, e := range h.rooms[r.path[2]] {
		if e.ID == r.path[4] {
			return e, nil
		}
	}
	return nil, failure{404, "M_NOT_FOUND", "no such event"}
}

// Redact takes the content of an event away, as a person.
func (h *Homeserver) Redact(room, user, event string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, e := range h.rooms[room] {
		if e.ID == event {
			h.rooms[room][i].Content = json.RawMessage(`{}`)
		}
	}
	content, _ := json.Marshal(map[string]string{"redacts": event})
	h.add(Event{Room: room, Sender: user, Type: "m.room.redaction", Content: content, Redacts: event})
}

// typing is called with mu held. It is kept as an event that the bridge is not sent.
func (h *Homeserver) typing(r *request) {
	content, _ := json.Marshal(r.body)
	h.rooms[r.path[2]] = append(h.rooms[r.path[2]], Event{
		Room: r.path[2], Sender: r.path[4], Type: "m.typing", Content: content, Time: time.Now().UnixMilli(),
	})
	h.change()
}

// Type tells the bridge who is typing in a room.
func (h *Homeserver) Type(room string, users ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if users == nil {
		users = []string{}
	}
	content, _ := json.Marshal(map[string][]string{"user_ids": users})
	raw, _ := json.Marshal(map[string]any{"type": "m.typing", "room_id": room, "content": json.RawMessage(content)})
	h.ephemeral = append(h.ephemeral, raw)
	h.change()
}
