package clientapi

import (
	"context"
	"strings"

	"trestle/homeserver/api"
	"trestle/homeserver/invites"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// An invite3PID is whom a client wants to invite by an address (module
// third_party_invites).
type invite3PID struct {
	IDServer string `json:"id_server"`
	Token    string `json:"id_access_token"`
	Medium   string `json:"medium"`
	Address  string `json:"address"`
}

func (i invite3PID) check() error {
	for name, value := range map[string]string{
		"id_server": i.IDServer, "id_access_token": i.Token, "medium": i.Medium, "address": i.Address,
	} {
		if value == "" {
			return matrix.MissingParam("Whoever is invited by an address needs %s.", name)
		}
	}
	return nil
}

func (i invite3PID) address() invites.Address {
	return invites.Address{IDServer: i.IDServer, Token: i.Token, Medium: i.Medium, Address: strings.TrimSpace(i.Address)}
}

// inviteRequest names a user, or an address.
type inviteRequest struct {
	Room   matrix.RoomID `path:"roomId"`
	UserID matrix.UserID `json:"user_id"`
	Reason string        `json:"reason"`
	invite3PID
}

func (r *inviteRequest) Validate() error {
	switch {
	case r.UserID != "":
		return nil
	case r.invite3PID == invite3PID{}:
		return matrix.MissingParam("user_id says who is invited.")
	}
	return r.check()
}

func (a *roomsAPI) invite(ctx context.Context, who api.Caller, req *inviteRequest) (*struct{}, error) {
	member := rooms.MemberRequest{Room: req.Room, Sender: who.UserID, AppService: who.AppService, Target: req.UserID, Reason: req.Reason}
	if req.UserID == "" {
		return nil, a.invites.Invite(ctx, member, req.address())
	}
	return nil, a.rooms.Invite(ctx, member)
}
