package clientapi

import (
	"context"
	"net/http"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// OpenID (module openid, and its other half of the Server-Server API).
func (a *accountAPI) openIDRoutes() []api.Route {
	return append(OpenIDRoutes(a.accounts),
		api.Endpoint("POST", "/_matrix/client/v3/user/{userId}/openid/request_token", api.Guest, a.openIDToken))
}

// OpenIDRoutes is what others ask whose OpenID token they were shown. Clients
// and other servers may ask it alike.
func OpenIDRoutes(service *accounts.Service) []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodGet, "/_matrix/federation/v1/openid/userinfo", api.None,
			func(ctx context.Context, _ api.Caller, req *userInfoRequest) (*userInfoResponse, error) {
				if req.Token == "" {
					return nil, matrix.MissingToken()
				}
				user, err := service.OpenIDUser(ctx, req.Token)
				return &userInfoResponse{user}, err
			}),
	}
}

type userInfoRequest struct {
	Token string `query:"access_token"`
}

type userInfoResponse struct {
	Subject matrix.UserID `json:"sub"`
}

type openIDRequest struct {
	targetRequest
	Body map[string]any `body:"raw,optional"`
}

type openIDResponse struct {
	AccessToken string            `json:"access_token"`
	TokenType   string            `json:"token_type"`
	ServerName  matrix.ServerName `json:"matrix_server_name"`
	ExpiresIn   int64             `json:"expires_in"`
}

func (a *accountAPI) openIDToken(ctx context.Context, who api.Caller, req *openIDRequest) (*openIDResponse, error) {
	if err := checkSelf(who, req.UserID); err != nil {
		return nil, err
	}
	token, err := a.accounts.OpenIDToken(ctx, who.UserID)
	return &openIDResponse{token, "Bearer", who.UserID.Server(), int64(accounts.OpenIDLifetime.Seconds())}, err
}
