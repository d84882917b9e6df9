// Package notices is how the server itself speaks to its users: each has a room
// for that, which the server's own user writes into (Client-Server API §
// Server Notices).
package notices

import (
	"context"
	"encoding/json"
	"sync"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Options are what a [Service] works with.
type Options struct {
	DB       *database.DB
	Store    *storage.Notices
	Accounts *accounts.Service
	Rooms    *rooms.Service

	User                   matrix.UserID // who sends; empty: nobody does
	DisplayName, AvatarURL string
	RoomName, RoomTopic    string
	AutoJoin               bool // users are in their room without an invite
}

// Service sends notices.
type Service struct {
	options Options
	mu      sync.Mutex // one room for each user
}

// New makes the service.
func New(o Options) *Service { return &Service{options: o} }

// A Notice is an event for one user.
type Notice struct {
	User     matrix.UserID
	Type     string // empty: m.room.message
	StateKey *string
	Content  json.RawMessage
	TxnKey   string // makes repeats find the event that the first made; empty: none
}

// Send sends a notice; the user is invited into the room again if need be.
// Errors: M_UNKNOWN where notices are off, M_NOT_FOUND without such a user.
func (s *Service) Send(ctx context.Context, n Notice) (matrix.EventID, error) {
	if s.options.User == "" {
		return "", matrix.NewError(400, "M_UNKNOWN", "Server notices are not enabled on this server.")
	}
	account, err := s.options.Accounts.Account(ctx, n.User)
	if err != nil {
		return "", err
	}
	if account.Deactivated {
		return "", matrix.InvalidParam("%s is deactivated.", n.User)
	}
	room, err := s.room(ctx, n.User)
	if err != nil {
		return "", err
	}
	typ := n.Type
	if typ == "" {
		typ = "m.room.message"
	}
	return s.options.Rooms.Send(ctx, rooms.SendRequest{
		Room: room, Sender: s.options.User, Type: typ, StateKey: n.StateKey, Content: n.Content, TxnKey: n.TxnKey,
	})
}

// room is the user's room, in which the user is or to which they are invited.
func (s *Service) room(ctx context.Context, user matrix.UserID) (matrix.RoomID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room, err := s.options.Store.Room(ctx, user)
	if err != nil {
		return "", err
	}
	if room != "" {
		own, err := s.options.Rooms.Joined(ctx, room, s.options.User)
		if err != nil {
			return "", err
		}
		if own {
			return room, s.bring(ctx, room, user)
		}
	}
	return s.make(ctx, user)
}

// bring invites the user, or has them join, unless they are there.
func (s *Service) bring(ctx context.Context, room matrix.RoomID, user matrix.UserID) error {
	membership, err := s.options.Rooms.Membership(ctx, room, user)
	if err != nil || membership == "join" || membership == "invite" && !s.options.AutoJoin {
		return err
	}
	if membership != "invite" {
		if err := s.options.Rooms.Invite(ctx, rooms.MemberRequest{Room: room, Sender: s.options.User, Target: user}); err != nil {
			return err
		}
	}
	if err := s.tag(ctx, room, user); err != nil || !s.options.AutoJoin {
		return err
	}
	_, err = s.options.Rooms.Join(ctx, string(room), rooms.MemberRequest{Sender: user})
	return err
}

// make makes a room where only the server can speak.
func (s *Service) make(ctx context.Context, user matrix.UserID) (matrix.RoomID, error) {
	o := s.options
	if err := o.Accounts.EnsureSystemUser(ctx, o.User, o.DisplayName, o.AvatarURL); err != nil {
		return "", err
	}
	room, err := o.Rooms.Create(ctx, rooms.CreateRequest{
		Creator: o.User, Preset: "private_chat", Name: o.RoomName, Topic: o.RoomTopic,
		PowerLevels: map[string]json.RawMessage{"users_default": json.RawMessage("-10")},
	})
	if err != nil {
		return "", err
	}
	err = o.DB.Update(ctx, func(tx *database.Tx) error { return o.Store.SetRoom(ctx, tx, user, room) })
	if err != nil {
		return "", err
	}
	return room, s.bring(ctx, room, user)
}

func (s *Service) tag(ctx context.Context, room matrix.RoomID, user matrix.UserID) error {
	return s.options.Accounts.SetTag(ctx, user, room, "m.server_notice", json.RawMessage("{}"))
}
