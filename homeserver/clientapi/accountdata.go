package clientapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// Client config and room tagging (modules account-data and tags).
func (a *accountAPI) accountDataRoutes() []api.Route {
	const (
		user = "/_matrix/client/v3/user/{userId}"
		room = user + "/rooms/{roomId}"
		// MSC3391
		deletable = "/_matrix/client/unstable/org.matrix.msc3391/user/{userId}"
	)
	return []api.Route{
		api.Endpoint("GET", user+"/account_data/{type}", api.User, a.accountData),
		api.Endpoint("PUT", user+"/account_data/{type}", api.User, a.putAccountData),
		api.Endpoint("GET", room+"/account_data/{type}", api.User, a.roomAccountData),
		api.Endpoint("PUT", room+"/account_data/{type}", api.User, a.putRoomAccountData),
		api.Endpoint("DELETE", deletable+"/account_data/{type}", api.User, a.deleteAccountData),
		api.Endpoint("DELETE", deletable+"/rooms/{roomId}/account_data/{type}", api.User, a.deleteRoomAccountData),
		api.Endpoint("GET", room+"/tags", api.User, a.tags),
		api.Endpoint("PUT", room+"/tags/{tag}", api.User, a.setTag),
		api.Endpoint("DELETE", room+"/tags/{tag}", api.User, a.deleteTag),
	}
}

type accountDataRequest struct {
	UserID matrix.UserID `path:"userId"`
	Type   string        `path:"type"`
}

type roomAccountDataRequest struct {
	accountDataRequest
	RoomID matrix.RoomID `path:"roomId"`
}

func (a *accountAPI) accountData(ctx context.Context, who api.Caller, req *accountDataRequest) (*json.RawMessage, error) {
	return a.readAccountData(ctx, who, req.UserID, "", req.Type)
}

func (a *accountAPI) roomAccountData(ctx context.Context, who api.Caller, req *roomAccountDataRequest) (*json.RawMessage, error) {
	return a.readAccountData(ctx, who, req.UserID, req.RoomID, req.Type)
}

func (a *accountAPI) readAccountData(ctx context.Context, who api.Caller, user matrix.UserID, room matrix.RoomID, dataType string) (*json.RawMessage, error) {
	if err := checkSelf(who, user); err != nil {
		return nil, err
	}
	content, err := a.accounts.AccountData(ctx, user, room, dataType)
	return &content, err
}

type putAccountDataRequest struct {
	accountDataRequest
	Content json.RawMessage `body:"raw"`
}

type putRoomAccountDataRequest struct {
	roomAccountDataRequest
	Content json.RawMessage `body:"raw"`
}

func (a *accountAPI) putAccountData(ctx context.Context, who api.Caller, req *putAccountDataRequest) (*struct{}, error) {
	if err := checkSelf(who, req.UserID); err != nil {
		return nil, err
	}
	if err := checkDelegated(who, req.Type); err != nil {
		return nil, err
	}
	return nil, a.accounts.PutAccountData(ctx, req.UserID, accounts.Datum{Type: req.Type, Content: req.Content})
}

func (a *accountAPI) putRoomAccountData(ctx context.Context, who api.Caller, req *putRoomAccountDataRequest) (*struct{}, error) {
	if err := checkSelf(who, req.UserID); err != nil {
		return nil, err
	}
	return nil, a.accounts.PutAccountData(ctx, req.UserID, accounts.Datum{RoomID: req.RoomID, Type: req.Type, Content: req.Content})
}

func (a *accountAPI) deleteAccountData(ctx context.Context, who api.Caller, req *accountDataRequest) (*struct{}, error) {
	return a.deleteRoomAccountData(ctx, who, &roomAccountDataRequest{accountDataRequest: *req})
}

func (a *accountAPI) deleteRoomAccountData(ctx context.Context, who api.Caller, req *roomAccountDataRequest) (*struct{}, error) {
	if err := checkSelf(who, req.UserID); err != nil {
		return nil, err
	}
	return nil, a.accounts.DeleteAccountData(ctx, req.UserID, req.RoomID, req.Type)
}

type tagsRequest struct {
	UserID matrix.UserID `path:"userId"`
	RoomID matrix.RoomID `path:"roomId"`
}

type tagsResponse struct {
	Tags map[string]json.RawMessage `json:"tags"`
}

func (a *accountAPI) tags(ctx context.Context, who api.Caller, req *tagsRequest) (*tagsResponse, error) {
	if err := checkSelf(who, req.UserID); err != nil {
		return nil, err
	}
	tags, err := a.accounts.Tags(ctx, req.UserID, req.RoomID)
	return &tagsResponse{tags}, err
}

type tagRequest struct {
	tagsRequest
	Tag string `path:"tag"`
}

type setTagRequest struct {
	tagRequest
	Value json.RawMessage `body:"raw"`
}

func (a *accountAPI) setTag(ctx context.Context, who api.Caller, req *setTagRequest) (*struct{}, error) {
	if err := checkSelf(who, req.UserID); err != nil {
		return nil, err
	}
	return nil, a.accounts.SetTag(ctx, req.UserID, req.RoomID, req.Tag, req.Value)
}

func (a *accountAPI) deleteTag(ctx context.Context, who api.Caller, req *tagRequest) (*struct{}, error) {
	if err := checkSelf(who, req.UserID); err != nil {
		return nil, err
	}
	return nil, a.accounts.DeleteTag(ctx, req.UserID, req.RoomID, req.Tag)
}

// Filters (module filter).
func (a *accountAPI) filterRoutes() []api.Route {
	const filter = "/_matrix/client/v3/user/{userId}/filter"
	return []api.Route{
		api.Endpoint("POST", filter, api.Guest, a.addFilter),
		api.Endpoint("GET", filter+"/{filterId}", api.Guest, a.filter),
	}
}

type addFilterRequest struct {
	UserID matrix.UserID   `path:"userId"`
	Filter json.RawMessage `body:"raw"`
}

type addFilterResponse struct {
	FilterID string `json:"filter_id"`
}

func (a *accountAPI) addFilter(ctx context.Context, who api.Caller, req *addFilterRequest) (*addFilterResponse, error) {
	if err := checkSelf(who, req.UserID); err != nil {
		return nil, err
	}
	id, err := a.accounts.AddFilter(ctx, req.UserID, req.Filter)
	return &addFilterResponse{id}, err
}

type filterRequest struct {
	UserID   matrix.UserID `path:"userId"`
	FilterID string        `path:"filterId"`
}

func (a *accountAPI) filter(ctx context.Context, who api.Caller, req *filterRequest) (*json.RawMessage, error) {
	if err := checkSelf(who, req.UserID); err != nil {
		return nil, err
	}
	filter, err := a.accounts.Filter(ctx, req.UserID, req.FilterID)
	return &filter, err
}
