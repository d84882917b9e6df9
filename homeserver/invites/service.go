// Package invites invites people of whom only an address is known
// (Client-Server API § Third-party invites). An identity server says whose the
// address is, or else keeps the invite until somebody proves that it is theirs.
package invites

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"

	"trestle/homeserver/accounts"
	"trestle/homeserver/identity"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// IdentityServers are those that the operator trusts.
type IdentityServers interface {
	Trusts(server string) bool
	Lookup(ctx context.Context, server, token, medium, address string) (matrix.UserID, error)
	StoreInvite(ctx context.Context, server, token string, invitation identity.Invitation) (*identity.Offer, error)
	KeyValid(ctx context.Context, key identity.PublicKey) (bool, error)
}

// Profiles knows the names of those who invite.
type Profiles interface {
	Profile(ctx context.Context, user matrix.UserID) (displayName, avatarURL string, err error)
}

// Options are what a Service needs.
type Options struct {
	DB       *database.DB
	Invites  *storage.ThreePIDInvites
	Rooms    *rooms.Service
	Profiles Profiles
	Identity IdentityServers // nil: none is trusted
	Log      *slog.Logger
}

// A Service invites. It is safe for concurrent use.
type Service struct{ options Options }

// New makes a Service.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{o}
}

// An Address is how somebody is reached, and the identity server that is to be
// asked whose it is, with the token that the one who asks has there.
type Address struct {
	IDServer string
	Token    string
	Medium   string
	Address  string
}

// check is M_SERVER_NOT_TRUSTED or M_INVALID_PARAM, and makes the address what
// identity servers compare.
func (s *Service) check(a *Address) error {
	if s.options.Identity == nil || !s.options.Identity.Trusts(a.IDServer) {
		return matrix.NewError(http.StatusBadRequest, "M_SERVER_NOT_TRUSTED", "This server does not trust the identity server %.80q.", a.IDServer)
	}
	switch a.Medium {
	case accounts.Email:
		canonical, err := accounts.CanonicalEmail(a.Address)
		if err != nil {
			return err
		}
		a.Address = canonical
	case "msisdn":
		if len(a.Address) > 100 {
			return matrix.InvalidParam("The address is too long.")
		}
	default:
		return matrix.InvalidParam("medium is email or msisdn.")
	}
	return nil
}

// Invite invites whoever has an address into a room. Errors: M_FORBIDDEN,
// M_SERVER_NOT_TRUSTED, M_INVALID_PARAM, M_INVITE_BLOCKED; those of the
// identity server are passed on.
func (s *Service) Invite(ctx context.Context, req rooms.MemberRequest, to Address) error {
	if err := s.check(&to); err != nil {
		return err
	}
	if err := s.options.Rooms.MayInvite(ctx, req.Room, req.Sender); err != nil {
		return err
	}
	user, err := s.options.Identity.Lookup(ctx, to.IDServer, to.Token, to.Medium, to.Address)
	if err != nil {
		return err
	}
	if user != "" {
		req.Target = user
		return s.options.Rooms.Invite(ctx, req)
	}
	invitation, err := s.invitation(ctx, req.Room, req.Sender)
	if err != nil {
		return err
	}
	offer, err := s.store(ctx, to, invitation)
	if err != nil {
		return err
	}
	state, err := offerState(offer)
	if err != nil {
		return err
	}
	_, err = s.options.Rooms.Send(ctx, rooms.SendRequest{
		Room: req.Room, Sender: req.Sender, AppService: req.AppService, Type: state.Type, StateKey: &state.StateKey, Content: state.Content,
	})
	if err != nil {
		return err
	}
	return s.remember(ctx, []storage.ThreePIDInvite{pending(req.Room, req.Sender, to, offer)})
}

// store hands an invitation to the identity server.
func (s *Service) store(ctx context.Context, to Address, invitation identity.Invitation) (*identity.Offer, error) {
	invitation.Medium, invitation.Address = to.Medium, to.Address
	return s.options.Identity.StoreInvite(ctx, to.IDServer, to.Token, invitation)
}

// invitation is what the invitee is told of a room that exists.
func (s *Service) invitation(ctx context.Context, room matrix.RoomID, sender matrix.UserID) (identity.Invitation, error) {
	i, err := s.sender(ctx, room, sender)
	if err != nil {
		return i, err
	}
	info, err := s.options.Rooms.Info(ctx, room)
	if err != nil {
		return i, err
	}
	summary, err := s.options.Rooms.Summary(ctx, info.NID)
	i.RoomAlias, i.RoomAvatarURL, i.RoomJoinRules = matrix.RoomAlias(summary.CanonicalAlias), summary.AvatarURL, summary.JoinRule
	i.RoomName, i.RoomType = summary.Name, summary.Type
	return i, err
}

func (s *Service) sender(ctx context.Context, room matrix.RoomID, sender matrix.UserID) (identity.Invitation, error) {
	i := identity.Invitation{Room: room, Sender: sender}
	var err error
	i.SenderDisplayName, i.SenderAvatarURL, err = s.options.Profiles.Profile(ctx, sender)
	return i, err
}

// offerContent is the content of m.room.third_party_invite.
type offerContent struct {
	DisplayName string               `json:"display_name"`
	ValidityURL string               `json:"key_validity_url"`
	PublicKey   string               `json:"public_key"`
	PublicKeys  []identity.PublicKey `json:"public_keys"`
}

func offerState(o *identity.Offer) (rooms.InitialState, error) {
	first := o.PublicKeys[0]
	content, err := json.Marshal(offerContent{o.DisplayName, first.ValidityURL, first.Key, o.PublicKeys})
	return rooms.InitialState{Type: "m.room.third_party_invite", StateKey: o.Token, Content: content}, err
}

func pending(room matrix.RoomID, sender matrix.UserID, to Address, o *identity.Offer) storage.ThreePIDInvite {
	return storage.ThreePIDInvite{
		RoomID: room, Token: o.Token, Sender: sender,
		Binding: storage.Binding{Medium: to.Medium, Address: to.Address, IDServer: to.IDServer},
	}
}

// remember keeps invites that are in their rooms, for who turns out to have the address.
func (s *Service) remember(ctx context.Context, list []storage.ThreePIDInvite) error {
	for i := range list {
		info, err := s.options.Rooms.Info(ctx, list[i].RoomID)
		if err != nil {
			return err
		}
		list[i].RoomNID = info.NID
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		for _, i := range list {
			if err := s.options.Invites.Insert(ctx, tx, i); err != nil {
				return err
			}
		}
		return nil
	})
}
