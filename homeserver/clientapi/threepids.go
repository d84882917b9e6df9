package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// Third-party identifiers (module administrative_contact, and the requests for
// mails of registration and password_management).
func (a *accountAPI) threePIDRoutes() []api.Route {
	const account, register = "/_matrix/client/v3/account", "/_matrix/client/v3/register"
	limit := api.Limit("mail")
	return []api.Route{
		api.Endpoint("GET", account+"/3pid", api.User, a.threePIDs),
		api.Endpoint("POST", account+"/3pid", api.User, a.addThreePIDOld),
		api.Endpoint("POST", account+"/3pid/add", api.User, a.addThreePID),
		api.Endpoint("POST", account+"/3pid/delete", api.User, a.deleteThreePID),
		api.Endpoint("POST", account+"/3pid/bind", api.User, a.bindThreePID),
		api.Endpoint("POST", account+"/3pid/unbind", api.User, a.unbindThreePID),
		api.Endpoint("POST", register+"/email/requestToken", api.None, a.requestEmail(accounts.ForRegistration), limit),
		api.Endpoint("POST", account+"/password/email/requestToken", api.None, a.requestEmail(accounts.ForPassword), limit),
		api.Endpoint("POST", account+"/3pid/email/requestToken", api.None, a.requestEmail(accounts.ForAdding), limit),
		api.Endpoint("POST", register+"/msisdn/requestToken", api.None, requestSMS, limit),
		api.Endpoint("POST", account+"/password/msisdn/requestToken", api.None, requestSMS, limit),
		api.Endpoint("POST", account+"/3pid/msisdn/requestToken", api.None, requestSMSForAdding, limit),
	}
}

type threePID struct {
	Medium      string `json:"medium"`
	Address     string `json:"address"`
	ValidatedAt int64  `json:"validated_at"`
	AddedAt     int64  `json:"added_at"`
}

type threePIDsResponse struct {
	ThreePIDs []threePID `json:"threepids"`
}

func (a *accountAPI) threePIDs(ctx context.Context, who api.Caller, _ *struct{}) (*threePIDsResponse, error) {
	list, err := a.accounts.ThreePIDs(ctx, who.UserID)
	res := &threePIDsResponse{make([]threePID, len(list))}
	for i, p := range list {
		res.ThreePIDs[i] = threePID{p.Medium, p.Address, p.ValidatedAt, p.AddedAt}
	}
	return res, err
}

type addThreePIDRequest struct {
	SID          string          `json:"sid" required:"true"`
	ClientSecret string          `json:"client_secret" required:"true"`
	Auth         json.RawMessage `json:"auth"`
}

func (a *accountAPI) addThreePID(ctx context.Context, who api.Caller, req *addThreePIDRequest) (*struct{}, error) {
	if err := a.confirm(ctx, who, "add an address", req.Auth); err != nil {
		return nil, err
	}
	return nil, a.accounts.AddThreePID(ctx, who.UserID, req.SID, req.ClientSecret)
}

type addThreePIDOldRequest struct {
	Creds *struct {
		SID          string `json:"sid"`
		ClientSecret string `json:"client_secret"`
	} `json:"three_pid_creds"`
	Legacy *struct {
		SID          string `json:"sid"`
		ClientSecret string `json:"clientSecret"`
	} `json:"threePidCreds"` // as clients of before r0.5 spell it
	Auth json.RawMessage `json:"auth"`
}

// addThreePIDOld is how addresses were added before r0.6. It wants the
// password, too, as its successor does: otherwise a stolen token would be
// enough to take the account over.
func (a *accountAPI) addThreePIDOld(ctx context.Context, who api.Caller, req *addThreePIDOldRequest) (*struct{}, error) {
	add := &addThreePIDRequest{Auth: req.Auth}
	switch {
	case req.Creds != nil:
		add.SID, add.ClientSecret = req.Creds.SID, req.Creds.ClientSecret
	case req.Legacy != nil:
		add.SID, add.ClientSecret = req.Legacy.SID, req.Legacy.ClientSecret
	default:
		return nil, matrix.MissingParam("three_pid_creds is missing.")
	}
	if err := a.accounts.CheckVerified(ctx, add.SID, add.ClientSecret); err != nil {
		return nil, err
	}
	return a.addThreePID(ctx, who, add)
}

type namedThreePIDRequest struct {
	Medium   string `json:"medium" required:"true"`
	Address  string `json:"address" required:"true"`
	IDServer string `json:"id_server"`
}

func (r *namedThreePIDRequest) Validate() error {
	if r.Medium != accounts.Email && r.Medium != "msisdn" {
		return matrix.InvalidParam("medium is email or msisdn.")
	}
	return nil
}

type unbindResponse struct {
	Result string `json:"id_server_unbind_result"`
}

func newUnbindResponse(unbound bool) *unbindResponse {
	if unbound {
		return &unbindResponse{"success"}
	}
	return &unbindResponse{"no-support"}
}

func (a *accountAPI) deleteThreePID(ctx context.Context, who api.Caller, req *namedThreePIDRequest) (*unbindResponse, error) {
	res, err := a.unbindThreePID(ctx, who, req)
	if err != nil {
		return nil, err
	}
	return res, a.accounts.RemoveThreePID(ctx, who.UserID, req.Medium, req.Address)
}

func (a *accountAPI) unbindThreePID(ctx context.Context, who api.Caller, req *namedThreePIDRequest) (*unbindResponse, error) {
	unbound, err := a.accounts.UnbindThreePID(ctx, who.UserID, req.Medium, req.Address, req.IDServer)
	return newUnbindResponse(unbound), err
}

type bindRequest struct {
	SID           string `json:"sid" required:"true"`
	ClientSecret  string `json:"client_secret" required:"true"`
	IDServer      string `json:"id_server" required:"true"`
	IDAccessToken string `json:"id_access_token" required:"true"`
}

func (a *accountAPI) bindThreePID(ctx context.Context, who api.Caller, req *bindRequest) (*struct{}, error) {
	return nil, a.accounts.BindThreePID(ctx, who.UserID, req.IDServer, req.IDAccessToken, req.SID, req.ClientSecret)
}

type requestEmailRequest struct {
	ClientSecret string `json:"client_secret" required:"true"`
	Email        string `json:"email" required:"true"`
	Attempt      int64  `json:"send_attempt" required:"true"`
	NextLink     string `json:"next_link"`
}

type requestTokenResponse struct {
	SID string `json:"sid"`
}

func (a *accountAPI) requestEmail(purpose string) func(context.Context, api.Caller, *requestEmailRequest) (*requestTokenResponse, error) {
	return func(ctx context.Context, _ api.Caller, req *requestEmailRequest) (*requestTokenResponse, error) {
		sid, err := a.accounts.RequestEmail(ctx, accounts.EmailRequest{
			Purpose: purpose, Email: strings.TrimSpace(req.Email), ClientSecret: req.ClientSecret, Attempt: req.Attempt, NextLink: req.NextLink,
		})
		return &requestTokenResponse{sid}, err
	}
}

type requestSMSRequest struct {
	ClientSecret string `json:"client_secret" required:"true"`
	Country      string `json:"country" required:"true"`
	Phone        string `json:"phone_number" required:"true"`
	Attempt      int64  `json:"send_attempt" required:"true"`
}

// requestSMS is refused: nothing here can send text messages.
func requestSMS(context.Context, api.Caller, *requestSMSRequest) (*requestTokenResponse, error) {
	return nil, matrix.NewError(http.StatusForbidden, "M_THREEPID_DENIED", "This server does not verify phone numbers.")
}

// requestSMSForAdding is the same where the specification has a code for it.
func requestSMSForAdding(context.Context, api.Caller, *requestSMSRequest) (*requestTokenResponse, error) {
	return nil, matrix.NewError(http.StatusBadRequest, "M_THREEPID_MEDIUM_NOT_SUPPORTED", "This server does not verify phone numbers.")
}
