package fakehomeserver

// ForbidRedactions keeps the bridge from redacting in a room.
func (h *Homeserver) ForbidRedactions(room string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.locked[room] = true
}
