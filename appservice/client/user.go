package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/matrix"
)

// A User acts as one Matrix user. Each method is one request and one attempt;
// see [Retry].
type User struct {
	ID     matrix.UserID
	client *Client
	api    *mautrix.Client
}

// EnsureRegistered makes the user exist (Application Service API § Server
// admin style permissions). It asks the homeserver once.
func (u *User) EnsureRegistered(ctx context.Context) error {
	if u.client.isRegistered(u.ID) {
		return nil
	}
	// Not by the library's Register: the body's inhibit_login must be true
	// whatever the homeserver supports, or each virtual user gets a device.
	body := map[string]any{
		"type":          mautrix.AuthTypeAppservice,
		"username":      u.ID.Localpart(),
		"inhibit_login": true,
	}
	bot := u.client.Bot() // nobody to assert yet
	bot.api.SetAppServiceUserID = false
	_, err := bot.api.MakeRequest(ctx, http.MethodPost, bot.api.BuildClientURL("v3", "register"), body, nil)
	if err != nil && !Is(err, "M_USER_IN_USE") {
		return err
	}
	u.client.Registered(u.ID)
	return nil
}

// SetDisplayName sets the user's profile.
func (u *User) SetDisplayName(ctx context.Context, name string) error {
	return u.api.SetDisplayName(ctx, name)
}

// Join joins a room by its ID.
func (u *User) Join(ctx context.Context, room matrix.RoomID) error {
	_, err := u.api.JoinRoomByID(ctx, id.RoomID(room))
	return err
}

// EnsureJoined joins a room under a name, which need not be that of the profile; where the
// room wants it, the bot invites first.
func (u *User) EnsureJoined(ctx context.Context, room matrix.RoomID, name string) error {
	content := map[string]string{"membership": "join", "displayname": name}
	err := u.SendState(ctx, room, "m.room.member", string(u.ID), content, time.Time{})
	if err == nil || !Is(err, "M_FORBIDDEN") || u.ID == u.client.bot {
		return err
	}
	if inviteErr := u.client.Bot().Invite(ctx, room, u.ID); inviteErr != nil {
		return errors.Join(err, inviteErr)
	}
	return u.Join(ctx, room)
}

// Leave leaves a room, or refuses an invitation.
func (u *User) Leave(ctx context.Context, room matrix.RoomID, reason string) error {
	_, err := u.api.LeaveRoom(ctx, id.RoomID(room), &mautrix.ReqLeave{Reason: reason})
	return err
}

// Invite asks another user into a room.
func (u *User) Invite(ctx context.Context, room matrix.RoomID, other matrix.UserID) error {
	_, err := u.api.InviteUser(ctx, id.RoomID(room), &mautrix.ReqInviteUser{UserID: id.UserID(other)})
	return err
}

// Kick removes another user from a room.
func (u *User) Kick(ctx context.Context, room matrix.RoomID, other matrix.UserID, reason string) error {
	_, err := u.api.KickUser(ctx, id.RoomID(room), &mautrix.ReqKickUser{UserID: id.UserID(other), Reason: reason})
	return err
}

// A Message is an event to be sent.
type Message struct {
	Type          string
	Content       any    // anything that encodes to an object
	TransactionID string // the same for each attempt, of this and of any later process
	Time          time.Time
	Known         matrix.EventID // see [Newcomer]; may be empty
}

// Newcomer is the code of the error with which Trestle refuses an event because somebody
// may have joined the room after the event that the service named as the newest it
// knows. Other homeservers take the event.
const Newcomer = "ORG.TRESTLE.NEWCOMER"

// Send sends a message event with the time that it has on the other side
// (Application Service API § Timestamp massaging).
func (u *User) Send(ctx context.Context, room matrix.RoomID, m Message) (matrix.EventID, error) {
	var resp mautrix.RespSendEvent
	path := mautrix.ClientURLPath{"v3", "rooms", room, "send", m.Type, m.TransactionID}
	_, err := u.api.MakeRequest(ctx, http.MethodPut, u.api.BuildURLWithQuery(path, query(m.Time, m.Known)), m.Content, &resp)
	return matrix.EventID(resp.EventID), err
}

// query is what Trestle and the specification let services say beside an event.
func query(at time.Time, known matrix.EventID) map[string]string {
	values := map[string]string{}
	if !at.IsZero() {
		values["ts"] = strconv.FormatInt(at.UnixMilli(), 10)
	}
	if known != "" {
		values["org.trestle.known"] = string(known)
	}
	return values
}

// SendState sets a state event.
func (u *User) SendState(ctx context.Context, room matrix.RoomID, eventType, stateKey string, content any, at time.Time) error {
	return u.SendStateKnowing(ctx, room, eventType, stateKey, content, at, "")
}

// SendStateKnowing is SendState with what [Message] calls Known.
func (u *User) SendStateKnowing(ctx context.Context, room matrix.RoomID, eventType, stateKey string, content any, at time.Time, known matrix.EventID) error {
	path := mautrix.ClientURLPath{"v3", "rooms", room, "state", eventType, stateKey}
	_, err := u.api.MakeRequest(ctx, http.MethodPut, u.api.BuildURLWithQuery(path, query(at, known)), content, nil)
	return err
}

// Newest is a room's newest event.
func (u *User) Newest(ctx context.Context, room matrix.RoomID) (matrix.EventID, error) {
	resp, err := u.api.Messages(ctx, id.RoomID(room), "", "", mautrix.DirectionBackward, nil, 1)
	if err != nil || len(resp.Chunk) == 0 {
		return "", err
	}
	return matrix.EventID(resp.Chunk[0].ID), nil
}

// State reads the content of a state event; M_NOT_FOUND if there is none.
func (u *User) State(ctx context.Context, room matrix.RoomID, eventType, stateKey string) (json.RawMessage, error) {
	var content json.RawMessage
	kind := event.Type{Type: eventType, Class: event.StateEventType}
	err := u.api.StateEvent(ctx, id.RoomID(room), kind, stateKey, &content)
	return content, err
}

// CreateRoom creates a room.
func (u *User) CreateRoom(ctx context.Context, req *mautrix.ReqCreateRoom) (matrix.RoomID, error) {
	resp, err := u.api.CreateRoom(ctx, req)
	if err != nil {
		return "", err
	}
	return matrix.RoomID(resp.RoomID), nil
}

// Resolve asks the directory for a room; M_NOT_FOUND if the alias is free.
func (u *User) Resolve(ctx context.Context, alias matrix.RoomAlias) (matrix.RoomID, error) {
	resp, err := u.api.ResolveAlias(ctx, id.RoomAlias(alias))
	if err != nil {
		return "", err
	}
	return matrix.RoomID(resp.RoomID), nil
}

// CreateAlias gives a room another name.
func (u *User) CreateAlias(ctx context.Context, alias matrix.RoomAlias, room matrix.RoomID) error {
	_, err := u.api.CreateAlias(ctx, id.RoomAlias(alias), id.RoomID(room))
	return err
}

// DeleteAlias takes a room's name away.
func (u *User) DeleteAlias(ctx context.Context, alias matrix.RoomAlias) error {
	_, err := u.api.DeleteAlias(ctx, id.RoomAlias(alias))
	return err
}

// Aliases lists the names that this server has for a room.
func (u *User) Aliases(ctx context.Context, room matrix.RoomID) ([]matrix.RoomAlias, error) {
	resp, err := u.api.GetAliases(ctx, id.RoomID(room))
	if err != nil {
		return nil, err
	}
	aliases := make([]matrix.RoomAlias, len(resp.Aliases))
	for i, alias := range resp.Aliases {
		aliases[i] = matrix.RoomAlias(alias)
	}
	return aliases, nil
}

// JoinedMembers lists who is in a room, with their display names.
func (u *User) JoinedMembers(ctx context.Context, room matrix.RoomID) (map[matrix.UserID]string, error) {
	resp, err := u.api.JoinedMembers(ctx, id.RoomID(room))
	if err != nil {
		return nil, err
	}
	members := make(map[matrix.UserID]string, len(resp.Joined))
	for user, profile := range resp.Joined {
		members[matrix.UserID(user)] = profile.DisplayName
	}
	return members, nil
}

// Ping has the homeserver call our listener, to see that it can
// (Application Service API § Pinging).
func (u *User) Ping(ctx context.Context, service, transactionID string) error {
	path := u.api.BuildClientURL("v1", "appservice", service, "ping")
	body := map[string]string{"transaction_id": transactionID}
	_, err := u.api.MakeRequest(ctx, http.MethodPost, path, body, nil)
	return err
}
