package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/syncer"
	"trestle/homeserver/syncer/sliding"
	"trestle/internal/matrix"
)

// slidingAPI is simplified sliding sync (MSC4186), in the proposal's newest
// form and in the one before, which clients speak.
type slidingAPI struct{ sync *sliding.Service }

func (a *slidingAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodPost, "/_matrix/client/v4/sync", api.User, a.newest),
		api.Endpoint(http.MethodPost, "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", api.User, a.proposed),
	}
}

type slidingRequest struct {
	Body json.RawMessage `body:"raw"`
}

func (a *slidingAPI) newest(ctx context.Context, who api.Caller, req *slidingRequest) (*sliding.Response, error) {
	return a.answer(ctx, who, req.Body, &sliding.Request{})
}

type proposedSlidingRequest struct {
	slidingRequest
	Pos         string `query:"pos"`
	Timeout     *int64 `query:"timeout"`
	SetPresence string `query:"set_presence"`
}

func (r *proposedSlidingRequest) Validate() error {
	if r.Timeout != nil && *r.Timeout < 0 {
		return matrix.InvalidParam("timeout is a number of milliseconds.")
	}
	return nil
}

func (a *slidingAPI) proposed(ctx context.Context, who api.Caller, req *proposedSlidingRequest) (*sliding.Response, error) {
	wanted := &sliding.Request{Pos: req.Pos, SetPresence: req.SetPresence, Proposed: true}
	if req.Timeout != nil {
		wanted.Timeout = time.Duration(min(*req.Timeout, syncer.MaxTimeout.Milliseconds())) * time.Millisecond
	}
	return a.answer(ctx, who, req.Body, wanted)
}

func (a *slidingAPI) answer(ctx context.Context, who api.Caller, body []byte, wanted *sliding.Request) (*sliding.Response, error) {
	wanted.User, wanted.Device, wanted.Stop = who.UserID, who.DeviceID, api.Draining(ctx)
	if err := wanted.Parse(body); err != nil {
		return nil, err
	}
	until := time.Now().Add(wanted.Timeout)
	if waited, ok := api.Waited(ctx); ok {
		until, wanted.Timeout = waited, time.Until(waited)
	}
	if api.Parks(ctx) {
		wanted.Patience = patience
	}
	response, err := a.sync.Sync(ctx, wanted)
	var idle *syncer.Idle
	if errors.As(err, &idle) {
		return nil, &api.Parked{Until: until, Subscribe: idle.Subscribe, Body: body}
	}
	return response, err
}
