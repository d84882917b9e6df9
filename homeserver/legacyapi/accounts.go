package legacyapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

func (a *legacyAPI) accountRoutes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodGet, prefix+"/login", api.None, a.loginFlows),
		api.Endpoint(http.MethodPost, prefix+"/login", api.None, a.login, api.Limit("login")),
		api.Raw(http.MethodGet, prefix+"/login/fallback", api.None, a.fallback),
		api.Endpoint(http.MethodGet, prefix+"/register", api.None, a.registerFlows),
		api.Endpoint(http.MethodPost, prefix+"/register", api.None, a.register, api.Limit("register")),
	}
}

// A flow is one way to log in or register; its type is that of its first stage.
type flow struct {
	Type   string   `json:"type"`
	Stages []string `json:"stages,omitempty"` // if there are several
}

func newFlow(stages ...string) flow {
	if len(stages) == 1 {
		return flow{Type: stages[0]}
	}
	return flow{stages[0], stages}
}

// flowsResponse has the list of flows and, as the first draft wanted it, the
// one that the server prefers without one.
type flowsResponse struct {
	flow
	Flows []flow `json:"flows"`
}

func (a *legacyAPI) loginFlows(context.Context, api.Caller, *struct{}) (*flowsResponse, error) {
	only := newFlow(accounts.StagePassword)
	return &flowsResponse{only, []flow{only}}, nil
}

// credentials is the answer to a finished flow.
type credentials struct {
	UserID      matrix.UserID     `json:"user_id"`
	AccessToken string            `json:"access_token"`
	HomeServer  matrix.ServerName `json:"home_server"`
}

// stageResponse is credentials, or what comes next.
type stageResponse struct {
	*credentials
	Session string `json:"session,omitempty"`
	Next    string `json:"next,omitempty"`
}

func finished(login *accounts.Login) *stageResponse {
	return &stageResponse{credentials: &credentials{login.UserID, login.AccessToken, login.UserID.Server()}}
}

type stageRequest struct {
	Type     string `json:"type"`
	Session  string `json:"session"`
	User     string `json:"user"`
	UserID   string `json:"user_id"` // in the first draft
	Password string `json:"password"`
	Token    string `json:"token"`
}

func (a *legacyAPI) login(ctx context.Context, _ api.Caller, req *stageRequest) (*stageResponse, error) {
	if req.Type != accounts.StagePassword {
		return nil, unknownStage(req.Type)
	}
	login, err := a.Accounts.LoginByPassword(ctx, accounts.PasswordLogin{User: req.User, Password: req.Password})
	if err != nil {
		return nil, err
	}
	return finished(login), nil
}

func unknownStage(name string) error {
	if name == "" {
		return matrix.BadJSON("type is missing: it names the stage.")
	}
	return matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "There is no stage %.80q in any flow of this server.", name)
}

func (a *legacyAPI) registerFlows(context.Context, api.Caller, *struct{}) (*flowsResponse, error) {
	operation, err := a.registration()
	if err != nil {
		return nil, err
	}
	res := new(flowsResponse)
	for _, stages := range operation.Flows {
		res.Flows = append(res.Flows, newFlow(append(stages[:len(stages)-1:len(stages)-1], accounts.StagePassword)...))
	}
	res.flow = res.Flows[0]
	return res, nil
}

// registration is the operation of registering, with a stage that asks for
// nothing at the end of each flow: there, a client of then sends the password
// that the account is to have.
func (a *legacyAPI) registration() (accounts.Operation, error) {
	operation, err := a.Accounts.RegistrationOperation()
	if err != nil {
		return operation, err
	}
	operation.Name = "register by the API of 2014"
	for i, stages := range operation.Flows {
		if stages[len(stages)-1] != accounts.StageDummy {
			operation.Flows[i] = append(stages[:len(stages):len(stages)], accounts.StageDummy)
		}
	}
	return operation, nil
}

func (a *legacyAPI) register(ctx context.Context, _ api.Caller, req *stageRequest) (*stageResponse, error) {
	operation, err := a.registration()
	if err != nil {
		return nil, err
	}
	if req.Type == accounts.StagePassword {
		return a.registerAtLast(ctx, operation, req)
	}
	if req.Type == "" || req.Type == accounts.StageDummy {
		return nil, unknownStage(req.Type)
	}
	var challenge *accounts.Challenge
	_, err = a.prove(ctx, operation, req, req.Type)
	if !errors.As(err, &challenge) {
		if err == nil {
			err = unknownStage(req.Type)
		}
		return nil, err
	}
	if challenge.Code != "" {
		return nil, matrix.NewError(http.StatusForbidden, challenge.Code, "%s", challenge.Message)
	}
	for _, stages := range operation.Flows {
		if n := len(challenge.Completed); n > 0 && len(stages) > n && stages[n-1] == req.Type {
			next := stages[n]
			if next == accounts.StageDummy {
				next = accounts.StagePassword
			}
			return &stageResponse{Session: challenge.Session, Next: next}, nil
		}
	}
	return nil, unknownStage(req.Type)
}

// registerAtLast makes the account, if all stages before are complete.
func (a *legacyAPI) registerAtLast(ctx context.Context, operation accounts.Operation, req *stageRequest) (*stageResponse, error) {
	if req.Password == "" {
		return nil, matrix.BadJSON("password is missing.")
	}
	r := accounts.Registration{Username: a.localpart(req), Password: req.Password, Login: new(accounts.NewDevice)}
	if _, err := a.Accounts.CheckRegistration(ctx, r); err != nil {
		return nil, err
	}
	var challenge *accounts.Challenge
	var err error
	if r.Proofs, err = a.prove(ctx, operation, req, accounts.StageDummy); errors.As(err, &challenge) {
		return nil, matrix.Forbidden("The stages before this one are not complete.")
	} else if err != nil {
		return nil, err
	}
	login, err := a.Accounts.Register(ctx, r)
	if err != nil {
		return nil, err
	}
	return finished(login), nil
}

func (a *legacyAPI) prove(ctx context.Context, operation accounts.Operation, req *stageRequest, stage string) (accounts.Proofs, error) {
	auth, err := json.Marshal(map[string]string{"type": stage, "session": req.Session, "token": req.Token})
	if err != nil {
		return nil, err
	}
	return a.Accounts.Prove(ctx, operation, auth, "")
}

// localpart is the name that a client wants, which may be given as a whole user ID.
func (a *legacyAPI) localpart(req *stageRequest) string {
	name := req.User
	if name == "" {
		name = req.UserID
	}
	if whole, ok := strings.CutPrefix(name, "@"); ok {
		name = strings.TrimSuffix(whole, ":"+string(a.ServerName))
	}
	return name
}
