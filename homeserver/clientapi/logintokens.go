package clientapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
)

// tokenLogin is the type of logins with a token that another client, or the
// server's own pages, have got for the user.
const tokenLogin = "m.login.token"

type loginTokenRequest struct {
	Auth json.RawMessage `json:"auth"`
}

type loginTokenResponse struct {
	LoginToken  string `json:"login_token"`
	ExpiresInMS int64  `json:"expires_in_ms"`
}

// loginToken makes a token for another device of the caller. A session of
// user-interactive authentication ends with it, so that each token is
// confirmed by itself.
func (a *accountAPI) loginToken(ctx context.Context, who api.Caller, req *loginTokenRequest) (*loginTokenResponse, error) {
	if err := a.confirm(ctx, who, "get a login token", req.Auth); err != nil {
		return nil, err
	}
	token, err := a.accounts.NewLoginToken(ctx, who.UserID)
	if err != nil {
		return nil, err
	}
	return &loginTokenResponse{token, accounts.LoginTokenLifetime.Milliseconds()}, nil
}
