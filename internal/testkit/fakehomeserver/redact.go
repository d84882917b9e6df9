package fakehomeserver

// ForbidRedactions keeps the bridge from redacting in a room.
func (h *Homeserver) ForbidRedactions(room string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.locked[room] = true
}

// FailKicks keeps the bridge from removing anybody from a room.
func (h *Homeserver) FailKicks(room string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unkickable[room] = true
}
