package serverapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/api"
	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// spacesAPI is what hangs below spaces (§ Spaces).
type spacesAPI struct{ rooms *rooms.Service }

func (a *spacesAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", "/_matrix/federation/v1/hierarchy/{roomId}", api.OtherServer, a.branch, perServer()),
	}
}

type branchRequest struct {
	Room          matrix.RoomID `path:"roomId"`
	SuggestedOnly bool          `query:"suggested_only"`
}

type branchResponse struct {
	Room     spaceRoom       `json:"room"`
	Children []roomSummary   `json:"children"`
	Closed   []matrix.RoomID `json:"inaccessible_children"`
}

type spaceRoom struct {
	roomSummary
	Children []childEvent `json:"children_state"`
}

// roomSummary is how rooms are shown to those who are not in them.
type roomSummary struct {
	federation.PublicRoom
	AllowedRooms []matrix.RoomID `json:"allowed_room_ids,omitempty"`
	Encryption   string          `json:"encryption,omitempty"`
	Version      string          `json:"room_version"`
}

func summaryOf(p *rooms.Preview) roomSummary {
	return roomSummary{federation.NewPublicRoom(p.Summary), p.AllowedRooms, p.Encryption, p.Version}
}

// childEvent is a stripped m.space.child event that says when it was sent.
type childEvent struct {
	Type      string          `json:"type"`
	StateKey  string          `json:"state_key"`
	Sender    matrix.UserID   `json:"sender"`
	Content   json.RawMessage `json:"content"`
	Timestamp int64           `json:"origin_server_ts"`
}

func (a *spacesAPI) branch(ctx context.Context, who api.Caller, req *branchRequest) (*branchResponse, error) {
	b, err := a.rooms.Peer(who.Server).Branch(ctx, req.Room, req.SuggestedOnly)
	if err != nil {
		return nil, err
	}
	res := &branchResponse{spaceRoom{summaryOf(b.Room), []childEvent{}}, []roomSummary{}, b.Closed}
	if res.Closed == nil {
		res.Closed = []matrix.RoomID{}
	}
	for _, e := range b.Room.Children {
		res.Room.Children = append(res.Room.Children, childEvent{e.Type, *e.StateKey, e.Sender, e.Content, e.OriginServerTS})
	}
	for _, p := range b.Children {
		res.Children = append(res.Children, summaryOf(p))
	}
	return res, nil
}
