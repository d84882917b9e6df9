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

const (
	pageOfEvents = 100 // that are asked for at once
	oldPages     = 3   // one after another, behind which nothing newer is expected
	maxPages     = 50
)

// Missed reads what was sent to a room from a moment on and before the user joined it, as the homeserver has it: up to most
// events, the newest of them, in the room's order. What comes after that, the homeserver sends by itself. Of the room's
// state it is only that it was replaced. The order can be relied on, and times cannot: application services choose theirs,
// and other homeservers' clocks are wrong. So one old event ends nothing, and some hundred of them do.
func (u *User) Missed(ctx context.Context, room matrix.RoomID, from time.Time, most int) (events []json.RawMessage, err error) {
	token, joined, old := "", false, 0
	for pages := 0; pages < maxPages && old < oldPages; pages++ {
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
		old++
		for _, raw := range page.Chunk {
			var e seenEvent
			if json.Unmarshal(raw, &e) != nil {
				continue
			}
			if e.Time >= from.UnixMilli() {
				old = 0
			}
			switch {
			case e.joins(u.ID): // of several, the first
				joined, events = true, nil
			case e.Time < from.UnixMilli():
			case e.State == nil || e.Type == event.StateTombstone.Type && *e.State == "":
				events = append(events, raw)
			}
		}
		if token = page.End; token == "" || len(page.Chunk) == 0 || joined && len(events) >= most {
			break
		}
	}
	if !joined { // too long ago to be found
		return nil, nil
	}
	events = events[:min(len(events), most)]
	slices.Reverse(events)
	return events, nil
}

// A seenEvent is what matters of one that is only looked at.
type seenEvent struct {
	Type    string  `json:"type"`
	Time    int64   `json:"origin_server_ts"`
	State   *string `json:"state_key"`
	Content struct {
		Membership any `json:"membership"`
	} `json:"content"`
}

func (e seenEvent) joins(user matrix.UserID) bool {
	return e.Type == event.StateMember.Type && e.State != nil && *e.State == string(user) && e.Content.Membership == "join"
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
