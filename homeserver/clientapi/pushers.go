package clientapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/api"
	"trestle/homeserver/pushers"
	"trestle/internal/matrix"
)

// pushersAPI is where users want to be notified (module push).
type pushersAPI struct{ pushers *pushers.Service }

func (a *pushersAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", "/_matrix/client/v3/pushers", api.User, a.list),
		api.Endpoint("POST", "/_matrix/client/v3/pushers/set", api.User, a.set),
	}
}

type pusher struct {
	Key        string          `json:"pushkey"`
	Kind       string          `json:"kind"`
	AppID      string          `json:"app_id"`
	AppName    string          `json:"app_display_name"`
	DeviceName string          `json:"device_display_name"`
	ProfileTag string          `json:"profile_tag,omitempty"`
	Lang       string          `json:"lang"`
	Data       json.RawMessage `json:"data"`
	Enabled    bool            `json:"org.matrix.msc3881.enabled"`
	DeviceID   matrix.DeviceID `json:"org.matrix.msc3881.device_id,omitempty"`
}

type pushersResponse struct {
	Pushers []pusher `json:"pushers"`
}

func (a *pushersAPI) list(ctx context.Context, who api.Caller, _ *struct{}) (*pushersResponse, error) {
	list, err := a.pushers.List(ctx, who.UserID)
	res := &pushersResponse{make([]pusher, len(list))}
	for i, p := range list {
		res.Pushers[i] = pusher{p.Key, p.Kind, p.AppID, p.AppName, p.DeviceName, p.ProfileTag, p.Lang, p.Data, p.Enabled, p.Device}
	}
	return res, err
}

type setPusherRequest struct {
	Kind       json.RawMessage `json:"kind"` // a text or null, but there
	AppID      string          `json:"app_id" required:"true"`
	Key        string          `json:"pushkey" required:"true"`
	AppName    *string         `json:"app_display_name"`
	DeviceName *string         `json:"device_display_name"`
	ProfileTag string          `json:"profile_tag"`
	Lang       *string         `json:"lang"`
	Data       json.RawMessage `json:"data"`
	Append     bool            `json:"append"`

	// MSC3881; matrix-js-sdk sends both names.
	Enabled         *bool           `json:"enabled"`
	UnstableEnabled *bool           `json:"org.matrix.msc3881.enabled"`
	Device          matrix.DeviceID `json:"device_id"`
	UnstableDevice  matrix.DeviceID `json:"org.matrix.msc3881.device_id"`
}

func (a *pushersAPI) set(ctx context.Context, who api.Caller, req *setPusherRequest) (*struct{}, error) {
	spec := pushers.Spec{
		AppID: req.AppID, Key: req.Key, AppName: req.AppName, DeviceName: req.DeviceName, Lang: req.Lang,
		ProfileTag: req.ProfileTag, Data: req.Data, Append: req.Append, Enabled: true, Owner: req.UnstableDevice,
	}
	switch string(req.Kind) {
	case "":
		return nil, matrix.MissingParam("kind is missing.")
	case "null":
		return nil, a.pushers.Remove(ctx, who.UserID, req.AppID, req.Key)
	}
	if json.Unmarshal(req.Kind, &spec.Kind) != nil {
		return nil, matrix.BadJSON("kind must be a string or null.")
	}
	if req.Device != "" {
		spec.Owner = req.Device
	}
	for _, enabled := range []*bool{req.Enabled, req.UnstableEnabled} {
		if enabled != nil {
			spec.Enabled = *enabled
		}
	}
	return nil, a.pushers.Set(ctx, who.UserID, who.DeviceID, spec)
}
