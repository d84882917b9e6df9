package adminapi

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// roomsAPI is about rooms; deletions.go has how they end.
type roomsAPI struct {
	rooms    *rooms.Service
	accounts *accounts.Service
}

func (a *roomsAPI) routes() []api.Route {
	return append(a.deletionRoutes(),
		api.Endpoint("GET", v1+"/rooms", api.Admin, a.list),
		api.Endpoint("GET", v1+"/rooms/{roomId}", api.Admin, a.show),
		api.Endpoint("GET", v1+"/rooms/{roomId}/members", api.Admin, a.members),
		api.Endpoint("GET", v1+"/rooms/{roomId}/state", api.Admin, a.state),
		api.Endpoint("GET", v1+"/rooms/{roomId}/block", api.Admin, a.blocked),
		api.Endpoint("PUT", v1+"/rooms/{roomId}/block", api.Admin, a.block),
		api.Endpoint("POST", v1+"/rooms/{roomId}/make_room_admin", api.Admin, a.makeAdmin),
		api.Endpoint("POST", v1+"/join/{roomIdOrAlias}", api.Admin, a.join),
	)
}

type listRoomsRequest struct {
	page
	OrderBy string `query:"order_by"`
	Dir     string `query:"dir"`
	Search  string `query:"search_term"`
	Public  *bool  `query:"public_rooms"`
	Empty   *bool  `query:"empty_rooms"`
}

type shownRoom struct {
	ID                matrix.RoomID `json:"room_id"`
	Name              *string       `json:"name"`
	CanonicalAlias    *string       `json:"canonical_alias"`
	JoinedMembers     int64         `json:"joined_members"`
	LocalMembers      int64         `json:"joined_local_members"`
	Version           string        `json:"version"`
	Creator           matrix.UserID `json:"creator"`
	Encryption        *string       `json:"encryption"`
	Federatable       bool          `json:"federatable"`
	Public            bool          `json:"public"`
	JoinRules         string        `json:"join_rules"`
	GuestAccess       string        `json:"guest_access"`
	HistoryVisibility string        `json:"history_visibility"`
	StateEvents       int           `json:"state_events"`
	RoomType          *string       `json:"room_type"`
	Topic             *string       `json:"topic,omitempty"`
	Avatar            *string       `json:"avatar,omitempty"`
	Forgotten         *bool         `json:"forgotten,omitempty"`
}

func (a *roomsAPI) shown(ctx context.Context, r rooms.ListedRoom) (shown shownRoom, err error) {
	gist, err := a.rooms.Gist(ctx, r.NID)
	if err != nil {
		return shown, err
	}
	guests := "forbidden"
	if r.GuestsCanJoin {
		guests = "can_join"
	}
	return shownRoom{
		ID: r.RoomID, Name: optionalText(r.Name), CanonicalAlias: optionalText(r.CanonicalAlias), JoinedMembers: r.JoinedMembers,
		LocalMembers: r.LocalMembers, Version: r.Version, Creator: r.Creator, Encryption: optionalText(r.Encryption),
		Federatable: gist.Federated, Public: r.Public, JoinRules: r.JoinRule, GuestAccess: guests,
		HistoryVisibility: gist.Visibility, StateEvents: gist.StateEvents, RoomType: optionalText(r.Type),
	}, nil
}

type listRoomsResponse struct {
	Rooms  []shownRoom `json:"rooms"`
	Offset int64       `json:"offset"`
	Total  int64       `json:"total_rooms"`
	Next   *int64      `json:"next_batch,omitempty"`
	Prev   *int64      `json:"prev_batch,omitempty"`
}

func (a *roomsAPI) list(ctx context.Context, _ api.Caller, req *listRoomsRequest) (*listRoomsResponse, error) {
	from, limit, err := req.bounds()
	if err != nil {
		return nil, err
	}
	back, err := backward(req.Dir)
	if err != nil {
		return nil, err
	}
	order := req.OrderBy
	switch order {
	case "alphabetical":
		order = "name"
	case "size":
		order = "joined_members"
	}
	if orders := rooms.Orders(); !slices.Contains(orders, order) {
		return nil, matrix.InvalidParam("Rooms are ordered by %s here.", strings.Join(orders[1:], ", "))
	}
	q := rooms.RoomQuery{Search: req.Search, Order: order, Backward: back, Public: req.Public, Empty: req.Empty, From: from, Limit: limit}
	list, total, err := a.rooms.List(ctx, q)
	if err != nil {
		return nil, err
	}
	res := &listRoomsResponse{Rooms: []shownRoom{}, Offset: from, Total: total}
	for _, r := range list {
		shown, err := a.shown(ctx, r)
		if matrix.Code(err) == "M_NOT_FOUND" { // it was removed meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		res.Rooms = append(res.Rooms, shown)
	}
	if next := from + int64(len(list)); next < total {
		res.Next = &next
	}
	if prev := max(from-limit, 0); from > 0 {
		res.Prev = &prev
	}
	return res, nil
}

type roomRequest struct {
	Room matrix.RoomID `path:"roomId"`
}

func (a *roomsAPI) show(ctx context.Context, _ api.Caller, req *roomRequest) (*shownRoom, error) {
	r, err := a.rooms.Described(ctx, req.Room)
	if err != nil {
		return nil, err
	}
	shown, err := a.shown(ctx, *r)
	if err != nil {
		return nil, err
	}
	forgotten := r.LocalMembers == 0
	shown.Topic, shown.Avatar, shown.Forgotten = optionalText(r.Topic), optionalText(r.AvatarURL), &forgotten
	return &shown, nil
}

type membersResponse struct {
	Members []matrix.UserID `json:"members"`
	Total   int             `json:"total"`
}

func (a *roomsAPI) members(ctx context.Context, _ api.Caller, req *roomRequest) (*membersResponse, error) {
	list, err := a.rooms.Members(ctx, req.Room)
	if err != nil {
		return nil, err
	}
	res := &membersResponse{Members: []matrix.UserID{}}
	for _, m := range list {
		if m.Membership == "join" {
			res.Members = append(res.Members, m.User)
		}
	}
	res.Total = len(res.Members)
	return res, nil
}

type stateResponse struct {
	State []json.RawMessage `json:"state"`
}

func (a *roomsAPI) state(ctx context.Context, _ api.Caller, req *roomRequest) (*stateResponse, error) {
	events, err := a.rooms.State(ctx, req.Room)
	if err != nil {
		return nil, err
	}
	res := &stateResponse{[]json.RawMessage{}}
	for _, e := range events {
		res.State = append(res.State, e.AppendClient(nil, matrix.ClientOptions{}))
	}
	return res, nil
}

type blockResponse struct {
	Block bool          `json:"block"`
	By    matrix.UserID `json:"user_id,omitempty"`
}

func (a *roomsAPI) blocked(_ context.Context, _ api.Caller, req *roomRequest) (*blockResponse, error) {
	by, blocked := a.rooms.BlockedBy(req.Room)
	return &blockResponse{blocked, by}, nil
}

type blockRequest struct {
	Room  matrix.RoomID `path:"roomId"`
	Block bool          `json:"block" required:"true"`
}

func (a *roomsAPI) block(ctx context.Context, who api.Caller, req *blockRequest) (*blockResponse, error) {
	return &blockResponse{Block: req.Block}, a.rooms.Block(ctx, req.Room, who.UserID, req.Block)
}

type makeAdminRequest struct {
	Room   string        `path:"roomId"`
	UserID matrix.UserID `json:"user_id"`
}

func (a *roomsAPI) makeAdmin(ctx context.Context, who api.Caller, req *makeAdminRequest) (*struct{}, error) {
	user := req.UserID
	if user == "" {
		user = who.UserID
	}
	room, err := a.rooms.Find(ctx, req.Room, "")
	if err != nil {
		return nil, err
	}
	return nil, a.rooms.MakeAdmin(ctx, room, user)
}

type joinRequest struct {
	Room   string        `path:"roomIdOrAlias"`
	UserID matrix.UserID `json:"user_id" required:"true"`
}

type roomIDResponse struct {
	Room matrix.RoomID `json:"room_id"`
}

func (a *roomsAPI) join(ctx context.Context, _ api.Caller, req *joinRequest) (*roomIDResponse, error) {
	if _, err := a.accounts.Account(ctx, req.UserID); err != nil {
		return nil, err
	}
	room, err := a.rooms.AdminJoin(ctx, req.Room, req.UserID)
	if err != nil {
		return nil, err
	}
	return &roomIDResponse{room}, nil
}
