package syncer

import (
	"bytes"
	"encoding/json"

	"trestle/homeserver/accounts"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// limitOf is how many events a filter wants: at least 0, at most most.
func limitOf(f *accounts.RoomEventFilter, usual, most int) int {
	if f.Limit == nil {
		return usual
	}
	return int(max(0, min(*f.Limit, int64(most))))
}

// Wants reports whether a filter lets an event through.
func Wants(f *accounts.RoomEventFilter, e *storage.Event) bool {
	if !f.Allows(e.Type, e.Sender) || !f.AllowsRoom(e.RoomID) {
		return false
	}
	if f.RelTypes != nil || len(f.NotRelTypes) > 0 {
		relType := ""
		if relation := e.Relation(); relation != nil {
			relType = relation.Type
		}
		if !f.AllowsRelation(relType) {
			return false
		}
	}
	return f.ContainsURL == nil || f.AllowsURL(hasURL(e.Content))
}

func hasURL(content json.RawMessage) bool {
	if !bytes.Contains(content, []byte(`"url"`)) {
		return false
	}
	var c struct {
		URL *string `json:"url"`
	}
	return json.Unmarshal(content, &c) == nil && c.URL != nil
}

// wantedOf selects events that are JSON already, by type and sender.
func wantedOf(f *accounts.EventFilter, events []json.RawMessage) []json.RawMessage {
	if f.Types == nil && f.Senders == nil && len(f.NotTypes)+len(f.NotSenders) == 0 {
		return events
	}
	var kept []json.RawMessage
	for _, raw := range events {
		var e struct {
			Type   string        `json:"type"`
			Sender matrix.UserID `json:"sender"`
		}
		if json.Unmarshal(raw, &e) == nil && f.Allows(e.Type, e.Sender) {
			kept = append(kept, raw)
		}
	}
	return kept
}
