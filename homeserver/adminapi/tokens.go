package adminapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// tokensAPI is about registration tokens.
type tokensAPI struct{ accounts *accounts.Service }

func (a *tokensAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", v1+"/registration_tokens", api.Admin, a.list),
		api.Endpoint("POST", v1+"/registration_tokens/new", api.Admin, a.create),
		api.Endpoint("GET", v1+"/registration_tokens/{token}", api.Admin, a.show),
		api.Endpoint("PUT", v1+"/registration_tokens/{token}", api.Admin, a.change),
		api.Endpoint("DELETE", v1+"/registration_tokens/{token}", api.Admin, a.remove),
	}
}

type shownToken struct {
	Token       string `json:"token"`
	UsesAllowed *int64 `json:"uses_allowed"`
	Pending     int64  `json:"pending"`
	Completed   int64  `json:"completed"`
	ExpiresAt   *int64 `json:"expiry_time"`
}

func newShownToken(t accounts.RegistrationToken) *shownToken {
	return &shownToken{t.Token, t.UsesAllowed, t.Pending, t.Completed, t.ExpiresAt}
}

type listTokensRequest struct {
	Valid *bool `query:"valid"`
}

type listTokensResponse struct {
	Tokens []*shownToken `json:"registration_tokens"`
}

func (a *tokensAPI) list(ctx context.Context, _ api.Caller, req *listTokensRequest) (*listTokensResponse, error) {
	list, err := a.accounts.RegistrationTokens(ctx)
	if err != nil {
		return nil, err
	}
	res := &listTokensResponse{[]*shownToken{}}
	for _, t := range list {
		if req.Valid == nil || *req.Valid == a.accounts.Usable(t) {
			res.Tokens = append(res.Tokens, newShownToken(t))
		}
	}
	return res, nil
}

type tokenRequest struct {
	Token string `path:"token"`
}

func (a *tokensAPI) show(ctx context.Context, _ api.Caller, req *tokenRequest) (*shownToken, error) {
	t, err := a.accounts.RegistrationToken(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	return newShownToken(*t), nil
}

type createTokenRequest struct {
	Token       *string `json:"token"`
	Length      *int64  `json:"length"`
	UsesAllowed *int64  `json:"uses_allowed"`
	ExpiresAt   *int64  `json:"expiry_time"`
}

func (a *tokensAPI) create(ctx context.Context, _ api.Caller, req *createTokenRequest) (*shownToken, error) {
	const standard, most = 16, 64
	t := accounts.RegistrationToken{UsesAllowed: req.UsesAllowed, ExpiresAt: req.ExpiresAt}
	if req.Token != nil {
		t.Token = *req.Token
	} else {
		length := int64(standard)
		if req.Length != nil {
			length = *req.Length
		}
		if length < 1 || length > most {
			return nil, matrix.InvalidParam("length is a number from 1 to %d.", most)
		}
		t.Token = matrix.RandomString(int(length))
	}
	made, err := a.accounts.CreateRegistrationToken(ctx, t)
	if err != nil {
		return nil, err
	}
	return newShownToken(*made), nil
}

type changeTokenRequest struct {
	Token string          `path:"token"`
	Body  json.RawMessage `body:"raw"`
}

// change sets what is in the body: null is another thing than nothing there.
func (a *tokensAPI) change(ctx context.Context, _ api.Caller, req *changeTokenRequest) (*shownToken, error) {
	var given map[string]json.RawMessage
	if err := json.Unmarshal(req.Body, &given); err != nil {
		return nil, matrix.BadJSON("The body has to be an object.")
	}
	var uses, expiry *int64
	for name, into := range map[string]**int64{"uses_allowed": &uses, "expiry_time": &expiry} {
		if raw, ok := given[name]; ok && json.Unmarshal(raw, into) != nil {
			return nil, matrix.InvalidParam("%s is a whole number, or null.", name)
		}
	}
	t, err := a.accounts.ChangeRegistrationToken(ctx, req.Token, func(t *accounts.RegistrationToken) {
		if _, ok := given["uses_allowed"]; ok {
			t.UsesAllowed = uses
		}
		if _, ok := given["expiry_time"]; ok {
			t.ExpiresAt = expiry
		}
	})
	if err != nil {
		return nil, err
	}
	return newShownToken(*t), nil
}

func (a *tokensAPI) remove(ctx context.Context, _ api.Caller, req *tokenRequest) (*struct{}, error) {
	return nil, a.accounts.DeleteRegistrationToken(ctx, req.Token)
}
