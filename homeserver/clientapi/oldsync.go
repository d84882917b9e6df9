package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

// oldSyncAPI is what clients did before /sync, and how they still look into
// rooms from outside (modules old_sync, peeking_events and room_initial_sync).
type oldSyncAPI struct{ sync *syncer.Service }

func (a *oldSyncAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/events", api.Guest, a.events),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/events/{eventId}", api.Guest, a.event),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/initialSync", api.Guest, a.initialSync),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/rooms/{roomId}/initialSync", api.Guest, a.roomInitialSync),
	}
}

type eventsRequest struct {
	From    string        `query:"from"`
	Timeout *int64        `query:"timeout"`
	Room    matrix.RoomID `query:"room_id"`
}

func (r *eventsRequest) Validate() error {
	if r.Timeout != nil && *r.Timeout < 0 {
		return matrix.InvalidParam("timeout is a number of milliseconds.")
	}
	return nil
}

// events has events of rooms only: others have no place in its schema.
func (a *oldSyncAPI) events(ctx context.Context, who api.Caller, req *eventsRequest) (*syncer.Page, error) {
	wanted := syncer.StreamRequest{
		User: who.UserID, Device: who.DeviceID, From: req.From, Room: req.Room, Stop: api.Draining(ctx),
	}
	if req.Timeout != nil {
		wanted.Timeout = time.Duration(min(*req.Timeout, 3_600_000)) * time.Millisecond
	}
	return a.sync.Stream(ctx, wanted)
}

type oneEventRequest struct {
	Event matrix.EventID `path:"eventId"`
}

func (a *oldSyncAPI) event(ctx context.Context, who api.Caller, req *oneEventRequest) (*json.RawMessage, error) {
	raw, err := a.sync.OneEvent(ctx, rooms.Reader{User: who.UserID, Device: who.DeviceID}, req.Event)
	return &raw, err
}

type initialSyncRequest struct {
	Limit    *int64 `query:"limit"`
	Archived bool   `query:"archived"`
}

// Validate implements [api.Validator].
func (r *initialSyncRequest) Validate() error { return checkLimit(r.Limit) }

func (a *oldSyncAPI) initialSync(ctx context.Context, who api.Caller, req *initialSyncRequest) (*syncer.Overview, error) {
	return a.sync.Overview(ctx, syncer.OverviewRequest{
		User: who.UserID, Device: who.DeviceID, Limit: pageSize(req.Limit), Archived: req.Archived,
	})
}

type roomInitialSyncRequest struct {
	Room  matrix.RoomID `path:"roomId"`
	Limit *int64        `query:"limit"`
}

// Validate implements [api.Validator].
func (r *roomInitialSyncRequest) Validate() error { return checkLimit(r.Limit) }

func (a *oldSyncAPI) roomInitialSync(ctx context.Context, who api.Caller, req *roomInitialSyncRequest) (*syncer.RoomOverview, error) {
	return a.sync.RoomOverview(ctx, rooms.Reader{User: who.UserID, Device: who.DeviceID}, req.Room, pageSize(req.Limit))
}
