package fakehomeserver

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// OpenID gives a person a token with which services can be shown who they are.
func (h *Homeserver) OpenID(user string) (token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.openID == nil {
		h.openID = map[string]string{}
	}
	token = "openid" + user
	h.openID[token] = user
	return token
}

// userInfo is called with mu held.
func (h *Homeserver) userInfo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	user, known := h.openID[r.URL.Query().Get("access_token")]
	if !known {
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]string{"errcode": "M_UNKNOWN_TOKEN", "error": "unknown token"})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"sub": user})
}

// aliasesOf are a room's. It is called with mu held.
func (h *Homeserver) aliasesOf(room string) []string {
	aliases := []string{}
	for alias, of := range h.aliases {
		if of == room {
			aliases = append(aliases, alias)
		}
	}
	slices.Sort(aliases)
	return aliases
}

// Open makes a room one that everybody can read, and the bridge hears nothing of it.
func (h *Homeserver) Open(room string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	empty := ""
	h.rooms[room] = append(h.rooms[room], Event{
		ID: "$open", Room: room, Sender: "@somebody:" + ServerName, Type: "m.room.history_visibility", StateKey: &empty,
		Content: json.RawMessage(`{"history_visibility":"world_readable"}`), Time: time.Now().UnixMilli(),
	})
}
