package clientapi

import (
	"cmp"
	"context"
	"net/http"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// Sessions (modules login, logout and refresh).
func (a *accountAPI) loginRoutes() []api.Route {
	limit := api.Limit("login")
	return []api.Route{
		api.Endpoint("GET", "/_matrix/client/v3/login", api.None, a.loginFlows),
		api.Endpoint("POST", "/_matrix/client/v3/login", api.None, a.login, limit),
		api.Endpoint("POST", "/_matrix/client/v1/login/get_token", api.User, a.loginToken, limit),
		api.Endpoint("POST", "/_matrix/client/v3/refresh", api.None, a.refresh),
		api.Endpoint("POST", "/_matrix/client/v3/logout", api.Guest, a.logout),
		api.Endpoint("POST", "/_matrix/client/v3/logout/all", api.Guest, a.logoutAll),
	}
}

type loginFlow struct {
	Type      string             `json:"type"`
	GetToken  bool               `json:"get_login_token,omitempty"` // clients can make tokens for this flow
	Providers []IdentityProvider `json:"identity_providers,omitempty"`
	Preferred bool               `json:"oauth_aware_preferred,omitempty"` // above all others
}

type loginFlowsResponse struct {
	Flows []loginFlow `json:"flows"`
}

func (a *accountAPI) loginFlows(context.Context, api.Caller, *struct{}) (*loginFlowsResponse, error) {
	flows := []loginFlow{{Type: accounts.StagePassword}, {Type: tokenLogin, GetToken: true}, {Type: appServiceLogin}}
	if providers := a.config.IdentityProviders; len(providers) > 0 {
		flows = append(flows, loginFlow{Type: ssoLogin, Providers: providers, Preferred: a.config.PreferSSO})
	}
	return &loginFlowsResponse{flows}, nil
}

type loginRequest struct {
	Presented  api.Credentials
	Type       string               `json:"type" required:"true"`
	Identifier *accounts.Identifier `json:"identifier"`
	User       string               `json:"user"`    // deprecated
	Medium     string               `json:"medium"`  // deprecated
	Address    string               `json:"address"` // deprecated
	Password   string               `json:"password"`
	Token      string               `json:"token"`
	DeviceID   matrix.DeviceID      `json:"device_id"`
	DeviceName string               `json:"initial_device_display_name"`
	Refresh    bool                 `json:"refresh_token"`
}

func (a *accountAPI) login(ctx context.Context, _ api.Caller, req *loginRequest) (*loginResponse, error) {
	device := accounts.NewDevice{ID: req.DeviceID, Name: req.DeviceName, Refresh: req.Refresh}
	var login *accounts.Login
	var err error
	switch req.Type {
	case accounts.StagePassword:
		login, err = a.accounts.LoginByPassword(ctx, accounts.PasswordLogin{
			Identifier: req.Identifier, User: req.User, Medium: req.Medium, Address: req.Address, Password: req.Password, Device: device,
		})
	case tokenLogin:
		login, err = a.accounts.LoginByToken(ctx, req.Token, device)
	case appServiceLogin:
		login, err = a.accounts.LoginByAppService(ctx, req.Presented.Token, req.Identifier, req.User, device)
	default:
		err = matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "Logins of type %.80q are not known here.", req.Type)
	}
	if err != nil {
		return nil, err
	}
	response := newLoginResponse(login)
	response.WellKnown = a.discovery()
	return response, nil
}

type refreshRequest struct {
	RefreshToken string `json:"refresh_token" required:"true"`
}

type refreshResponse struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresInMS  int64  `json:"expires_in_ms"`
}

func (a *accountAPI) refresh(ctx context.Context, _ api.Caller, req *refreshRequest) (*refreshResponse, error) {
	if a.config.ByOAuth != nil {
		if foreign, err := a.config.ByOAuth(ctx, req.RefreshToken); foreign || err != nil {
			return nil, cmp.Or(err, error(matrix.UnknownToken(false)))
		}
	}
	login, err := a.accounts.Refresh(ctx, req.RefreshToken)
	if err != nil {
		return nil, err
	}
	return &refreshResponse{login.AccessToken, login.RefreshToken, login.ExpiresInMS}, nil
}

func (a *accountAPI) logout(ctx context.Context, who api.Caller, _ *struct{}) (*struct{}, error) {
	return nil, a.accounts.Logout(ctx, accounts.Caller(who))
}

func (a *accountAPI) logoutAll(ctx context.Context, who api.Caller, _ *struct{}) (*struct{}, error) {
	return nil, a.accounts.LogoutAll(ctx, accounts.Caller(who))
}
