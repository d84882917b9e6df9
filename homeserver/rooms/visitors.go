package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
	"trestle/internal/matrix/roomversion"
)

// What is here lets users of other servers into rooms that users of this one are in, and out again (Server-Server API
// § Joining Rooms, § Leaving Rooms and § Knocking upon a room).

// A Visit is what a user of another server wants of a room.
type Visit struct {
	Room       matrix.RoomID
	User       matrix.UserID
	Membership string   // join, leave or knock
	Versions   []string // of the rooms in which the other server can be; leaving does not depend on them
}

// Version is that of a room, or M_NOT_FOUND.
func (s *Service) Version(ctx context.Context, room matrix.RoomID) (*roomversion.Version, error) {
	info, err := s.Info(ctx, room)
	if err != nil {
		return nil, err
	}
	return info.Version, nil
}

// A Proposal is a member event as the server of its user has to complete, hash and sign it.
type Proposal struct {
	Version *roomversion.Version
	Event   json.RawMessage
}

// Entrance is the version of a room that users of the peer may come into, knock at, or leave: M_NOT_FOUND if this server
// has no say in it, M_FORBIDDEN if it keeps the peer out.
func (p Peer) Entrance(ctx context.Context, room matrix.RoomID, membership string) (*roomversion.Version, error) {
	info, err := p.entrance(ctx, room, membership)
	if err != nil {
		return nil, err
	}
	return info.Version, nil
}

func (p Peer) entrance(ctx context.Context, room matrix.RoomID, membership string) (*storage.RoomInfo, error) {
	unknown := matrix.NotFound("Nobody of this server is in room %s.", room)
	info, err := p.s.store.Rooms.Info(ctx, room)
	if errors.Is(err, database.ErrNoRows) || err == nil && p.s.store.Rooms.Hidden(room) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	if shut, err := p.s.shut(ctx, info, p.server); err != nil {
		return nil, err
	} else if shut {
		return nil, matrix.Forbidden("%s is shut out of the room by its m.room.server_acl.", p.server)
	}
	there, err := p.s.inhabits(ctx, info)
	if err == nil && !there && membership == "leave" {
		there, err = p.s.Resident(ctx, info) // who was invited here can still refuse
	}
	switch {
	case err != nil:
		return nil, err
	case !there:
		return nil, unknown
	case membership != "leave":
		return info, p.s.refuseBlocked(room)
	}
	return info, nil
}

// Propose makes the member event of a visit, without what the peer adds to it. Errors: those of [Peer.Entrance],
// M_FORBIDDEN, M_INCOMPATIBLE_ROOM_VERSION, M_UNABLE_TO_AUTHORISE_JOIN, M_UNABLE_TO_GRANT_JOIN.
func (p Peer) Propose(ctx context.Context, visit Visit) (*Proposal, error) {
	if visit.User.Server() != p.server {
		return nil, matrix.Forbidden("%s is no user of %s.", visit.User, p.server)
	}
	info, err := p.entrance(ctx, visit.Room, visit.Membership)
	if err != nil {
		return nil, err
	}
	if visit.Membership != "leave" && !slices.Contains(visit.Versions, info.Version.ID) {
		return nil, matrix.NewError(http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION", "The room has version %s.", info.Version.ID).
			With("room_version", info.Version.ID)
	}
	proposed := &Proposal{Version: info.Version}
	err = p.s.read(ctx, info.NID, func(d *draft) (err error) {
		proposed.Event, err = d.propose(visit)
		return err
	})
	return proposed, err
}

// read runs fn with a draft on the room's committed state, of which nothing is written.
func (s *Service) read(ctx context.Context, nid int64, fn func(d *draft) error) error {
	r, err := s.cache.acquire(ctx, nid)
	if err != nil {
		return err
	}
	defer s.cache.release(r)
	return fn(&draft{ctx: ctx, s: s, room: r, head: *r.committed.Load()})
}

func (d *draft) propose(visit Visit) (json.RawMessage, error) {
	content, err := d.visitContent(visit)
	if err != nil {
		return nil, err
	}
	target, version := string(visit.User), d.room.info.Version
	v := d.view()
	template := d.template(v, proposal{Sender: visit.User, Type: "m.room.member", StateKey: &target, Content: content})
	// It is judged as this server would have made it.
	event, err := template.Build(version, d.s.ServerName, d.s.Key)
	if err != nil {
		return nil, err
	}
	refused := eventauth.Allowed(event, v)
	if v.err != nil {
		return nil, v.err
	}
	if refused != nil {
		return nil, refused
	}
	return template.Proposal(version)
}

// visitContent is what the content of a visit's event has to have.
func (d *draft) visitContent(visit Visit) (json.RawMessage, error) {
	content := map[string]any{"membership": visit.Membership}
	if visit.Membership == "join" {
		was, err := d.membership(visit.User)
		if err != nil {
			return nil, err
		}
		if was != "join" && was != "invite" && was != "ban" {
			voucher, err := d.visitVoucher(visit.User)
			if err != nil {
				return nil, err
			}
			if voucher != "" {
				content["join_authorised_via_users_server"] = voucher
			}
		}
	}
	return json.Marshal(content)
}

// visitVoucher is a member of this server who lets a user of another one into a restricted room, or empty if that is not
// needed (Server-Server API § Restricted rooms).
func (d *draft) visitVoucher(user matrix.UserID) (matrix.UserID, error) {
	needed, err := d.meetsHere(user)
	if err != nil || !needed {
		return "", err
	}
	voucher, err := d.inviter()
	if err == nil && voucher == "" {
		err = matrix.NewError(http.StatusBadRequest, "M_UNABLE_TO_GRANT_JOIN", "Nobody of this server may let others into the room.")
	}
	return voucher, err
}

// meetsHere reports whether the room is restricted, and is an error unless the user meets one of its conditions, as far as
// this server can tell.
func (d *draft) meetsHere(user matrix.UserID) (restricted bool, err error) {
	rules, err := d.state("m.room.join_rules", "")
	if err != nil || rules == nil || !d.room.info.Version.HasRestrictedRule(field(rules.Event, "join_rule")) {
		return false, err
	}
	blind := false
	for _, id := range allowedRooms(rules.Content) {
		info, err := d.s.store.Rooms.Info(d.ctx, id)
		if errors.Is(err, database.ErrNoRows) {
			blind = true
			continue
		}
		if err != nil {
			return true, err
		}
		there, err := d.s.inhabits(d.ctx, info)
		if err != nil {
			return true, err
		}
		if !there {
			blind = true
			continue
		}
		if joined, err := d.s.Joined(d.ctx, id, user); err != nil || joined {
			return true, err
		}
	}
	if blind {
		return true, matrix.NewError(http.StatusBadRequest, "M_UNABLE_TO_AUTHORISE_JOIN",
			"This server does not know who is in the rooms that let users join.")
	}
	return true, matrix.Forbidden("To join this room %s has to be in one of the rooms that it names, or be invited.", user)
}

// Vouch is a join with the signature of this server, if it says that a user of this server lets the other one into a
// restricted room. M_FORBIDDEN, or another error of [Peer.Propose], if that is not so.
func (p Peer) Vouch(ctx context.Context, join *matrix.Event) (*matrix.Event, error) {
	voucher := matrix.UserID(field(join, "join_authorised_via_users_server"))
	if !join.Version.Restricted || !p.s.Local(voucher) {
		return join, nil
	}
	info, err := p.s.Info(ctx, join.RoomID)
	if err != nil {
		return nil, err
	}
	err = p.s.read(ctx, info.NID, func(d *draft) error {
		was, err := d.membership(join.Sender)
		if err != nil || was == "join" || was == "invite" {
			return err // nobody has to vouch
		}
		_, err = d.meetsHere(join.Sender)
		return err
	})
	if err != nil {
		return nil, err
	}
	return join.Sign(p.s.ServerName, p.s.Key)
}

// Admit takes the member event of a visit into its room, and has the other servers in it told. Its hash and signatures
// were checked. M_FORBIDDEN if the room does not allow it, M_INVALID_PARAM if it refers to events that are not known.
func (p Peer) Admit(ctx context.Context, e *matrix.Event) error {
	done, err := p.s.Receive(ctx, e.RoomID, []Arrival{{Event: e, Relay: true}})
	if err != nil {
		return err
	}
	r := done[0]
	switch {
	case len(r.Missing) > 0:
		return matrix.InvalidParam("The event refers to %s, which is not known here.", r.Missing[0])
	case r.Refused != nil:
		return r.Refused
	case r.Verdict != storage.Placed:
		return matrix.Forbidden("The event was refused before.")
	case r.Known:
		// Who repeats a request because the answer got lost is answered, and who has left since is not.
		now, err := p.s.Membership(ctx, e.RoomID, e.Sender)
		if err == nil && now != e.Membership() {
			err = matrix.Forbidden("What %s did by this event was undone.", e.Sender)
		}
		return err
	}
	return nil
}

// Before is the state before an event that was admitted, with what authorizes the state and the event.
func (p Peer) Before(ctx context.Context, e *matrix.Event) (*PastState, error) {
	info, err := p.s.Info(ctx, e.RoomID)
	if err != nil {
		return nil, err
	}
	before, err := p.s.stateBefore(ctx, info, e.PrevEvents)
	if err != nil {
		return nil, err
	}
	past := &PastState{p: p, info: info, before: before, auth: p.authChain(info)}
	past.auth.follow([]*storage.Event{{Event: e}})
	return past, nil
}

// Outside is what somebody outside is told of a room, as events (Server-Server API § Knocking upon a room: the create
// event is always among them).
func (p Peer) Outside(ctx context.Context, room matrix.RoomID) ([]*matrix.Event, error) {
	info, err := p.s.Info(ctx, room)
	if err != nil {
		return nil, err
	}
	now, err := p.s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	return now.outside(ctx)
}

// outside is [Snapshot.Stripped] for servers, which are told whole events, without those of members.
func (n *Snapshot) outside(ctx context.Context) ([]*matrix.Event, error) {
	var events []*matrix.Event
	for _, typ := range strippedTypes {
		e, err := n.Event(ctx, typ, "")
		if err != nil {
			return nil, err
		}
		if e != nil {
			events = append(events, e.Event)
		}
	}
	return events, nil
}
