package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Elsewhere is the rooms that other servers are in, and this one perhaps not.
type Elsewhere interface {
	// Alias is the room that an alias of another server points to, and servers that are in it.
	Alias(ctx context.Context, alias matrix.RoomAlias) (matrix.RoomID, []matrix.ServerName, error)
	// Join brings somebody of this server into a room by way of another.
	Join(ctx context.Context, req ElsewhereRequest) error
	// Knock has somebody knock at one, and Leave refuse its invite or take a knock back.
	Knock(ctx context.Context, req ElsewhereRequest) error
	Leave(ctx context.Context, req ElsewhereRequest) error
	// SignInvite has the server of whoever is invited agree to the invite.
	SignInvite(ctx context.Context, invite *matrix.Event, stripped []json.RawMessage) (*matrix.Event, error)
}

// ElsewhereRequest is about a room that this server is not in.
type ElsewhereRequest struct {
	Room       matrix.RoomID
	User       matrix.UserID
	Via        []matrix.ServerName        // that are in the room, the most likely first
	Content    map[string]json.RawMessage // of the member event, as far as the room has no say in it
	AppService string
}

// maxVia is how many servers are kept in mind by way of which a room may be joined.
const maxVia = 20

// Connect tells the service of other servers. It is called before anything else is, or not at all.
func (s *Service) Connect(elsewhere Elsewhere) { s.network = elsewhere }

// A location is where a room is.
type location struct {
	id   matrix.RoomID
	info *storage.RoomInfo // nil if nothing is known of the room here
	here bool              // this server takes part in it
	via  []matrix.ServerName
}

// locate is where the room is that an ID or an alias names, M_NOT_FOUND if there is none, or nobody to ask for it.
func (s *Service) locate(ctx context.Context, idOrAlias string, req MemberRequest) (p location, err error) {
	p.via = req.Via
	if p.id, err = s.named(ctx, idOrAlias, req.AppService, &p.via); err != nil {
		return p, err
	}
	p.info, err = s.Info(ctx, p.id)
	if matrix.Code(err) == "M_NOT_FOUND" && s.network != nil {
		p.info, err = nil, nil
	}
	if err != nil {
		return p, err
	}
	if p.here = s.network == nil; !p.here && p.info != nil {
		if p.here, err = s.Resident(ctx, p.info); err != nil {
			return p, err
		}
	}
	if p.here {
		return p, nil
	}
	// Who names servers means these: another one might let somebody in whom they would not.
	if len(p.via) == 0 && p.info != nil {
		err = s.inviters(ctx, &p, req.Sender)
	}
	if server := p.id.Server(); len(p.via) == 0 && server != "" {
		p.via = append(p.via, server)
	}
	p.via = slices.DeleteFunc(p.via, func(server matrix.ServerName) bool { return server == s.ServerName })
	if err == nil && len(p.via) == 0 {
		err = matrix.NotFound("Room %s is not known here, and no server that is in it was named.", p.id)
	}
	return p, err
}

// named is the room of an ID or an alias; servers that are in it are added to via.
func (s *Service) named(ctx context.Context, idOrAlias, asker string, via *[]matrix.ServerName) (matrix.RoomID, error) {
	if s.network == nil || !strings.HasPrefix(idOrAlias, "#") {
		return s.Find(ctx, idOrAlias, asker)
	}
	alias, err := matrix.ParseRoomAlias(idOrAlias)
	if err != nil || alias.Server() == s.ServerName {
		return s.Find(ctx, idOrAlias, asker)
	}
	id, servers, err := s.network.Alias(ctx, alias)
	*via = append(servers, *via...)
	return id, err
}

// inviters adds the servers of those who have invited somebody, and of who is in the room as far as that is known.
func (s *Service) inviters(ctx context.Context, p *location, user matrix.UserID) error {
	m, err := s.store.Members.In(ctx, p.info.NID, user)
	if err != nil {
		return err
	}
	if m != nil && m.Membership == "invite" {
		invite, err := s.store.Events.ByNID(ctx, m.EventNID)
		if err != nil && !errors.Is(err, database.ErrNoRows) {
			return err
		}
		if err == nil {
			p.via = append(p.via, invite.Sender.Server())
		}
	}
	members, err := s.store.Members.OfRoom(ctx, p.info.NID)
	if err != nil {
		return err
	}
	for _, m := range members {
		if server := m.User.Server(); m.Membership == "join" && len(p.via) < maxVia && !slices.Contains(p.via, server) {
			p.via = append(p.via, server)
		}
	}
	return nil
}

// joinElsewhere brings the sender into a room that this server is not in.
func (s *Service) joinElsewhere(ctx context.Context, p location, req MemberRequest) error {
	if err := s.refuseBlocked(p.id); err != nil {
		return err
	}
	if req.Guest {
		return matrix.Forbidden("Guests join rooms of their own server only.")
	}
	req.Room, req.Target = p.id, req.Sender
	asked, err := s.asked(ctx, p, req, "join")
	if err != nil {
		return err
	}
	return s.network.Join(ctx, asked)
}

// insiders is some of the other servers in a room.
func (s *Service) insiders(ctx context.Context, info *storage.RoomInfo) ([]matrix.ServerName, error) {
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	others, err := s.Others(ctx, info.NID, now.Root(), nil)
	if err != nil {
		return nil, err
	}
	return others.Servers()[:min(len(others.Servers()), maxVia)], nil
}

// asked is what other servers are asked for on behalf of somebody.
func (s *Service) asked(ctx context.Context, p location, req MemberRequest, membership string) (ElsewhereRequest, error) {
	content, err := s.memberContent(ctx, req, membership)
	return ElsewhereRequest{Room: p.id, User: req.Sender, Via: p.via, Content: content, AppService: req.AppService}, err
}

// knockElsewhere has the sender knock at a room that this server is not in.
func (s *Service) knockElsewhere(ctx context.Context, p location, req MemberRequest) error {
	if err := s.refuseBlocked(p.id); err != nil {
		return err
	}
	req.Room, req.Target = p.id, req.Sender
	asked, err := s.asked(ctx, p, req, "knock")
	if err != nil {
		return err
	}
	return s.network.Knock(ctx, asked)
}

// leaveElsewhere has the sender refuse an invite to a room that this server is not in, or take a knock back. If no server in
// the room can be told, only this one knows of it: nobody is kept by that.
func (s *Service) leaveElsewhere(ctx context.Context, info *storage.RoomInfo, req MemberRequest, was *storage.Membership) error {
	p := location{id: info.ID, info: info}
	if err := s.inviters(ctx, &p, req.Sender); err != nil {
		return err
	}
	if server := info.ID.Server(); server != "" {
		p.via = append(p.via, server)
	}
	asked, err := s.asked(ctx, p, req, "leave")
	if err != nil {
		return err
	}
	told := s.network.Leave(ctx, asked)
	if told == nil || ctx.Err() != nil {
		return told
	}
	content, err := json.Marshal(asked.Content)
	if err != nil {
		return err
	}
	before, err := s.store.Events.ByNID(ctx, was.EventNID)
	if err != nil {
		return err
	}
	target := string(req.Sender)
	template := matrix.EventTemplate{
		RoomID: info.ID, Sender: req.Sender, Type: "m.room.member", StateKey: &target, Content: content,
		OriginServerTS: s.Now().UnixMilli(), Depth: min(before.Depth+1, matrix.MaxInteger), PrevEvents: []matrix.EventID{before.ID},
	}
	leave, err := template.Build(info.Version, s.ServerName, s.Key)
	if err != nil {
		return err
	}
	return s.Depart(ctx, info.ID, leave)
}

// abroad reports whether an invite needs the agreement of another server.
func (s *Service) abroad(target matrix.UserID) bool { return s.network != nil && !s.Local(target) }

// inviteAbroad invites a user of another server, once that has agreed (Server-Server API § Inviting to a room).
func (s *Service) inviteAbroad(ctx context.Context, info *storage.RoomInfo, req MemberRequest, members map[string]json.RawMessage) (matrix.EventID, error) {
	target := string(req.Target)
	var invite *matrix.Event
	_, err := s.update(ctx, info.NID, func(d *draft) error {
		if err := d.mayAsk(req); err != nil {
			return err
		}
		was, err := d.membership(req.Target)
		if err != nil {
			return err
		}
		content, err := d.memberDetails(req, "invite", was, members)
		if err != nil {
			return err
		}
		if err := d.refuseSame(target, "invite", content); err != nil {
			return err
		}
		p := proposal{Sender: req.Sender, Type: "m.room.member", StateKey: &target, Content: content, Timestamp: req.Timestamp}
		invite, err = d.decide(p, nil)
		return err
	})
	var same errSame
	if errors.As(err, &same) {
		return same.id, nil
	}
	if err != nil {
		return "", err
	}
	if federated, err := s.federated(ctx, info.NID); err != nil {
		return "", err
	} else if !federated {
		return "", matrix.Forbidden("Room %s is open to users of %s only.", info.ID, s.ServerName)
	}
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return "", err
	}
	events, err := now.outside(ctx)
	if err != nil {
		return "", err
	}
	inviter, err := now.Event(ctx, "m.room.member", string(req.Sender))
	if err != nil {
		return "", err
	}
	if inviter != nil {
		events = append(events, inviter.Event)
	}
	stripped := make([]json.RawMessage, len(events))
	for i, e := range events {
		stripped[i] = e.JSON()
	}
	signed, err := s.network.SignInvite(ctx, invite, stripped)
	if err != nil {
		return "", err
	}
	done, err := s.Receive(ctx, info.ID, []Arrival{{Event: signed}})
	if err != nil {
		return "", err
	}
	return signed.ID, done[0].Refused
}

// invitesAbroad reports whether a request is an invite, as plain state, of somebody of another server.
func (s *Service) invitesAbroad(req SendRequest) (target matrix.UserID, ok bool) {
	if req.Type != "m.room.member" || req.StateKey == nil || !s.abroad(matrix.UserID(*req.StateKey)) {
		return "", false
	}
	var content struct {
		Membership string `json:"membership"`
	}
	return matrix.UserID(*req.StateKey), json.Unmarshal(req.Content, &content) == nil && content.Membership == "invite"
}

func (s *Service) inviteByState(ctx context.Context, info *storage.RoomInfo, req SendRequest, target matrix.UserID) (matrix.EventID, error) {
	member := MemberRequest{Room: info.ID, Sender: req.Sender, Target: target, AppService: req.AppService, Timestamp: req.Timestamp}
	if err := json.Unmarshal(req.Content, &member.Content); err != nil {
		return "", matrix.BadJSON("The content has to be an object.")
	}
	return s.setMembership(ctx, member, "invite", nil)
}
