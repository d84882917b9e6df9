package fakehomeserver

import (
	"fmt"
	"strings"
	"time"
)

// patience is far more than anything takes: machines that run tests are busy.
const patience = 2 * time.Minute

// Events are those of a room that match.
func (h *Homeserver) Events(room string, match func(Event) bool) []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []Event
	for _, e := range h.rooms[room] {
		if match(e) {
			found = append(found, e)
		}
	}
	return found
}

// Wait waits until the room has an event that matches, and returns it.
func (h *Homeserver) Wait(room, what string, match func(Event) bool) Event {
	h.t.Helper()
	found := h.WaitN(room, what, 1, match)
	return found[len(found)-1]
}

// WaitN waits until the room has so many events that match.
func (h *Homeserver) WaitN(room, what string, n int, match func(Event) bool) []Event {
	h.t.Helper()
	timeout := time.After(patience)
	for {
		h.mu.Lock()
		changed := h.changed
		h.mu.Unlock()
		found := h.Events(room, match)
		if len(found) >= n {
			return found
		}
		select {
		case <-changed:
		case <-timeout:
			h.t.Fatalf("waited for %s, %d times, in %s; there is:\n%s", what, n, room, h.dump(room))
		}
	}
}

// WaitBody waits for a message.
func (h *Homeserver) WaitBody(room, sender, body string) Event {
	h.t.Helper()
	return h.Wait(room, fmt.Sprintf("%q by %s", body, sender), func(e Event) bool {
		return e.Type == "m.room.message" && (sender == "" || e.Sender == sender) && e.Body() == body
	})
}

// WaitMembership waits until a user has a membership.
func (h *Homeserver) WaitMembership(room, user, membership string) Event {
	h.t.Helper()
	timeout := time.After(patience)
	for {
		h.mu.Lock()
		changed, now := h.changed, h.membership(room, user)
		h.mu.Unlock()
		if now == membership {
			all := h.Events(room, func(e Event) bool { return e.Type == "m.room.member" && *e.StateKey == user })
			if len(all) == 0 {
				return Event{}
			}
			return all[len(all)-1]
		}
		select {
		case <-changed:
		case <-timeout:
			h.t.Fatalf("%s is %q, not %q; there is:\n%s", user, now, membership, h.dump(room))
		}
	}
}

func (h *Homeserver) dump(room string) string {
	var text strings.Builder
	for _, e := range h.Events(room, func(Event) bool { return true }) {
		fmt.Fprintf(&text, "%s %s %s\n", e.Sender, e.Type, e.Content)
	}
	return text.String()
}

// Membership is a user's in a room.
func (h *Homeserver) Membership(room, user string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.membership(room, user)
}
