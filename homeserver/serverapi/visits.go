package serverapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// visitsAPI lets users of other servers into rooms, and out of them (§ Joining Rooms, § Leaving Rooms, § Knocking upon a room).
type visitsAPI struct {
	keys  *federation.KeyRing
	rooms *rooms.Service
}

func (a *visitsAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", "/_matrix/federation/v1/make_join/{roomId}/{userId}", api.OtherServer, a.makeJoin, perServer()),
		api.Stream("PUT", "/_matrix/federation/v1/send_join/{roomId}/{eventId}", api.OtherServer, a.sendJoinV1, perServer()),
		api.Stream("PUT", "/_matrix/federation/v2/send_join/{roomId}/{eventId}", api.OtherServer, a.sendJoin, perServer()),
		api.Endpoint("GET", "/_matrix/federation/v1/make_leave/{roomId}/{userId}", api.OtherServer, a.makeLeave, perServer()),
		api.Endpoint("PUT", "/_matrix/federation/v1/send_leave/{roomId}/{eventId}", api.OtherServer, a.sendLeaveV1, perServer()),
		api.Endpoint("PUT", "/_matrix/federation/v2/send_leave/{roomId}/{eventId}", api.OtherServer, a.sendLeave, perServer()),
		api.Endpoint("GET", "/_matrix/federation/v1/make_knock/{roomId}/{userId}", api.OtherServer, a.makeKnock, perServer()),
		api.Endpoint("PUT", "/_matrix/federation/v1/send_knock/{roomId}/{eventId}", api.OtherServer, a.sendKnock, perServer()),
	}
}

type makeLeaveRequest struct {
	Room matrix.RoomID `path:"roomId"`
	User matrix.UserID `path:"userId"`
}

type makeJoinRequest struct {
	makeLeaveRequest
	Versions []string `query:"ver"`
}

type makeKnockRequest struct {
	makeLeaveRequest
	Versions []string `query:"ver" required:"true"`
}

type proposalResponse struct {
	Version string          `json:"room_version"`
	Event   json.RawMessage `json:"event"`
}

func (a *visitsAPI) makeJoin(ctx context.Context, who api.Caller, req *makeJoinRequest) (*proposalResponse, error) {
	if len(req.Versions) == 0 {
		req.Versions = []string{"1"}
	}
	return a.propose(ctx, who, rooms.Visit{Room: req.Room, User: req.User, Membership: "join", Versions: req.Versions})
}

func (a *visitsAPI) makeLeave(ctx context.Context, who api.Caller, req *makeLeaveRequest) (*proposalResponse, error) {
	return a.propose(ctx, who, rooms.Visit{Room: req.Room, User: req.User, Membership: "leave"})
}

func (a *visitsAPI) makeKnock(ctx context.Context, who api.Caller, req *makeKnockRequest) (*proposalResponse, error) {
	return a.propose(ctx, who, rooms.Visit{Room: req.Room, User: req.User, Membership: "knock", Versions: req.Versions})
}

func (a *visitsAPI) propose(ctx context.Context, who api.Caller, visit rooms.Visit) (*proposalResponse, error) {
	p, err := a.rooms.Peer(who.Server).Propose(ctx, visit)
	if err != nil {
		return nil, err
	}
	return &proposalResponse{p.Version.ID, p.Event}, nil
}

type visitRequest struct {
	Room  matrix.RoomID   `path:"roomId"`
	ID    matrix.EventID  `path:"eventId"`
	Event json.RawMessage `body:"raw"`
}

// admit takes in an event that makes its sender a member of that kind.
func (a *visitsAPI) admit(ctx context.Context, who api.Caller, req *visitRequest, membership string) (*matrix.Event, error) {
	peer := a.rooms.Peer(who.Server)
	version, err := peer.Entrance(ctx, req.Room, membership)
	if err != nil {
		return nil, err
	}
	if err := requireSigned(req.Event); err != nil {
		return nil, err
	}
	e, err := matrix.ParseEvent(version, req.Event)
	switch {
	case err != nil:
		return nil, err
	case e.ID != req.ID || e.RoomID != req.Room:
		return nil, matrix.InvalidParam("The event is %s of room %s, and the path says another.", e.ID, e.RoomID)
	case e.Type != "m.room.member" || !e.IsState() || e.Membership() != membership:
		return nil, matrix.InvalidParam("The event is no m.room.member with the membership %s.", membership)
	case !e.StateKeyIs(string(e.Sender)):
		return nil, matrix.InvalidParam("The state key is not the sender.")
	case e.Sender.Server() != who.Server:
		return nil, matrix.Forbidden("%s is no user of %s.", e.Sender, who.Server)
	case !e.CheckHash():
		return nil, matrix.InvalidParam("The event has not the content that was hashed.")
	}
	if membership == "join" {
		if e, err = peer.Vouch(ctx, e); err != nil {
			return nil, err
		}
	}
	if err := a.keys.VerifyEvent(ctx, e); err != nil {
		return nil, err
	}
	return e, peer.Admit(ctx, e)
}

// requireSigned tells what nobody has signed from what is no event.
func requireSigned(raw json.RawMessage) error {
	var event struct {
		Hashes     map[string]json.RawMessage `json:"hashes"`
		Signatures map[string]json.RawMessage `json:"signatures"`
	}
	if json.Unmarshal(raw, &event) == nil && (len(event.Hashes) == 0 || len(event.Signatures) == 0) {
		return matrix.Forbidden("The event is not signed.")
	}
	return nil
}

func (a *visitsAPI) sendJoin(w http.ResponseWriter, r *http.Request, who api.Caller, req *visitRequest) error {
	return a.join(w, r, who, req, "", "")
}

// sendJoinV1 has an answer within an array, for which there is no reason any more.
func (a *visitsAPI) sendJoinV1(w http.ResponseWriter, r *http.Request, who api.Caller, req *visitRequest) error {
	return a.join(w, r, who, req, "[200,", "]")
}

// join answers with the room as it was before the join, which is as large as the room: it is written while it is read.
func (a *visitsAPI) join(w http.ResponseWriter, r *http.Request, who api.Caller, req *visitRequest, before, after string) error {
	ctx := r.Context()
	e, err := a.admit(ctx, who, req, "join")
	if err != nil {
		return err
	}
	past, err := a.rooms.Peer(who.Server).Before(ctx, e)
	if err != nil {
		return err
	}
	out := newPartsWriter(w)
	out.list(before + `{"members_omitted":false,"event":`)
	if err := out.tell([]*matrix.Event{e}); err != nil {
		return err
	}
	out.list(`,"state":[`)
	if err := past.Events(ctx, out.tell); err != nil {
		return err
	}
	out.list(`],"auth_chain":[`)
	if err := past.Chain(ctx, out.tell); err != nil {
		return err
	}
	return out.end("]}" + after)
}

func (a *visitsAPI) sendLeave(ctx context.Context, who api.Caller, req *visitRequest) (*struct{}, error) {
	_, err := a.admit(ctx, who, req, "leave")
	return nil, err
}

func (a *visitsAPI) sendLeaveV1(ctx context.Context, who api.Caller, req *visitRequest) (*[]any, error) {
	_, err := a.admit(ctx, who, req, "leave")
	return &[]any{http.StatusOK, struct{}{}}, err
}

type knockResponse struct{ events []*matrix.Event }

// AppendJSON implements api.Appender.
func (r *knockResponse) AppendJSON(dst []byte) ([]byte, error) {
	return append(appendEvents(append(dst, `{"knock_room_state":`...), r.events), '}'), nil
}

func (a *visitsAPI) sendKnock(ctx context.Context, who api.Caller, req *visitRequest) (*knockResponse, error) {
	if _, err := a.admit(ctx, who, req, "knock"); err != nil {
		return nil, err
	}
	events, err := a.rooms.Peer(who.Server).Outside(ctx, req.Room)
	return &knockResponse{events}, err
}
