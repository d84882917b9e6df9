package serverapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// invitesAPI is how users of other servers invite those of this one (§ Inviting to a room).
type invitesAPI struct {
	server   matrix.ServerName
	keys     *federation.KeyRing
	peers    *federation.Peers
	accounts *accounts.Service
	rooms    *rooms.Service
}

func (a *invitesAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("PUT", "/_matrix/federation/v1/invite/{roomId}/{eventId}", api.OtherServer, a.inviteV1, perServer()),
		api.Endpoint("PUT", "/_matrix/federation/v2/invite/{roomId}/{eventId}", api.OtherServer, a.invite, perServer()),
	}
}

type inviteRequest struct {
	Room     matrix.RoomID     `path:"roomId"`
	ID       matrix.EventID    `path:"eventId"`
	Version  string            `json:"room_version" required:"true"`
	Event    json.RawMessage   `json:"event" required:"true"`
	Stripped []json.RawMessage `json:"invite_room_state"`
}

type inviteResponse struct {
	Event json.RawMessage `json:"event"`
}

func (a *invitesAPI) invite(ctx context.Context, who api.Caller, req *inviteRequest) (*inviteResponse, error) {
	version, ok := roomversion.Lookup(req.Version)
	if !ok || !version.Supported() {
		return nil, matrix.NewError(http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION", "Room version %.40q is not supported here.", req.Version).
			With("room_version", req.Version)
	}
	e, err := a.parse(who, version, req)
	if err != nil {
		return nil, err
	}
	if err := a.keys.VerifyEvent(ctx, e); err != nil {
		return nil, err
	}
	if exists, err := a.accounts.Ensure(ctx, matrix.UserID(*e.StateKey)); err != nil {
		return nil, err
	} else if !exists {
		return nil, matrix.NotFound("%s does not exist.", *e.StateKey)
	}
	stripped, err := a.peers.Stripped(ctx, version, req.Room, req.Stripped)
	if err != nil {
		return nil, err
	}
	if version.RoomIDFromCreate && !tellsCreation(stripped) {
		return nil, matrix.InvalidParam("invite_room_state has no m.room.create event of the room, as room version %s wants it.", version.ID)
	}
	signed, err := a.rooms.Peer(who.Server).Invited(ctx, rooms.OutsideInvite{Event: e, Stripped: stripped})
	if err != nil {
		return nil, err
	}
	return &inviteResponse{signed.JSON()}, nil
}

// parse is the event, if it is an invite that this server may sign.
func (a *invitesAPI) parse(who api.Caller, version *roomversion.Version, req *inviteRequest) (*matrix.Event, error) {
	if err := requireSigned(req.Event); err != nil {
		return nil, err
	}
	e, err := matrix.ParseEvent(version, req.Event)
	switch {
	case err != nil:
		return nil, err
	case e.ID != req.ID || e.RoomID != req.Room:
		return nil, matrix.InvalidParam("The event is %s of room %s, and the path says another.", e.ID, e.RoomID)
	case e.Type != "m.room.member" || !e.IsState() || e.Membership() != "invite":
		return nil, matrix.InvalidParam("The event is no m.room.member with the membership invite.")
	case e.Sender.Server() != who.Server:
		return nil, matrix.Forbidden("%s is no user of %s.", e.Sender, who.Server)
	case !e.CheckHash():
		return nil, matrix.InvalidParam("The event has not the content that was hashed.")
	}
	target, err := matrix.ParseUserID(*e.StateKey)
	if err != nil || target.Server() != a.server {
		return nil, matrix.InvalidParam("%.255q is no user of this server.", *e.StateKey)
	}
	return e, nil
}

func tellsCreation(stripped []json.RawMessage) bool {
	for _, raw := range stripped {
		var e struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(raw, &e) == nil && e.Type == "m.room.create" {
			return true
		}
	}
	return false
}

type inviteV1Request struct {
	Room  matrix.RoomID   `path:"roomId"`
	ID    matrix.EventID  `path:"eventId"`
	Event json.RawMessage `body:"raw"`
}

// inviteV1 is for rooms of versions 1 and 2, whose events look alike: what describes the room is within the event, and the answer
// within an array.
func (a *invitesAPI) inviteV1(ctx context.Context, who api.Caller, req *inviteV1Request) (*[]any, error) {
	var members struct {
		Unsigned struct {
			Stripped []json.RawMessage `json:"invite_room_state"`
		} `json:"unsigned"`
	}
	if err := json.Unmarshal(req.Event, &members); err != nil {
		return nil, matrix.BadJSON("unsigned.invite_room_state is no list of events.")
	}
	v2 := &inviteRequest{Room: req.Room, ID: req.ID, Version: "1", Event: req.Event, Stripped: members.Unsigned.Stripped}
	if version, err := a.rooms.Version(ctx, req.Room); err == nil {
		v2.Version = version.ID
	} else if matrix.Code(err) != "M_NOT_FOUND" {
		return nil, err
	} else if saysVersion2(v2.Stripped) {
		v2.Version = "2"
	}
	res, err := a.invite(ctx, who, v2)
	return &[]any{http.StatusOK, res}, err
}

func saysVersion2(stripped []json.RawMessage) bool {
	for _, raw := range stripped {
		var e struct {
			Type    string `json:"type"`
			Content struct {
				Version string `json:"room_version"`
			} `json:"content"`
		}
		if json.Unmarshal(raw, &e) == nil && e.Type == "m.room.create" {
			return e.Content.Version == "2"
		}
	}
	return false
}
