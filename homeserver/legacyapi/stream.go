package legacyapi

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

func (a *legacyAPI) streamRoutes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodGet, prefix+"/events", api.Guest, a.events),
		api.Endpoint(http.MethodGet, prefix+"/events/{eventId}", api.Guest, a.event),
		api.Endpoint(http.MethodGet, prefix+"/initialSync", api.Guest, a.initialSync),
		api.Endpoint(http.MethodGet, prefix+"/rooms/{roomId}/initialSync", api.Guest, a.roomInitialSync),
	}
}

type eventsRequest struct {
	From    string        `query:"from"`
	To      string        `query:"to"`
	Limit   *int64        `query:"limit"`
	Timeout *int64        `query:"timeout"`
	Room    matrix.RoomID `query:"room_id"`
}

// events is the stream, forwards: backwards, each room has its messages.
func (a *legacyAPI) events(ctx context.Context, who api.Caller, req *eventsRequest) (*page, error) {
	wanted := syncer.StreamRequest{
		User: who.UserID, Device: who.DeviceID, From: req.From, Room: req.Room, Ephemeral: true, Stop: api.Draining(ctx),
	}
	if req.Limit != nil {
		limit, err := pageSize(req.Limit)
		if err != nil {
			return nil, err
		}
		wanted.Limit = max(1, limit)
	}
	if req.Timeout != nil {
		if *req.Timeout < 0 {
			return nil, badPagination("timeout is a number of milliseconds.")
		}
		wanted.Timeout = time.Duration(min(*req.Timeout, 3_600_000)) * time.Millisecond
	}
	if req.To != "" && req.To != last {
		return nil, badPagination("The stream goes on to END; what was before is read room by room.")
	}
	switch req.From {
	case last:
		wanted.From = ""
	case first:
		wanted.From = syncer.Token{Position: math.MinInt64}.String()
	case "":
	default:
		if _, err := syncer.ParseToken(req.From); err != nil {
			return nil, badPagination("%.100q is no token of this server.", req.From)
		}
	}
	found, err := a.Sync.Stream(ctx, wanted)
	if err != nil {
		return nil, err
	}
	res := &page{Start: found.Start, End: found.End}
	if res.Chunk, err = oldEvents(found.Chunk); err != nil {
		return nil, err
	}
	res.Chunk, err = oldPresence(res.Chunk)
	return res, err
}

type eventRequest struct {
	Event matrix.EventID `path:"eventId"`
}

func (a *legacyAPI) event(ctx context.Context, who api.Caller, req *eventRequest) (*json.RawMessage, error) {
	raw, err := a.Sync.OneEvent(ctx, reader(who), req.Event)
	if err != nil {
		return nil, err
	}
	raw, err = oldEvent(raw)
	return &raw, err
}

type initialSyncRequest struct {
	Limit    *int64 `query:"limit"`
	Archived bool   `query:"archived"`
}

type initialSyncResponse struct {
	End      string            `json:"end"`
	Presence []json.RawMessage `json:"presence"`
	Rooms    []*room           `json:"rooms"`
}

// A room of then names who has invited the user, and has all that it has.
type room struct {
	RoomID     matrix.RoomID     `json:"room_id"`
	Membership string            `json:"membership,omitempty"`
	Visibility string            `json:"visibility,omitempty"`
	Inviter    matrix.UserID     `json:"inviter,omitempty"`
	Messages   *page             `json:"messages,omitempty"`
	State      []json.RawMessage `json:"state,omitempty"`
	Presence   []json.RawMessage `json:"presence,omitempty"`
}

func oldRoom(now *syncer.RoomOverview) (*room, error) {
	then := &room{RoomID: now.RoomID, Membership: now.Membership, Visibility: now.Visibility, Inviter: now.Inviter}
	var err error
	if then.State, err = oldEvents(now.State); err != nil || now.Messages == nil {
		return then, err
	}
	then.Messages = &page{Start: now.Messages.Start, End: now.Messages.End}
	then.Messages.Chunk, err = oldEvents(now.Messages.Chunk)
	return then, err
}

func (a *legacyAPI) initialSync(ctx context.Context, who api.Caller, req *initialSyncRequest) (*initialSyncResponse, error) {
	limit, err := pageSize(req.Limit)
	if err != nil {
		return nil, err
	}
	now, err := a.Sync.Overview(ctx, syncer.OverviewRequest{User: who.UserID, Device: who.DeviceID, Limit: limit, Archived: req.Archived})
	if err != nil {
		return nil, err
	}
	res := &initialSyncResponse{End: now.End, Rooms: make([]*room, len(now.Rooms))}
	if res.Presence, err = oldPresence(now.Presence); err != nil {
		return nil, err
	}
	for i, r := range now.Rooms {
		if res.Rooms[i], err = oldRoom(r); err != nil {
			return nil, err
		}
	}
	return res, nil
}

type roomInitialSyncRequest struct {
	Room  matrix.RoomID `path:"roomId"`
	Limit *int64        `query:"limit"`
}

func (a *legacyAPI) roomInitialSync(ctx context.Context, who api.Caller, req *roomInitialSyncRequest) (*room, error) {
	limit, err := pageSize(req.Limit)
	if err != nil {
		return nil, err
	}
	now, err := a.Sync.RoomOverview(ctx, reader(who), req.Room, limit)
	if err != nil {
		return nil, err
	}
	res, err := oldRoom(now)
	if err != nil {
		return nil, err
	}
	present, err := a.Sync.PresentIn(ctx, who.UserID, req.Room)
	if err != nil {
		return nil, err
	}
	res.Presence, err = oldPresence(present)
	return res, err
}
