package client

import (
	"context"
	"net/http"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/matrix"
)

// Ban removes another user from a room, for good.
func (u *User) Ban(ctx context.Context, room matrix.RoomID, other matrix.UserID, reason string) error {
	_, err := u.api.BanUser(ctx, id.RoomID(room), &mautrix.ReqBanUser{UserID: id.UserID(other), Reason: reason})
	return err
}

// Unban ends a ban.
func (u *User) Unban(ctx context.Context, room matrix.RoomID, other matrix.UserID) error {
	_, err := u.api.UnbanUser(ctx, id.RoomID(room), &mautrix.ReqUnbanUser{UserID: id.UserID(other)})
	return err
}

// Redact takes an event back.
func (u *User) Redact(ctx context.Context, room matrix.RoomID, event matrix.EventID, reason, transactionID string) error {
	_, err := u.api.RedactEvent(ctx, id.RoomID(room), id.EventID(event), mautrix.ReqRedact{Reason: reason, TxnID: transactionID})
	return err
}

// SetListed puts a room into the directory of public rooms, or takes it out.
func (u *User) SetListed(ctx context.Context, room matrix.RoomID, listed bool) error {
	visibility := "private"
	if listed {
		visibility = "public"
	}
	path := u.api.BuildClientURL("v3", "directory", "list", "room", string(room))
	_, err := u.api.MakeRequest(ctx, http.MethodPut, path, map[string]string{"visibility": visibility}, nil)
	return err
}

// AllState is a room's state.
func (u *User) AllState(ctx context.Context, room matrix.RoomID) ([]*event.Event, error) {
	return u.api.StateAsArray(ctx, id.RoomID(room))
}

// JoinAlias joins a room by its alias or its ID, and tells which it is.
func (u *User) JoinAlias(ctx context.Context, aliasOrID string) (matrix.RoomID, error) {
	resp, err := u.api.JoinRoom(ctx, aliasOrID, nil)
	if err != nil {
		return "", err
	}
	return matrix.RoomID(resp.RoomID), nil
}
