package clientapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
)

// Push rules as data (module pushrules).
func (a *accountAPI) pushRuleRoutes() []api.Route {
	const (
		all  = "/_matrix/client/v3/pushrules/"
		rule = all + "global/{kind}/{ruleId}"
	)
	return []api.Route{
		api.Endpoint("GET", all, api.User, a.allPushRules),
		api.Endpoint("GET", all+"global/", api.User, a.globalPushRules),
		api.Endpoint("GET", rule, api.User, a.pushRule),
		api.Endpoint("PUT", rule, api.User, a.putPushRule),
		api.Endpoint("DELETE", rule, api.User, a.deletePushRule),
		api.Endpoint("GET", rule+"/enabled", api.User, a.pushRuleEnabled),
		api.Endpoint("PUT", rule+"/enabled", api.User, a.enablePushRule),
		api.Endpoint("GET", rule+"/actions", api.User, a.pushRuleActions),
		api.Endpoint("PUT", rule+"/actions", api.User, a.setPushRuleActions),
	}
}

type pushRulesResponse struct {
	Global accounts.Ruleset `json:"global"`
}

func (a *accountAPI) allPushRules(ctx context.Context, who api.Caller, _ *struct{}) (*pushRulesResponse, error) {
	rules, err := a.accounts.PushRules(ctx, who.UserID)
	return &pushRulesResponse{rules}, err
}

func (a *accountAPI) globalPushRules(ctx context.Context, who api.Caller, _ *struct{}) (*accounts.Ruleset, error) {
	rules, err := a.accounts.PushRules(ctx, who.UserID)
	return &rules, err
}

type pushRuleRequest struct {
	Kind string `path:"kind"`
	ID   string `path:"ruleId"`
}

func (r *pushRuleRequest) kind() accounts.PushKind { return accounts.PushKind(r.Kind) }

func (a *accountAPI) pushRule(ctx context.Context, who api.Caller, req *pushRuleRequest) (*accounts.PushRule, error) {
	return a.accounts.PushRule(ctx, who.UserID, req.kind(), req.ID)
}

type putPushRuleRequest struct {
	pushRuleRequest
	Before     string          `query:"before"`
	After      string          `query:"after"`
	Conditions json.RawMessage `json:"conditions"`
	Pattern    *string         `json:"pattern"`
	Actions    json.RawMessage `json:"actions" required:"true"`
}

func (a *accountAPI) putPushRule(ctx context.Context, who api.Caller, req *putPushRuleRequest) (*struct{}, error) {
	return nil, a.accounts.PutPushRule(ctx, who.UserID, accounts.PushRuleSpec{
		Kind: req.kind(), ID: req.ID, Conditions: req.Conditions, Pattern: req.Pattern, Actions: req.Actions,
		Before: req.Before, After: req.After,
	})
}

func (a *accountAPI) deletePushRule(ctx context.Context, who api.Caller, req *pushRuleRequest) (*struct{}, error) {
	return nil, a.accounts.DeletePushRule(ctx, who.UserID, req.kind(), req.ID)
}

type enabledResponse struct {
	Enabled bool `json:"enabled"`
}

func (a *accountAPI) pushRuleEnabled(ctx context.Context, who api.Caller, req *pushRuleRequest) (*enabledResponse, error) {
	rule, err := a.accounts.PushRule(ctx, who.UserID, req.kind(), req.ID)
	if err != nil {
		return nil, err
	}
	return &enabledResponse{rule.Enabled}, nil
}

type enableRequest struct {
	pushRuleRequest
	Enabled bool `json:"enabled" required:"true"`
}

func (a *accountAPI) enablePushRule(ctx context.Context, who api.Caller, req *enableRequest) (*struct{}, error) {
	return nil, a.accounts.EnablePushRule(ctx, who.UserID, req.kind(), req.ID, req.Enabled)
}

type actionsResponse struct {
	Actions json.RawMessage `json:"actions"`
}

func (a *accountAPI) pushRuleActions(ctx context.Context, who api.Caller, req *pushRuleRequest) (*actionsResponse, error) {
	rule, err := a.accounts.PushRule(ctx, who.UserID, req.kind(), req.ID)
	if err != nil {
		return nil, err
	}
	return &actionsResponse{rule.Actions}, nil
}

type setActionsRequest struct {
	pushRuleRequest
	Actions json.RawMessage `json:"actions" required:"true"`
}

func (a *accountAPI) setPushRuleActions(ctx context.Context, who api.Caller, req *setActionsRequest) (*struct{}, error) {
	return nil, a.accounts.SetPushRuleActions(ctx, who.UserID, req.kind(), req.ID, req.Actions)
}
