package clientapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// Registration (modules registration and registration_tokens, and Synapse's
// registration by shared secret, which scripts speak).
func (a *accountAPI) registerRoutes() []api.Route {
	limit := api.Limit("register")
	return []api.Route{
		api.Endpoint("POST", "/_matrix/client/v3/register", api.None, a.register, limit),
		api.Endpoint("GET", "/_matrix/client/v3/register/available", api.None, a.available, limit),
		api.Endpoint("GET", "/_matrix/client/v1/register/m.login.registration_token/validity", api.None, a.tokenValidity, limit),
		api.Endpoint("GET", "/_synapse/admin/v1/register", api.None, a.nonce, limit),
		api.Endpoint("POST", "/_synapse/admin/v1/register", api.None, a.registerBySecret, limit),
	}
}

const appServiceLogin = "m.login.application_service"

type registerRequest struct {
	Presented    api.Credentials
	Kind         string          `query:"kind"`
	Type         string          `json:"type"`
	Username     *string         `json:"username"`
	LegacyUser   string          `json:"user"` // application services of before r0.6 say the name here
	Password     string          `json:"password"`
	DeviceID     matrix.DeviceID `json:"device_id"`
	DeviceName   string          `json:"initial_device_display_name"`
	InhibitLogin bool            `json:"inhibit_login"`
	Refresh      bool            `json:"refresh_token"`
	GuestToken   string          `json:"guest_access_token"`
	Auth         json.RawMessage `json:"auth"`
}

// loginResponse is the answer to logins and registrations. Without a login
// only the user is told.
type loginResponse struct {
	UserID       matrix.UserID     `json:"user_id"`
	HomeServer   matrix.ServerName `json:"home_server"` // deprecated; old clients want it
	AccessToken  string            `json:"access_token,omitempty"`
	DeviceID     matrix.DeviceID   `json:"device_id,omitempty"`
	RefreshToken string            `json:"refresh_token,omitempty"`
	ExpiresInMS  int64             `json:"expires_in_ms,omitempty"`
	WellKnown    *wellKnown        `json:"well_known,omitempty"`
}

func newLoginResponse(l *accounts.Login) *loginResponse {
	return &loginResponse{
		UserID: l.UserID, HomeServer: l.UserID.Server(), AccessToken: l.AccessToken, DeviceID: l.DeviceID,
		RefreshToken: l.RefreshToken, ExpiresInMS: l.ExpiresInMS,
	}
}

func (a *accountAPI) register(ctx context.Context, who api.Caller, req *registerRequest) (*loginResponse, error) {
	var login *accounts.Login
	var err error
	switch {
	case req.Kind == "guest":
		login, err = a.accounts.RegisterGuest(ctx, req.DeviceName)
	case req.Kind != "" && req.Kind != "user":
		return nil, matrix.InvalidParam("Accounts are of kind user or guest, not %.40q.", req.Kind)
	case req.Type == appServiceLogin:
		login, err = a.registerByAppService(ctx, req)
	default:
		login, err = a.registerUser(ctx, who, req)
	}
	if err != nil {
		return nil, err
	}
	return newLoginResponse(login), nil
}

// registration is what the request asks for, whoever asks.
func (req *registerRequest) registration() (accounts.Registration, error) {
	r := accounts.Registration{Password: req.Password, GuestToken: req.GuestToken}
	if req.Username != nil {
		if r.Username = *req.Username; r.Username == "" {
			return r, matrix.InvalidUsername("A user name cannot be empty.")
		}
	}
	if !req.InhibitLogin {
		r.Login = &accounts.NewDevice{ID: req.DeviceID, Name: req.DeviceName, Refresh: req.Refresh}
	}
	return r, nil
}

func (a *accountAPI) registerUser(ctx context.Context, who api.Caller, req *registerRequest) (*accounts.Login, error) {
	operation, err := a.accounts.RegistrationOperation()
	if err != nil {
		return nil, err
	}
	r, err := req.registration()
	if err != nil {
		return nil, err
	}
	r.Session = a.accounts.SessionIn(operation, req.Auth)
	switch _, err := a.accounts.CheckRegistration(ctx, r); {
	case matrix.Code(err) == "M_USER_IN_USE" && r.Session != "":
		return a.accounts.RegisteredAgain(ctx, r)
	case err != nil:
		return nil, err
	}
	if len(req.Auth) > 0 && req.Password == "" {
		return nil, matrix.MissingParam("The password is missing.")
	}
	if r.Proofs, err = a.accounts.Prove(ctx, operation, req.Auth, who.RemoteAddr); err != nil {
		return nil, err
	}
	return a.accounts.Register(ctx, r)
}

// registerByAppService makes a user in an application service's namespace
// (Application Service API § Server admin style permissions).
func (a *accountAPI) registerByAppService(ctx context.Context, req *registerRequest) (*accounts.Login, error) {
	service, err := a.accounts.AppService(req.Presented.Token)
	if err != nil {
		return nil, err
	}
	if req.Username == nil && req.LegacyUser != "" {
		req.Username = &req.LegacyUser
	}
	r, err := req.registration()
	if err != nil {
		return nil, err
	}
	r.AppService, r.Password, r.GuestToken = service, "", ""
	return a.accounts.Register(ctx, r)
}

type availableRequest struct {
	Username string `query:"username" required:"true"`
}

type availableResponse struct {
	Available bool `json:"available"`
}

func (a *accountAPI) available(ctx context.Context, _ api.Caller, req *availableRequest) (*availableResponse, error) {
	if req.Username == "" {
		return nil, matrix.InvalidUsername("A user name cannot be empty.")
	}
	if _, err := a.accounts.CheckRegistration(ctx, accounts.Registration{Username: req.Username}); err != nil {
		return nil, err
	}
	return &availableResponse{true}, nil
}

type validityRequest struct {
	Token string `query:"token" required:"true"`
}

type validityResponse struct {
	Valid bool `json:"valid"`
}

func (a *accountAPI) tokenValidity(ctx context.Context, _ api.Caller, req *validityRequest) (*validityResponse, error) {
	valid, err := a.accounts.ValidRegistrationToken(ctx, req.Token)
	return &validityResponse{valid}, err
}

type nonceResponse struct {
	Nonce string `json:"nonce"`
}

func (a *accountAPI) nonce(context.Context, api.Caller, *struct{}) (*nonceResponse, error) {
	nonce, err := a.accounts.Nonce()
	return &nonceResponse{nonce}, err
}

type secretRequest struct {
	Nonce        string `json:"nonce" required:"true"`
	Username     string `json:"username" required:"true"`
	Password     string `json:"password" required:"true"`
	DisplayName  string `json:"displayname"`
	Admin        bool   `json:"admin"`
	UserType     string `json:"user_type"`
	MAC          string `json:"mac" required:"true"`
	InhibitLogin bool   `json:"inhibit_login"`
}

func (a *accountAPI) registerBySecret(ctx context.Context, _ api.Caller, req *secretRequest) (*loginResponse, error) {
	r := accounts.SecretRegistration{
		Nonce: req.Nonce, Username: req.Username, Password: req.Password, DisplayName: req.DisplayName,
		Admin: req.Admin, UserType: req.UserType, MAC: req.MAC,
	}
	if !req.InhibitLogin {
		r.Login = &accounts.NewDevice{}
	}
	login, err := a.accounts.RegisterBySecret(ctx, r)
	if err != nil {
		return nil, err
	}
	return newLoginResponse(login), nil
}
