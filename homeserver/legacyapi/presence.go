package legacyapi

import (
	"context"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/ephemeral"
	"trestle/internal/matrix"
)

func (a *legacyAPI) presenceRoutes() []api.Route {
	const status = prefix + "/presence/{userId}/status"
	limited := api.Limit("ephemeral")
	return []api.Route{
		api.Endpoint(http.MethodGet, status, api.User, a.presence),
		api.Endpoint(http.MethodPut, status, api.User, a.setPresence, limited),
		api.Endpoint(http.MethodGet, prefix+"/presence/list", api.User, a.contacts),
		api.Endpoint(http.MethodPost, prefix+"/presence/list", api.User, a.changeContacts, limited),
		api.Endpoint(http.MethodGet, prefix+"/presence/list/{userId}", api.User, a.contactsOf, api.Aliases("/_matrix/client/r0/presence/list/{userId}")),
		api.Endpoint(http.MethodPost, prefix+"/presence/list/{userId}", api.User, a.changeContactsOf, limited, api.Aliases("/_matrix/client/r0/presence/list/{userId}")),
	}
}

type userRequest struct {
	User matrix.UserID `path:"userId"`
}

func (a *legacyAPI) presence(ctx context.Context, who api.Caller, req *userRequest) (*ephemeral.Status, error) {
	return a.Ephemeral.Presence(ctx, who.UserID, req.User)
}

type presenceRequest struct {
	userRequest
	Presence string  `json:"presence" required:"true"`
	Status   *string `json:"status_msg"`
}

// setPresence knows two states that have gone: somebody who is free to chat is
// online, and somebody who is hidden is offline to all others.
func (a *legacyAPI) setPresence(ctx context.Context, who api.Caller, req *presenceRequest) (*struct{}, error) {
	if req.User != who.UserID {
		return nil, matrix.Forbidden("You can set only your own presence.")
	}
	state, status := req.Presence, ""
	switch state {
	case "free_for_chat":
		state = ephemeral.Online
	case "hidden":
		state = ephemeral.Offline
	}
	if req.Status != nil {
		status = *req.Status
	}
	return nil, a.Ephemeral.SetPresence(ctx, req.User, who.DeviceID, state, status)
}

// A contact is somebody on a presence list. Whoever has not agreed to be there
// shows no presence.
type contact struct {
	UserID   matrix.UserID `json:"user_id"`
	Accepted bool          `json:"accepted"`
	*ephemeral.Status
}

func (a *legacyAPI) contacts(ctx context.Context, who api.Caller, _ *struct{}) (*[]contact, error) {
	users, err := a.Accounts.Contacts(ctx, who.UserID)
	if err != nil {
		return nil, err
	}
	list := make([]contact, len(users))
	for i, user := range users {
		list[i].UserID = user
		status, err := a.Ephemeral.Presence(ctx, who.UserID, user)
		switch {
		case err == nil:
			list[i].Accepted, list[i].Status = true, status
		case matrix.Code(err) != "M_FORBIDDEN":
			return nil, err
		}
	}
	return &list, nil
}

func (a *legacyAPI) contactsOf(ctx context.Context, who api.Caller, req *userRequest) (*[]contact, error) {
	if req.User != who.UserID {
		return nil, matrix.Forbidden("You can see only your own presence list.")
	}
	return a.contacts(ctx, who, nil)
}

// A contactsRequest changes the own list, by invite and drop, or answers those
// who want the user on theirs, whom the account data
// "org.trestle.presence_observers" names, by accept and deny.
type contactsRequest struct {
	Invite []matrix.UserID `json:"invite"`
	Drop   []matrix.UserID `json:"drop"`
	Accept []matrix.UserID `json:"accept"`
	Deny   []matrix.UserID `json:"deny"`
}

func (a *legacyAPI) changeContacts(ctx context.Context, who api.Caller, req *contactsRequest) (*struct{}, error) {
	for _, change := range []struct {
		users []matrix.UserID
		do    func(context.Context, matrix.UserID, []matrix.UserID) error
	}{
		{req.Invite, a.Accounts.InviteContacts}, {req.Drop, a.Accounts.DropContacts},
		{req.Accept, a.Accounts.AcceptObservers}, {req.Deny, a.Accounts.DenyObservers},
	} {
		if len(change.users) == 0 {
			continue
		}
		if err := change.do(ctx, who.UserID, change.users); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

type contactsOfRequest struct {
	userRequest
	contactsRequest
}

func (a *legacyAPI) changeContactsOf(ctx context.Context, who api.Caller, req *contactsOfRequest) (*struct{}, error) {
	if req.User != who.UserID {
		return nil, matrix.Forbidden("You can change only your own presence list.")
	}
	return a.changeContacts(ctx, who, &req.contactsRequest)
}
