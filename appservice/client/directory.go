package client

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"

	"trestle/internal/matrix"
)

// pageOfEvents is how many events are asked for at once.
const pageOfEvents = 100

// Since reads what was sent to a room from a moment on, as the homeserver has it: up to most events, the newest of
// them, in the room's order. Of its state it is only that the room was replaced.
func (u *User) Since(ctx context.Context, room matrix.RoomID, from time.Time, most int) (events []json.RawMessage, err error) {
	token := ""
	for len(events) < most {
		query := map[string]string{"dir": "b", "limit": strconv.Itoa(pageOfEvents)}
		if token != "" {
			query["from"] = token
		}
		var page struct {
			Chunk []json.RawMessage `json:"chunk"`
			End   string            `json:"end"`
		}
		path := mautrix.ClientURLPath{"v3", "rooms", room, "messages"}
		if _, err := u.api.MakeRequest(ctx, http.MethodGet, u.api.BuildURLWithQuery(path, query), nil, &page); err != nil {
			return nil, err
		}
		for _, raw := range page.Chunk {
			var e struct {
				Type  string  `json:"type"`
				Time  int64   `json:"origin_server_ts"`
				State *string `json:"state_key"`
			}
			if json.Unmarshal(raw, &e) != nil || e.State != nil && (e.Type != event.StateTombstone.Type || *e.State != "") {
				continue
			}
			if e.Time >= from.UnixMilli() && len(events) < most {
				events = append(events, raw)
			}
		}
		if token = page.End; token == "" || len(page.Chunk) == 0 {
			break
		}
	}
	slices.Reverse(events)
	return events, nil
}

// LatestOf are the newest events of some types by a user in a room, the newest first, at most a hundred.
func (u *User) LatestOf(ctx context.Context, room matrix.RoomID, sender matrix.UserID, types ...string) ([]*event.Event, error) {
	filter, err := json.Marshal(map[string][]string{"senders": {string(sender)}, "types": types})
	if err != nil {
		return nil, err
	}
	var page struct {
		Chunk []*event.Event `json:"chunk"`
	}
	path := mautrix.ClientURLPath{"v3", "rooms", room, "messages"}
	query := map[string]string{"dir": "b", "limit": strconv.Itoa(pageOfEvents), "filter": string(filter)}
	if _, err := u.api.MakeRequest(ctx, http.MethodGet, u.api.BuildURLWithQuery(path, query), nil, &page); err != nil {
		return nil, err
	}
	// Not every homeserver knows filters here.
	return slices.DeleteFunc(page.Chunk, func(e *event.Event) bool {
		return e == nil || matrix.UserID(e.Sender) != sender || e.StateKey != nil || !slices.Contains(types, e.Type.Type)
	}), nil
}
