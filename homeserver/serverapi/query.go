package serverapi

import (
	"context"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// queryAPI is what servers ask for their users (§ Querying for information and § Published Room Directory).
type queryAPI struct {
	server   matrix.ServerName
	accounts *accounts.Service
	rooms    *rooms.Service
}

func (a *queryAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", "/_matrix/federation/v1/query/profile", api.OtherServer, a.profile, perServer()),
		api.Endpoint("GET", "/_matrix/federation/v1/query/directory", api.OtherServer, a.directory, perServer()),
		api.Endpoint("GET", "/_matrix/federation/v1/publicRooms", api.OtherServer, a.publicRooms, perServer()),
		api.Endpoint("POST", "/_matrix/federation/v1/publicRooms", api.OtherServer, a.searchRooms, perServer()),
	}
}

type profileRequest struct {
	UserID matrix.UserID `query:"user_id" required:"true"`
	Field  string        `query:"field"`
}

func (a *queryAPI) profile(ctx context.Context, _ api.Caller, req *profileRequest) (*accounts.Profile, error) {
	if req.UserID.Server() != a.server {
		return nil, matrix.InvalidParam("%s is not a user of this server.", req.UserID)
	}
	if req.Field == "" {
		profile, err := a.accounts.WholeProfile(ctx, req.UserID)
		return &profile, err
	}
	value, err := a.accounts.ProfileField(ctx, req.UserID, req.Field)
	return &accounts.Profile{req.Field: value}, err
}

type directoryRequest struct {
	Alias matrix.RoomAlias `query:"room_alias" required:"true"`
}

type directoryResponse struct {
	RoomID  matrix.RoomID       `json:"room_id"`
	Servers []matrix.ServerName `json:"servers"`
}

func (a *queryAPI) directory(ctx context.Context, _ api.Caller, req *directoryRequest) (*directoryResponse, error) {
	found, err := a.rooms.Resolve(ctx, req.Alias, "")
	if err != nil {
		return nil, err
	}
	if federated, err := a.rooms.Federated(ctx, found.RoomID); err != nil {
		return nil, err
	} else if !federated {
		return nil, matrix.NotFound("Room alias %s does not exist.", req.Alias)
	}
	return &directoryResponse{found.RoomID, []matrix.ServerName{a.server}}, nil
}

type publicRoomsRequest struct {
	Limit       int64  `query:"limit"`
	Since       string `query:"since"`
	AllNetworks bool   `query:"include_all_networks"`
	Network     string `query:"third_party_instance_id"`
}

func (a *queryAPI) publicRooms(ctx context.Context, _ api.Caller, req *publicRoomsRequest) (*federation.PublicRooms, error) {
	return a.page(ctx, rooms.PublicRoomsQuery{Network: req.Network, AllNetworks: req.AllNetworks, Since: req.Since}, req.Limit)
}

type searchRoomsRequest struct {
	Limit  int64  `json:"limit"`
	Since  string `json:"since"`
	Filter struct {
		Search    string    `json:"generic_search_term"`
		RoomTypes []*string `json:"room_types"`
	} `json:"filter"`
	AllNetworks bool   `json:"include_all_networks"`
	Network     string `json:"third_party_instance_id"`
}

func (a *queryAPI) searchRooms(ctx context.Context, _ api.Caller, req *searchRoomsRequest) (*federation.PublicRooms, error) {
	query := rooms.PublicRoomsQuery{
		Search: req.Filter.Search, Network: req.Network, AllNetworks: req.AllNetworks, Since: req.Since,
		RoomTypes: rooms.WantedTypes(req.Filter.RoomTypes),
	}
	return a.page(ctx, query, req.Limit)
}

func (a *queryAPI) page(ctx context.Context, q rooms.PublicRoomsQuery, limit int64) (*federation.PublicRooms, error) {
	if q.AllNetworks && q.Network != "" {
		return nil, matrix.InvalidParam("include_all_networks and third_party_instance_id exclude each other.")
	}
	q.Limit, q.Federated = int(min(max(limit, 0), 10_000)), true // 0 is as many as fit
	page, err := a.rooms.PublicRooms(ctx, q)
	if err != nil {
		return nil, err
	}
	return federation.NewPublicRooms(page), nil
}
