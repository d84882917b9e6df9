package clientapi

import (
	"context"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/ephemeral"
	"trestle/internal/matrix"
)

// presenceAPI is module presence.
type presenceAPI struct{ ephemeral *ephemeral.Service }

func (a *presenceAPI) routes() []api.Route {
	const path = "/_matrix/client/v3/presence/{userId}/status"
	return []api.Route{
		api.Endpoint(http.MethodPut, path, api.User, a.set, api.Limit("ephemeral")),
		api.Endpoint(http.MethodGet, path, api.User, a.get),
	}
}

type presenceRequest struct {
	User     matrix.UserID `path:"userId"`
	Presence string        `json:"presence" required:"true"`
	Status   *string       `json:"status_msg"`
}

func (a *presenceAPI) set(ctx context.Context, who api.Caller, req *presenceRequest) (*struct{}, error) {
	if err := checkSelf(who, req.User); err != nil {
		return nil, err
	}
	status := ""
	if req.Status != nil {
		status = *req.Status
	}
	return nil, a.ephemeral.SetPresence(ctx, req.User, who.DeviceID, req.Presence, status)
}

type presenceOfRequest struct {
	User matrix.UserID `path:"userId"`
}

func (a *presenceAPI) get(ctx context.Context, who api.Caller, req *presenceOfRequest) (*ephemeral.Status, error) {
	return a.ephemeral.Presence(ctx, who.UserID, req.User)
}
