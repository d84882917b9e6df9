package adminapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/pushers"
)

// pushersAPI shows where users are notified.
type pushersAPI struct {
	accounts *accounts.Service
	pushers  *pushers.Service
}

func (a *pushersAPI) routes() []api.Route {
	return []api.Route{api.Endpoint("GET", v1+"/users/{userId}/pushers", api.Admin, a.list)}
}

type shownPusher struct {
	AppName    string          `json:"app_display_name"`
	AppID      string          `json:"app_id"`
	Data       json.RawMessage `json:"data"`
	DeviceName string          `json:"device_display_name"`
	Kind       string          `json:"kind"`
	Lang       string          `json:"lang"`
	ProfileTag string          `json:"profile_tag"`
	Key        string          `json:"pushkey"`
}

type shownPushers struct {
	Pushers []shownPusher `json:"pushers"`
	Total   int           `json:"total"`
}

func (a *pushersAPI) list(ctx context.Context, _ api.Caller, req *userRequest) (*shownPushers, error) {
	if _, err := a.accounts.Account(ctx, req.UserID); err != nil {
		return nil, err
	}
	list, err := a.pushers.List(ctx, req.UserID)
	res := &shownPushers{make([]shownPusher, len(list)), len(list)}
	for i, p := range list {
		res.Pushers[i] = shownPusher{p.AppName, p.AppID, p.Data, p.DeviceName, p.Kind, p.Lang, p.ProfileTag, p.Key}
	}
	return res, err
}
