package clientapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"sort"

	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// spacesAPI is what people may know of rooms before they are in them, and what
// becomes of rooms: modules room_summary, space_hierarchy, mutual_rooms and
// room_upgrades.
type spacesAPI struct{ rooms *rooms.Service }

func (a *spacesAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodGet, "/_matrix/client/v1/room_summary/{roomIdOrAlias}", api.Optional, a.summary,
			api.Aliases("/_matrix/client/unstable/im.nheko.summary/summary/{roomIdOrAlias}",
				"/_matrix/client/unstable/im.nheko.summary/rooms/{roomIdOrAlias}/summary")),
		api.Endpoint(http.MethodGet, "/_matrix/client/v1/rooms/{roomId}/hierarchy", api.Guest, a.hierarchy, api.Limit("spaces")),
		api.Endpoint(http.MethodGet, "/_matrix/client/v1/mutual_rooms", api.User, a.mutual),
		api.Endpoint(http.MethodGet, "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms", api.User, a.earlyMutual),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/upgrade", api.User, a.upgrade, api.Limit("create")),
	}
}

// roomSummary is how rooms are shown to those who are not in them.
type roomSummary struct {
	publicRoom
	AllowedRooms []matrix.RoomID `json:"allowed_room_ids,omitempty"`
	Encryption   string          `json:"encryption,omitempty"`
	Version      string          `json:"room_version"`
}

func summaryOf(p *rooms.Preview) roomSummary {
	return roomSummary{
		publicRoom: publicRoom{
			RoomID: p.RoomID, Name: p.Name, Topic: p.Topic, AvatarURL: p.AvatarURL, CanonicalAlias: p.CanonicalAlias,
			JoinRule: p.JoinRule, RoomType: p.Type, Members: p.JoinedMembers, WorldReadable: p.WorldReadable, GuestCanJoin: p.GuestsCanJoin,
		},
		AllowedRooms: p.AllowedRooms, Encryption: p.Encryption, Version: p.Version,
	}
}

type summaryRequest struct {
	Room string   `path:"roomIdOrAlias"`
	Via  []string `query:"via"`
}

type summaryResponse struct {
	roomSummary
	Membership string `json:"membership,omitempty"`
}

func (a *spacesAPI) summary(ctx context.Context, who api.Caller, req *summaryRequest) (*summaryResponse, error) {
	p, err := a.rooms.Preview(ctx, req.Room, who.UserID, who.AppService)
	if err != nil {
		return nil, err
	}
	return &summaryResponse{summaryOf(p), p.Membership}, nil
}

type hierarchyRequest struct {
	Room          matrix.RoomID `path:"roomId"`
	SuggestedOnly bool          `query:"suggested_only"`
	Limit         *int64        `query:"limit"`
	MaxDepth      *int64        `query:"max_depth"`
	From          string        `query:"from"`
}

func (r *hierarchyRequest) Validate() error {
	if r.Limit != nil && *r.Limit <= 0 {
		return matrix.InvalidParam("limit is a number of rooms, above 0.")
	}
	if r.MaxDepth != nil && *r.MaxDepth < 0 {
		return matrix.InvalidParam("max_depth is not below 0.")
	}
	return nil
}

type hierarchyResponse struct {
	Rooms []hierarchyRoom `json:"rooms"`
	Next  string          `json:"next_batch,omitempty"`
}

type hierarchyRoom struct {
	roomSummary
	Children []childEvent `json:"children_state"`
}

// childEvent is a stripped m.space.child event that says when it was sent.
type childEvent struct {
	Type      string          `json:"type"`
	StateKey  string          `json:"state_key"`
	Sender    matrix.UserID   `json:"sender"`
	Content   json.RawMessage `json:"content"`
	Timestamp int64           `json:"origin_server_ts"`
}

func (a *spacesAPI) hierarchy(ctx context.Context, who api.Caller, req *hierarchyRequest) (*hierarchyResponse, error) {
	query := rooms.HierarchyQuery{Space: req.Room, User: who.UserID, SuggestedOnly: req.SuggestedOnly, MaxDepth: -1, From: req.From}
	if req.Limit != nil {
		query.Limit = int(min(*req.Limit, 1000))
	}
	if req.MaxDepth != nil {
		query.MaxDepth = int(min(*req.MaxDepth, 1000))
	}
	page, err := a.rooms.Hierarchy(ctx, query)
	if err != nil {
		return nil, err
	}
	res := &hierarchyResponse{Rooms: []hierarchyRoom{}, Next: page.Next}
	for _, p := range page.Rooms {
		room := hierarchyRoom{summaryOf(p), []childEvent{}}
		for _, e := range p.Children {
			room.Children = append(room.Children, childEvent{e.Type, *e.StateKey, e.Sender, e.Content, e.OriginServerTS})
		}
		res.Rooms = append(res.Rooms, room)
	}
	return res, nil
}

type mutualRequest struct {
	User matrix.UserID `query:"user_id" required:"true"`
	From string        `query:"from"`
}

type mutualResponse struct {
	Joined []matrix.RoomID `json:"joined"`
	Count  int             `json:"count"`
	Next   string          `json:"next_batch,omitempty"`
}

// mutualPage is how many rooms are told at once.
const mutualPage = 100

// mutual pages by the ID of the last room, so that no room is told twice or
// left out because others come and go.
func (a *spacesAPI) mutual(ctx context.Context, who api.Caller, req *mutualRequest) (*mutualResponse, error) {
	if req.User == who.UserID {
		return nil, matrix.InvalidParam("You share all your rooms with yourself.")
	}
	after, err := base64.RawURLEncoding.DecodeString(req.From)
	if err != nil || req.From != "" && len(after) == 0 {
		return nil, matrix.InvalidParam("from is no token of this server.")
	}
	shared, err := a.rooms.MutualRooms(ctx, who.UserID, req.User)
	if err != nil {
		return nil, err
	}
	res := &mutualResponse{Joined: []matrix.RoomID{}, Count: len(shared)}
	begin := sort.Search(len(shared), func(i int) bool { return string(shared[i]) > string(after) })
	end := min(len(shared), begin+mutualPage)
	res.Joined = append(res.Joined, shared[begin:end]...)
	if end < len(shared) {
		res.Next = base64.RawURLEncoding.EncodeToString([]byte(shared[end-1]))
	}
	return res, nil
}

type earlyMutualRequest struct {
	mutualRequest
	Token string `query:"batch_token"`
}

type earlyMutualResponse struct {
	*mutualResponse
	Token string `json:"next_batch_token,omitempty"`
}

// earlyMutual is mutual with the names that tokens had when clients learned it
// (MSC2666).
func (a *spacesAPI) earlyMutual(ctx context.Context, who api.Caller, req *earlyMutualRequest) (*earlyMutualResponse, error) {
	if req.From == "" {
		req.From = req.Token
	}
	res, err := a.mutual(ctx, who, &req.mutualRequest)
	if err != nil {
		return nil, err
	}
	return &earlyMutualResponse{res, res.Next}, nil
}

type upgradeRequest struct {
	Room               matrix.RoomID   `path:"roomId"`
	Version            string          `json:"new_version" required:"true"`
	AdditionalCreators []matrix.UserID `json:"additional_creators"`
}

func (r *upgradeRequest) Validate() error {
	for _, user := range r.AdditionalCreators {
		if _, err := matrix.ParseUserID(string(user)); err != nil {
			return matrix.InvalidParam("additional_creators: %v.", err)
		}
	}
	return nil
}

type upgradeResponse struct {
	Replacement matrix.RoomID `json:"replacement_room"`
}

func (a *spacesAPI) upgrade(ctx context.Context, who api.Caller, req *upgradeRequest) (*upgradeResponse, error) {
	id, err := a.rooms.Upgrade(ctx, rooms.UpgradeRequest{
		Who: actor(who), Room: req.Room, Version: req.Version, AdditionalCreators: req.AdditionalCreators,
	})
	if err != nil {
		return nil, err
	}
	return &upgradeResponse{id}, nil
}
