package clientapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/encryption"
	"trestle/internal/matrix"
)

// dehydratedAPI is dehydrated devices (MSC3814).
type dehydratedAPI struct{ keys *encryption.Service }

func (a *dehydratedAPI) routes() []api.Route {
	const path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
	limited := api.Limit("keys")
	return []api.Route{
		api.Endpoint(http.MethodPut, path, api.User, a.put, limited),
		api.Endpoint(http.MethodGet, path, api.User, a.get, limited),
		api.Endpoint(http.MethodDelete, path, api.User, a.drop, limited),
		api.Endpoint(http.MethodPost, path+"/{deviceId}/events", api.User, a.events, limited),
	}
}

type dehydrateRequest struct {
	Body json.RawMessage `body:"raw"`
}

type dehydratedResponse struct {
	DeviceID matrix.DeviceID `json:"device_id"`
	Data     json.RawMessage `json:"device_data,omitempty"`
}

func (a *dehydratedAPI) put(ctx context.Context, who api.Caller, req *dehydrateRequest) (*dehydratedResponse, error) {
	var body struct {
		ID   matrix.DeviceID `json:"device_id"`
		Name string          `json:"initial_device_display_name"`
		Data json.RawMessage `json:"device_data"`
	}
	if err := json.Unmarshal(req.Body, &body); err != nil {
		return nil, matrix.BadJSON("device_id and initial_device_display_name are strings.")
	}
	if body.ID == "" {
		return nil, matrix.MissingParam("device_id is missing.")
	}
	keys, err := encryption.ParseUpload(req.Body)
	if err != nil {
		return nil, err
	}
	err = a.keys.Dehydrate(ctx, who.UserID, encryption.Dehydrated{ID: body.ID, Name: body.Name, Data: body.Data, Keys: keys})
	if err != nil {
		return nil, err
	}
	return &dehydratedResponse{DeviceID: body.ID}, nil
}

func (a *dehydratedAPI) get(ctx context.Context, who api.Caller, _ *struct{}) (*dehydratedResponse, error) {
	device, data, err := a.keys.DehydratedDevice(ctx, who.UserID)
	return &dehydratedResponse{device, data}, err
}

func (a *dehydratedAPI) drop(ctx context.Context, who api.Caller, _ *struct{}) (*dehydratedResponse, error) {
	device, err := a.keys.DropDehydrated(ctx, who.UserID)
	return &dehydratedResponse{DeviceID: device}, err
}

type dehydratedEventsRequest struct {
	Device matrix.DeviceID `path:"deviceId"`
	From   string          `json:"next_batch"`
}

type dehydratedEventsResponse struct {
	Events []json.RawMessage `json:"events"`
	Next   string            `json:"next_batch"`
}

func (a *dehydratedAPI) events(ctx context.Context, who api.Caller, req *dehydratedEventsRequest) (*dehydratedEventsResponse, error) {
	events, next, err := a.keys.DehydratedEvents(ctx, who.UserID, req.Device, req.From)
	return &dehydratedEventsResponse{events, next}, err
}
