package adminapi

import (
	"context"

	"trestle/homeserver/api"
	"trestle/homeserver/sso"
	"trestle/internal/matrix"
)

// externalID is who a user is at a place where they log in.
type externalID struct {
	Provider string `json:"auth_provider"`
	ID       string `json:"external_id"`
}

func (a *usersAPI) externalRoutes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", v1+"/auth_providers/{provider}/users/{externalId}", api.Admin, a.externalUser),
	}
}

// externals are a user's, never null.
func (a *usersAPI) externals(ctx context.Context, user matrix.UserID) ([]externalID, error) {
	found, err := a.sso.Externals(ctx, user)
	list := make([]externalID, len(found))
	for i, e := range found {
		list[i] = externalID{e.Provider, e.Subject}
	}
	return list, err
}

func (a *usersAPI) setExternals(ctx context.Context, user matrix.UserID, ids []externalID) error {
	list := make([]sso.External, len(ids))
	for i, id := range ids {
		list[i] = sso.External{Provider: id.Provider, Subject: id.ID}
	}
	return a.sso.SetExternals(ctx, user, list)
}

type externalUserRequest struct {
	Provider   string `path:"provider"`
	ExternalID string `path:"externalId"`
}

type externalUserResponse struct {
	UserID matrix.UserID `json:"user_id"`
}

func (a *usersAPI) externalUser(ctx context.Context, _ api.Caller, req *externalUserRequest) (*externalUserResponse, error) {
	user, err := a.sso.ExternalUser(ctx, sso.External{Provider: req.Provider, Subject: req.ExternalID})
	return &externalUserResponse{user}, err
}
