package adminapi

import (
	"context"

	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// How rooms and their history end.
func (a *roomsAPI) deletionRoutes() []api.Route {
	return []api.Route{
		api.Endpoint("DELETE", v1+"/rooms/{roomId}", api.Admin, a.deleteNow),
		api.Endpoint("DELETE", v2+"/rooms/{roomId}", api.Admin, a.delete),
		api.Endpoint("GET", v2+"/rooms/{roomId}/delete_status", api.Admin, a.deletionsOf),
		api.Endpoint("GET", v2+"/rooms/delete_status/{deleteId}", api.Admin, a.deletion),
		api.Endpoint("POST", v1+"/purge_history/{roomId}", api.Admin, a.purge),
		api.Endpoint("POST", v1+"/purge_history/{roomId}/{eventId}", api.Admin, a.purgeBefore),
		api.Endpoint("GET", v1+"/purge_history_status/{purgeId}", api.Admin, a.purgeStatus),
	}
}

type deleteRequest struct {
	Room    matrix.RoomID `path:"roomId"`
	NewUser matrix.UserID `json:"new_room_user_id"`
	NewName string        `json:"room_name"`
	Message string        `json:"message"`
	Block   bool          `json:"block"`
	Purge   *bool         `json:"purge"`
}

func (a *roomsAPI) schedule(ctx context.Context, who api.Caller, req *deleteRequest) (id string, ended <-chan struct{}, err error) {
	if req.NewUser != "" {
		if _, err := a.accounts.Account(ctx, req.NewUser); err != nil {
			return "", nil, err
		}
	}
	return a.rooms.Delete(ctx, req.Room, rooms.DeleteRequest{
		By: who.UserID, Block: req.Block, Purge: req.Purge == nil || *req.Purge,
		NewUser: req.NewUser, NewName: req.NewName, Message: req.Message,
	})
}

type shutdownResult struct {
	Kicked  []matrix.UserID    `json:"kicked_users"`
	Failed  []matrix.UserID    `json:"failed_to_kick_users"`
	Aliases []matrix.RoomAlias `json:"local_aliases"`
	NewRoom *string            `json:"new_room_id"`
}

func newShutdownResult(d rooms.DeletionDetail) shutdownResult {
	r := shutdownResult{[]matrix.UserID{}, []matrix.UserID{}, []matrix.RoomAlias{}, optionalText(string(d.NewRoom))}
	r.Kicked = append(r.Kicked, d.Kicked...)
	r.Failed = append(r.Failed, d.Failed...)
	r.Aliases = append(r.Aliases, d.Aliases...)
	return r
}

// deleteNow answers when the room is gone.
func (a *roomsAPI) deleteNow(ctx context.Context, who api.Caller, req *deleteRequest) (*shutdownResult, error) {
	id, ended, err := a.schedule(ctx, who, req)
	if err != nil {
		return nil, err
	}
	select {
	case <-ended:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d, err := a.rooms.Deletion(ctx, id)
	if err != nil {
		return nil, err
	}
	if d.Status == rooms.DeletionFailed {
		return nil, matrix.NewError(500, "M_UNKNOWN", "The room could not be deleted: %s", d.Detail.Error)
	}
	result := newShutdownResult(d.Detail)
	return &result, nil
}

type deleteResponse struct {
	ID string `json:"delete_id"`
}

func (a *roomsAPI) delete(ctx context.Context, who api.Caller, req *deleteRequest) (*deleteResponse, error) {
	id, _, err := a.schedule(ctx, who, req)
	if err != nil {
		return nil, err
	}
	return &deleteResponse{id}, nil
}

type deletionResponse struct {
	ID     string         `json:"delete_id,omitempty"`
	Status string         `json:"status"`
	Error  string         `json:"error,omitempty"`
	Result shutdownResult `json:"shutdown_room"`
}

func newDeletionResponse(d *rooms.Deletion) deletionResponse {
	return deletionResponse{d.ID, d.Status, d.Detail.Error, newShutdownResult(d.Detail)}
}

type deletionsResponse struct {
	Results []deletionResponse `json:"results"`
}

func (a *roomsAPI) deletionsOf(ctx context.Context, _ api.Caller, req *roomRequest) (*deletionsResponse, error) {
	list, err := a.rooms.DeletionsOf(ctx, req.Room)
	if err != nil {
		return nil, err
	}
	res := &deletionsResponse{}
	for _, d := range list {
		if d.Kind == "room" {
			res.Results = append(res.Results, newDeletionResponse(d))
		}
	}
	if len(res.Results) == 0 {
		return nil, matrix.NotFound("No deletion of that room is known.")
	}
	return res, nil
}

type deletionRequest struct {
	ID string `path:"deleteId"`
}

func (a *roomsAPI) deletion(ctx context.Context, _ api.Caller, req *deletionRequest) (*deletionResponse, error) {
	d, err := a.rooms.Deletion(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	res := newDeletionResponse(d)
	res.ID = ""
	return &res, nil
}

type purgeRequest struct {
	Room  matrix.RoomID  `path:"roomId"`
	Event matrix.EventID `json:"purge_up_to_event_id"`
	Time  *int64         `json:"purge_up_to_ts"`
	Local bool           `json:"delete_local_events"`
}

type purgeBeforeRequest struct {
	Room  matrix.RoomID  `path:"roomId"`
	Event matrix.EventID `path:"eventId"`
	Local bool           `json:"delete_local_events"`
}

type purgeResponse struct {
	ID string `json:"purge_id"`
}

func (a *roomsAPI) purgeBefore(ctx context.Context, who api.Caller, req *purgeBeforeRequest) (*purgeResponse, error) {
	return a.purge(ctx, who, &purgeRequest{Room: req.Room, Event: req.Event, Local: req.Local})
}

func (a *roomsAPI) purge(ctx context.Context, _ api.Caller, req *purgeRequest) (*purgeResponse, error) {
	if req.Event == "" && req.Time == nil {
		return nil, matrix.MissingParam("Name an event or a time up to which history goes: purge_up_to_event_id or purge_up_to_ts.")
	}
	before, err := a.rooms.Place(ctx, req.Room, req.Event, req.Time)
	if err != nil {
		return nil, err
	}
	id, err := a.rooms.PurgeHistory(ctx, req.Room, rooms.PurgeRequest{Before: before, Local: req.Local})
	if err != nil {
		return nil, err
	}
	return &purgeResponse{id}, nil
}

type purgeStatusRequest struct {
	ID string `path:"purgeId"`
}

type purgeStatusResponse struct {
	Status string `json:"status"` // active, complete or failed
	Error  string `json:"error,omitempty"`
}

func (a *roomsAPI) purgeStatus(ctx context.Context, _ api.Caller, req *purgeStatusRequest) (*purgeStatusResponse, error) {
	d, err := a.rooms.Deletion(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	status := d.Status
	if status != rooms.DeletionComplete && status != rooms.DeletionFailed {
		status = "active"
	}
	return &purgeStatusResponse{status, d.Detail.Error}, nil
}
