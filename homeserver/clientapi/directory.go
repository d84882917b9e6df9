package clientapi

import (
	"context"
	"net/http"
	"strings"

	"trestle/homeserver/api"
	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// UserDirectory searches people.
type UserDirectory interface {
	Search(ctx context.Context, searcher matrix.UserID, text string, limit int) ([]rooms.DirectoryUser, error)
}

// OtherServers asks other homeservers for their aliases and rooms. Its errors are answered as they are.
type OtherServers interface {
	Alias(ctx context.Context, alias matrix.RoomAlias) (matrix.RoomID, []matrix.ServerName, error)
	PublicRooms(ctx context.Context, server matrix.ServerName, q rooms.PublicRoomsQuery) (*federation.PublicRooms, error)
}

// directoryAPI is aliases and the directories of rooms and users.
type directoryAPI struct {
	server matrix.ServerName
	rooms  *rooms.Service
	users  UserDirectory
	others OtherServers // nil: none are asked
}

func (a *directoryAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/directory/room/{roomAlias}", api.Optional, a.resolve),
		api.Endpoint(http.MethodPut, "/_matrix/client/v3/directory/room/{roomAlias}", api.User, a.createAlias),
		api.Endpoint(http.MethodDelete, "/_matrix/client/v3/directory/room/{roomAlias}", api.User, a.deleteAlias),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/rooms/{roomId}/aliases", api.Guest, a.aliases),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/directory/list/room/{roomId}", api.None, a.visibility),
		api.Endpoint(http.MethodPut, "/_matrix/client/v3/directory/list/room/{roomId}", api.User, a.setVisibility),
		api.Endpoint(http.MethodPut, "/_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}", api.AppService, a.setNetworkVisibility),
		api.Endpoint(http.MethodDelete, "/_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}", api.AppService, a.removeFromNetwork),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/publicRooms", api.None, a.publicRooms),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/publicRooms", api.Guest, a.searchRooms),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/user_directory/search", api.User, a.searchUsers),
	}
}

type aliasRequest struct {
	Alias matrix.RoomAlias `path:"roomAlias"`
}

type aliasResponse struct {
	RoomID  matrix.RoomID       `json:"room_id"`
	Servers []matrix.ServerName `json:"servers"`
}

func (a *directoryAPI) resolve(ctx context.Context, who api.Caller, req *aliasRequest) (*aliasResponse, error) {
	if req.Alias.Server() != a.server && a.others != nil {
		room, servers, err := a.others.Alias(ctx, req.Alias)
		return &aliasResponse{room, servers}, err
	}
	found, err := a.rooms.Resolve(ctx, req.Alias, who.AppService)
	if err != nil {
		return nil, err
	}
	return &aliasResponse{found.RoomID, []matrix.ServerName{a.server}}, nil
}

type createAliasRequest struct {
	Alias matrix.RoomAlias `path:"roomAlias"`
	Room  matrix.RoomID    `json:"room_id" required:"true"`
}

func (a *directoryAPI) createAlias(ctx context.Context, who api.Caller, req *createAliasRequest) (*struct{}, error) {
	return nil, a.rooms.CreateAlias(ctx, actor(who), req.Alias, req.Room)
}

func (a *directoryAPI) deleteAlias(ctx context.Context, who api.Caller, req *aliasRequest) (*struct{}, error) {
	return nil, a.rooms.DeleteAlias(ctx, actor(who), req.Alias)
}

type aliasesResponse struct {
	Aliases []matrix.RoomAlias `json:"aliases"`
}

func (a *directoryAPI) aliases(ctx context.Context, who api.Caller, req *stateRequest) (*aliasesResponse, error) {
	list, err := a.rooms.Aliases(ctx, req.Room, actor(who))
	if err != nil {
		return nil, err
	}
	return &aliasesResponse{list}, nil
}

type visibilityResponse struct {
	Visibility string `json:"visibility"`
}

func (a *directoryAPI) visibility(ctx context.Context, _ api.Caller, req *stateRequest) (*visibilityResponse, error) {
	listed, err := a.rooms.Listed(ctx, req.Room)
	if err != nil {
		return nil, err
	}
	if listed {
		return &visibilityResponse{"public"}, nil
	}
	return &visibilityResponse{"private"}, nil
}

type setVisibilityRequest struct {
	Room       matrix.RoomID `path:"roomId"`
	Visibility string        `json:"visibility"`
}

func (r *setVisibilityRequest) Validate() error { return checkVisibility(r.Visibility) }

func checkVisibility(v string) error {
	switch v {
	case "", "public", "private":
		return nil
	}
	return matrix.InvalidParam("visibility is public or private.")
}

func (a *directoryAPI) setVisibility(ctx context.Context, who api.Caller, req *setVisibilityRequest) (*struct{}, error) {
	return nil, a.rooms.SetListed(ctx, who.UserID, who.Admin, req.Room, req.Visibility != "private")
}

type networkVisibilityRequest struct {
	Network    string        `path:"networkId"`
	Room       matrix.RoomID `path:"roomId"`
	Visibility string        `json:"visibility"`
}

func (r *networkVisibilityRequest) Validate() error {
	if len(r.Network) > matrix.MaxIDLength {
		return matrix.InvalidParam("The ID of a network has at most %d bytes.", matrix.MaxIDLength)
	}
	if r.Visibility == "" {
		return matrix.MissingParam("visibility is public or private.")
	}
	return checkVisibility(r.Visibility)
}

func (a *directoryAPI) setNetworkVisibility(ctx context.Context, who api.Caller, req *networkVisibilityRequest) (*struct{}, error) {
	return nil, a.rooms.SetNetworkListed(ctx, who.AppService, req.Network, req.Room, req.Visibility == "public")
}

type networkRequest struct {
	Network string        `path:"networkId"`
	Room    matrix.RoomID `path:"roomId"`
}

func (a *directoryAPI) removeFromNetwork(ctx context.Context, who api.Caller, req *networkRequest) (*struct{}, error) {
	return nil, a.rooms.SetNetworkListed(ctx, who.AppService, req.Network, req.Room, false)
}

type publicRoomsRequest struct {
	Limit  *int64            `query:"limit"`
	Since  string            `query:"since"`
	Server matrix.ServerName `query:"server"`
}

func (a *directoryAPI) publicRooms(ctx context.Context, _ api.Caller, req *publicRoomsRequest) (*publicRoomsResponse, error) {
	return a.page(ctx, req.Server, rooms.PublicRoomsQuery{Limit: directoryPage(req.Limit), Since: req.Since})
}

// directoryPage is a limit of the directory; 0 is as many as fit.
func directoryPage(limit *int64) int {
	if limit == nil || *limit < 0 {
		return 0
	}
	return int(min(*limit, 10_000))
}

type searchRoomsRequest struct {
	Server matrix.ServerName `query:"server"`
	Limit  *int64            `json:"limit"`
	Since  string            `json:"since"`
	Filter struct {
		Search    string    `json:"generic_search_term"`
		RoomTypes []*string `json:"room_types"`
	} `json:"filter"`
	AllNetworks bool   `json:"include_all_networks"`
	Network     string `json:"third_party_instance_id"`
}

func (r *searchRoomsRequest) Validate() error {
	if r.AllNetworks && r.Network != "" {
		return matrix.InvalidParam("include_all_networks and third_party_instance_id exclude each other.")
	}
	return nil
}

func (a *directoryAPI) searchRooms(ctx context.Context, _ api.Caller, req *searchRoomsRequest) (*publicRoomsResponse, error) {
	query := rooms.PublicRoomsQuery{
		Search: req.Filter.Search, Network: req.Network, AllNetworks: req.AllNetworks, Limit: directoryPage(req.Limit), Since: req.Since,
		RoomTypes: rooms.WantedTypes(req.Filter.RoomTypes),
	}
	return a.page(ctx, req.Server, query)
}

// The directory is the same for clients and for servers.
type (
	publicRoomsResponse = federation.PublicRooms
	publicRoom          = federation.PublicRoom
)

func (a *directoryAPI) page(ctx context.Context, server matrix.ServerName, query rooms.PublicRoomsQuery) (*publicRoomsResponse, error) {
	if server != "" && server != a.server {
		if a.others == nil {
			return nil, matrix.NotFound("The directory of %s can't be asked from here.", server)
		}
		return a.others.PublicRooms(ctx, server, query)
	}
	page, err := a.rooms.PublicRooms(ctx, query)
	if err != nil {
		return nil, err
	}
	return federation.NewPublicRooms(page), nil
}

type searchUsersRequest struct {
	Term  string `json:"search_term" required:"true"`
	Limit *int64 `json:"limit"`
}

type searchUsersResponse struct {
	Results []foundUser `json:"results"`
	Limited bool        `json:"limited"`
}

type foundUser struct {
	UserID      matrix.UserID `json:"user_id"`
	DisplayName string        `json:"display_name,omitempty"`
	AvatarURL   string        `json:"avatar_url,omitempty"`
}

func (a *directoryAPI) searchUsers(ctx context.Context, who api.Caller, req *searchUsersRequest) (*searchUsersResponse, error) {
	limit := max(1, min(pageSize(req.Limit), 50))
	found, err := a.users.Search(ctx, who.UserID, strings.TrimSpace(req.Term), limit+1)
	if err != nil {
		return nil, err
	}
	res := &searchUsersResponse{Results: []foundUser{}, Limited: len(found) > limit}
	for _, u := range found[:min(len(found), limit)] {
		res.Results = append(res.Results, foundUser(u))
	}
	return res, nil
}
