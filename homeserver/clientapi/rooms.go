package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"trestle/homeserver/api"
	"trestle/homeserver/invites"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// roomsAPI is creating rooms and who is in them.
type roomsAPI struct {
	rooms   *rooms.Service
	invites *invites.Service
	// forgot tells /sync that a room is not to be shown any more.
	forgot func(ctx context.Context, user matrix.UserID, room matrix.RoomID)
}

func (a *roomsAPI) routes() []api.Route {
	limited := api.Limit("create")
	joins := api.Limit("join")
	return []api.Route{
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/createRoom", api.User, a.create, limited),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/joined_rooms", api.Guest, a.joinedRooms),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/join/{roomIdOrAlias}", api.Guest, a.joinAny, joins),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/join", api.Guest, a.join, joins),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/knock/{roomIdOrAlias}", api.User, a.knock, joins),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/leave", api.Guest, a.leave),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/forget", api.Guest, a.forget),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/invite", api.User, a.invite, api.Limit("invite")),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/kick", api.User, a.moderate(a.rooms.Kick)),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/ban", api.User, a.moderate(a.rooms.Ban)),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/unban", api.User, a.moderate(a.rooms.Unban)),
	}
}

type createRequest struct {
	Preset          string                     `json:"preset"`
	Visibility      string                     `json:"visibility"`
	Name            string                     `json:"name"`
	Topic           string                     `json:"topic"`
	AliasName       string                     `json:"room_alias_name"`
	Version         *string                    `json:"room_version"`
	CreationContent map[string]json.RawMessage `json:"creation_content"`
	InitialState    []initialState             `json:"initial_state"`
	PowerLevels     map[string]json.RawMessage `json:"power_level_content_override"`
	Invite          []matrix.UserID            `json:"invite"`
	Invite3PID      []invite3PID               `json:"invite_3pid"`
	IsDirect        bool                       `json:"is_direct"`
}

type initialState struct {
	Type     *string         `json:"type"`
	StateKey string          `json:"state_key"`
	Content  json.RawMessage `json:"content"`
}

func (r *createRequest) Validate() error {
	for _, to := range r.Invite3PID {
		if err := to.check(); err != nil {
			return err
		}
	}
	for _, st := range r.InitialState {
		if st.Type == nil || *st.Type == "" {
			return matrix.BadJSON("Every event of initial_state has a type.")
		}
		if len(st.Content) == 0 || st.Content[0] != '{' {
			return matrix.BadJSON("Every event of initial_state has a content, an object.")
		}
	}
	return nil
}

type roomIDResponse struct {
	RoomID matrix.RoomID `json:"room_id"`
}

func (a *roomsAPI) create(ctx context.Context, who api.Caller, req *createRequest) (*roomIDResponse, error) {
	create := rooms.CreateRequest{
		Creator: who.UserID, AppService: who.AppService, Preset: req.Preset, Visibility: req.Visibility, Name: req.Name, Topic: req.Topic,
		AliasName: req.AliasName, CreationContent: req.CreationContent, PowerLevels: req.PowerLevels,
		Invite: req.Invite, IsDirect: req.IsDirect,
	}
	if req.Version != nil {
		if *req.Version == "" {
			return nil, matrix.UnsupportedRoomVersion("")
		}
		create.Version = *req.Version
	}
	for _, st := range req.InitialState {
		create.InitialState = append(create.InitialState, rooms.InitialState{Type: *st.Type, StateKey: st.StateKey, Content: st.Content})
	}
	to := make([]invites.Address, len(req.Invite3PID))
	for i, invite := range req.Invite3PID {
		to[i] = invite.address()
	}
	id, err := a.invites.Create(ctx, create, to)
	if err != nil {
		return nil, err
	}
	return &roomIDResponse{id}, nil
}

type joinedRoomsResponse struct {
	Rooms []matrix.RoomID `json:"joined_rooms"`
}

func (a *roomsAPI) joinedRooms(ctx context.Context, who api.Caller, _ *struct{}) (*joinedRoomsResponse, error) {
	ids, err := a.rooms.JoinedRooms(ctx, who.UserID)
	return &joinedRoomsResponse{ids}, err
}

type joinAnyRequest struct {
	Room string          `path:"roomIdOrAlias"`
	Body json.RawMessage `body:"raw,optional"`
	via
}

// via is servers that are in a room which this one may not be in.
type via struct {
	Via         []matrix.ServerName `query:"via"`
	ServerNames []matrix.ServerName `query:"server_name"` // what it was called before
}

// maxVia is how many servers a client names.
const maxVia = 50

func (v via) servers() ([]matrix.ServerName, error) {
	list := slices.Concat(v.Via, v.ServerNames)
	if len(list) > maxVia {
		return nil, matrix.InvalidParam("via names more than %d servers.", maxVia)
	}
	for _, name := range list {
		if _, err := matrix.ParseServerName(string(name)); err != nil {
			return nil, matrix.InvalidParam("via: %v.", err)
		}
	}
	return list, nil
}

// joinBody reads a join request: the reason, the proof that an invite to an
// address is for the user, and whatever else the client wants in the member event.
func joinBody(body json.RawMessage, req *rooms.MemberRequest) (proof json.RawMessage, err error) {
	if len(body) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(body, &req.Content); err != nil {
		return nil, matrix.BadJSON("The body has to be an object.")
	}
	if raw, ok := req.Content["reason"]; ok && json.Unmarshal(raw, &req.Reason) != nil {
		return nil, matrix.BadJSON("reason has to be a text.")
	}
	proof = req.Content["third_party_signed"]
	for _, name := range []string{"reason", "membership", "third_party_signed", "third_party_invite", "join_authorised_via_users_server"} {
		delete(req.Content, name)
	}
	if string(proof) == "null" {
		proof = nil
	}
	return proof, nil
}

func (a *roomsAPI) joinAny(ctx context.Context, who api.Caller, req *joinAnyRequest) (*roomIDResponse, error) {
	member := rooms.MemberRequest{Sender: who.UserID, AppService: who.AppService, Guest: who.Guest}
	proof, err := joinBody(req.Body, &member)
	if err != nil {
		return nil, err
	}
	if member.Via, err = req.servers(); err != nil {
		return nil, err
	}
	var id matrix.RoomID
	if proof != nil {
		id, err = a.invites.Join(ctx, req.Room, member, proof)
	} else {
		id, err = a.rooms.Join(ctx, req.Room, member)
	}
	if err != nil {
		return nil, err
	}
	return &roomIDResponse{id}, nil
}

type joinRequest struct {
	Room matrix.RoomID   `path:"roomId"`
	Body json.RawMessage `body:"raw,optional"`
}

func (a *roomsAPI) join(ctx context.Context, who api.Caller, req *joinRequest) (*roomIDResponse, error) {
	return a.joinAny(ctx, who, &joinAnyRequest{Room: string(req.Room), Body: req.Body})
}

type knockRequest struct {
	Room   string `path:"roomIdOrAlias"`
	Reason string `json:"reason"`
	via
}

func (a *roomsAPI) knock(ctx context.Context, who api.Caller, req *knockRequest) (*roomIDResponse, error) {
	servers, err := req.servers()
	if err != nil {
		return nil, err
	}
	id, err := a.rooms.KnockAt(ctx, req.Room, rooms.MemberRequest{Sender: who.UserID, AppService: who.AppService, Reason: req.Reason, Via: servers})
	if err != nil {
		return nil, err
	}
	return &roomIDResponse{id}, nil
}

type leaveRequest struct {
	Room   matrix.RoomID `path:"roomId"`
	Reason string        `json:"reason"`
}

func (a *roomsAPI) leave(ctx context.Context, who api.Caller, req *leaveRequest) (*struct{}, error) {
	return nil, a.rooms.Leave(ctx, rooms.MemberRequest{Room: req.Room, Sender: who.UserID, Reason: req.Reason})
}

type forgetRequest struct {
	Room matrix.RoomID `path:"roomId"`
}

func (a *roomsAPI) forget(ctx context.Context, who api.Caller, req *forgetRequest) (*struct{}, error) {
	if err := a.rooms.Forget(ctx, req.Room, who.UserID); err != nil {
		return nil, err
	}
	a.forgot(ctx, who.UserID, req.Room)
	return nil, nil
}

type moderateRequest struct {
	Room   matrix.RoomID `path:"roomId"`
	UserID matrix.UserID `json:"user_id" required:"true"`
	Reason string        `json:"reason"`
}

// moderate is kick, ban and unban, which differ only in what is done.
func (a *roomsAPI) moderate(do func(context.Context, rooms.MemberRequest) error) func(context.Context, api.Caller, *moderateRequest) (*struct{}, error) {
	return func(ctx context.Context, who api.Caller, req *moderateRequest) (*struct{}, error) {
		return nil, do(ctx, rooms.MemberRequest{Room: req.Room, Sender: who.UserID, Target: req.UserID, Reason: req.Reason})
	}
}

// actor is the caller as rooms wants it.
func actor(who api.Caller) rooms.Actor {
	return rooms.Actor{User: who.UserID, AppService: who.AppService, Guest: who.Guest, Admin: who.Admin}
}
