package client

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"maunium.net/go/mautrix"

	"trestle/internal/matrix"
)

// pageOfEvents is how many events are asked for at once.
const pageOfEvents = 100

// Since reads what was sent to a room, state aside, from a moment on, as the homeserver has it: up to
// most events, the newest of them, in the room's order.
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
				Time  int64   `json:"origin_server_ts"`
				State *string `json:"state_key"`
			}
			if json.Unmarshal(raw, &e) == nil && e.State == nil && e.Time >= from.UnixMilli() && len(events) < most {
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
