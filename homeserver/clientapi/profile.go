package clientapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// Profiles (module profile).
func (a *accountAPI) profileRoutes() []api.Route {
	const field = "/_matrix/client/v3/profile/{userId}/{keyName}"
	old := api.Aliases("/_matrix/client/unstable/uk.tcpip.msc4133/profile/{userId}/{keyName}")
	return []api.Route{
		api.Endpoint("GET", "/_matrix/client/v3/profile/{userId}", api.None, a.profile),
		api.Endpoint("GET", field, api.None, a.profileField, old),
		api.Endpoint("PUT", field, api.Guest, a.setProfileField, old),
		api.Endpoint("DELETE", field, api.Guest, a.deleteProfileField, old),
	}
}

type profileRequest struct {
	UserID matrix.UserID `path:"userId"`
}

func (a *accountAPI) profile(ctx context.Context, _ api.Caller, req *profileRequest) (*accounts.Profile, error) {
	profile, err := a.accounts.WholeProfile(ctx, req.UserID)
	return &profile, err
}

type profileFieldRequest struct {
	profileRequest
	Field string `path:"keyName"`
}

func (a *accountAPI) profileField(ctx context.Context, _ api.Caller, req *profileFieldRequest) (*accounts.Profile, error) {
	value, err := a.accounts.ProfileField(ctx, req.UserID, req.Field)
	return &accounts.Profile{req.Field: value}, err
}

type setProfileFieldRequest struct {
	profileFieldRequest
	Body map[string]json.RawMessage `body:"raw"`
}

func (a *accountAPI) setProfileField(ctx context.Context, who api.Caller, req *setProfileFieldRequest) (*struct{}, error) {
	return nil, a.accounts.SetProfileField(ctx, accounts.Caller(who), req.UserID, req.Field, req.Body[req.Field])
}

func (a *accountAPI) deleteProfileField(ctx context.Context, who api.Caller, req *profileFieldRequest) (*struct{}, error) {
	return nil, a.accounts.DeleteProfileField(ctx, accounts.Caller(who), req.UserID, req.Field)
}
