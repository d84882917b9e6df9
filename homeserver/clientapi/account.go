package clientapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// AccountConfig is what the account endpoints say about the server.
type AccountConfig struct {
	BaseURL          string          // under which clients reach the server; empty: not told
	RoomVersion      string          // of new rooms
	UnstableFeatures map[string]bool // further than those of accounts
	Capabilities     map[string]any  // further ones
	WellKnown        map[string]any  // further members of /.well-known/matrix/client
	Contacts         []Contact       // for /.well-known/matrix/support
	// FederationAt is where other homeservers reach this one; empty: nothing is said of it.
	FederationAt matrix.ServerName
	SupportPage  string
	// IdentityProviders are where people can log in instead of here; [Routes]
	// fills them in.
	IdentityProviders []IdentityProvider
	PreferSSO         bool // these logins are what clients should offer
	// ByOAuth reports whether a token came by OAuth, and so is renewed there
	// and not by /refresh; nil: none did. [Routes] fills it in.
	ByOAuth func(ctx context.Context, token string) (bool, error)
}

// A Contact is somebody who administers the server.
type Contact struct {
	MatrixID     matrix.UserID `json:"matrix_id,omitempty"`
	EmailAddress string        `json:"email_address,omitempty"`
	Role         string        `json:"role"`
}

// accountAPI serves the modules about accounts.
type accountAPI struct {
	accounts *accounts.Service
	config   AccountConfig
}

// AccountRoutes are the endpoints about accounts: registration, login, devices,
// profiles, account data, filters and push rules.
func AccountRoutes(service *accounts.Service, config AccountConfig) []api.Route {
	return (&accountAPI{service, config}).routes()
}

func (a *accountAPI) routes() []api.Route {
	var all []api.Route
	for _, module := range [][]api.Route{
		a.serverRoutes(), a.registerRoutes(), a.loginRoutes(), a.managementRoutes(), a.deviceRoutes(),
		a.profileRoutes(), a.accountDataRoutes(), a.filterRoutes(), a.pushRuleRoutes(), a.moderationRoutes(), a.openIDRoutes(),
		a.threePIDRoutes(), a.pageRoutes(), a.mailStageRoutes(), loginPageRoutes(),
	} {
		all = append(all, module...)
	}
	return forModerated(all)
}

// Authenticator verifies tokens by the accounts service.
func Authenticator(service *accounts.Service) api.Authenticator { return authenticator{service} }

type authenticator struct{ accounts *accounts.Service }

func (a authenticator) Authenticate(ctx context.Context, presented api.Credentials) (api.Caller, error) {
	who, err := a.accounts.Authenticate(ctx, accounts.Credentials(presented))
	return api.Caller(who), err
}

// checkSelf keeps users out of what belongs to others.
func checkSelf(who api.Caller, user matrix.UserID) error {
	if who.UserID != user {
		return matrix.Forbidden("You can do this for yourself only.")
	}
	return nil
}

// confirm runs user-interactive authentication with the caller's password.
// Application services act for their own users without it.
func (a *accountAPI) confirm(ctx context.Context, who api.Caller, operation string, auth json.RawMessage) error {
	if who.AppService != "" && !who.Watcher {
		return nil
	}
	return a.accounts.Confirm(ctx, accounts.ConfirmPassword(operation, who.UserID), auth)
}

// Account identification and management (modules whoami, password_management
// and account_deactivation).
func (a *accountAPI) managementRoutes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", "/_matrix/client/v3/account/whoami", api.Guest, a.whoami),
		api.Endpoint("POST", "/_matrix/client/v3/account/password", api.Optional, a.changePassword, api.Limit("login")),
		api.Endpoint("POST", "/_matrix/client/v3/account/deactivate", api.User, a.deactivate, api.Limit("login")),
	}
}

type whoamiResponse struct {
	UserID   matrix.UserID   `json:"user_id"`
	DeviceID matrix.DeviceID `json:"device_id,omitempty"`
	Guest    bool            `json:"is_guest"`
}

func (a *accountAPI) whoami(_ context.Context, who api.Caller, _ *struct{}) (*whoamiResponse, error) {
	return &whoamiResponse{who.UserID, who.DeviceID, who.Guest}, nil
}

type passwordRequest struct {
	NewPassword   string          `json:"new_password" required:"true"`
	LogoutDevices *bool           `json:"logout_devices"`
	Auth          json.RawMessage `json:"auth"`
}

func (a *accountAPI) changePassword(ctx context.Context, who api.Caller, req *passwordRequest) (*struct{}, error) {
	if who.UserID == "" && len(req.Auth) == 0 {
		// Who is not logged in is told first how to prove who they are.
		if _, err := a.accounts.ResetOperation(); err != nil {
			return nil, err
		}
	}
	if err := a.accounts.CheckPassword(req.NewPassword); err != nil {
		return nil, err
	}
	logOut := req.LogoutDevices == nil || *req.LogoutDevices
	if who.UserID == "" {
		return nil, a.resetPassword(ctx, who, req, logOut)
	}
	if who.Guest {
		return nil, matrix.NewError(http.StatusForbidden, "M_GUEST_ACCESS_FORBIDDEN", "Guests have no password.")
	}
	if err := a.confirm(ctx, who, "change password", req.Auth); err != nil {
		return nil, err
	}
	return nil, a.accounts.SetPassword(ctx, who.UserID, req.NewPassword, logOut, who.DeviceID)
}

// resetPassword is for people who are not logged in any more.
func (a *accountAPI) resetPassword(ctx context.Context, who api.Caller, req *passwordRequest, logOut bool) error {
	operation, err := a.accounts.ResetOperation()
	if err != nil {
		return err
	}
	proofs, err := a.accounts.Prove(ctx, operation, req.Auth, who.RemoteAddr)
	if err != nil {
		return err
	}
	return a.accounts.ResetPassword(ctx, proofs, req.NewPassword, logOut)
}

type deactivateRequest struct {
	Auth     json.RawMessage `json:"auth"`
	Erase    bool            `json:"erase"`
	IDServer string          `json:"id_server"`
}

func (a *accountAPI) deactivate(ctx context.Context, who api.Caller, req *deactivateRequest) (*unbindResponse, error) {
	if err := a.confirm(ctx, who, "deactivate", req.Auth); err != nil {
		return nil, err
	}
	unbound, err := a.accounts.UnbindAll(ctx, who.UserID, req.IDServer)
	if err != nil {
		return nil, err
	}
	if err := a.accounts.Deactivate(ctx, who.UserID, req.Erase); err != nil {
		return nil, err
	}
	return newUnbindResponse(unbound), nil
}
