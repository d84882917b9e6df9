package rooms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A MemberRequest is a change of somebody's membership.
type MemberRequest struct {
	Room   matrix.RoomID
	Sender matrix.UserID
	Target matrix.UserID // the sender itself if empty
	Reason string
	// Content is further members of the event's content, such as
	// third_party_signed, or what a client put into a state event.
	Content  map[string]json.RawMessage
	IsDirect bool
	Guest    bool // the sender is a guest
	// AppService is the ID of the application service that acts as the sender.
	AppService string
	Timestamp  int64 // as in SendRequest
	// Via is servers by way of which a room may be joined that this one is not in.
	Via []matrix.ServerName
}

// Invite asks somebody into a room. Errors: M_FORBIDDEN, M_INVITE_BLOCKED.
func (s *Service) Invite(ctx context.Context, req MemberRequest) error {
	if err := s.mayInvite(ctx, req.Sender, req.Target, req.AppService); err != nil {
		return err
	}
	_, err := s.setMembership(ctx, req, "invite", nil)
	return err
}

// mayInvite asks whoever may make the target, and is M_INVITE_BLOCKED if that
// is a user of this server who refuses (Client-Server API § Invite permission).
func (s *Service) mayInvite(ctx context.Context, by, target matrix.UserID, appservice string) error {
	if !s.Local(target) {
		return nil
	}
	if err := s.Directory.QueryUser(ctx, target, appservice); err != nil {
		return err
	}
	blocked, err := s.Settings.InviteBlocked(ctx, target, by)
	if blocked {
		return matrix.NewError(403, "M_INVITE_BLOCKED", "%s does not want to be invited.", target)
	}
	return err
}

// Kick removes a member, or takes an invite or a knock back.
func (s *Service) Kick(ctx context.Context, req MemberRequest) error {
	_, err := s.setMembership(ctx, req, "leave", func(was string) error {
		if was != "join" && was != "invite" && was != "knock" {
			return matrix.Forbidden("%s is not in the room.", req.Target)
		}
		return nil
	})
	return err
}

// Ban shuts somebody out.
func (s *Service) Ban(ctx context.Context, req MemberRequest) error {
	_, err := s.setMembership(ctx, req, "ban", nil)
	return err
}

// Unban ends a ban.
func (s *Service) Unban(ctx context.Context, req MemberRequest) error {
	_, err := s.setMembership(ctx, req, "leave", func(was string) error {
		if was != "ban" {
			return matrix.NewError(403, "M_BAD_STATE", "%s is not banned.", req.Target)
		}
		return nil
	})
	return err
}

// Leave takes the sender out, refuses an invite or takes back a knock. To
// leave a room twice is no error.
func (s *Service) Leave(ctx context.Context, req MemberRequest) error {
	req.Target = req.Sender
	info, err := s.known(ctx, req.Room)
	if err != nil {
		return err
	}
	m, err := s.store.Members.In(ctx, info.NID, req.Sender)
	if err != nil {
		return err
	}
	if m == nil {
		return notMember(req.Room)
	}
	if m.Membership == "leave" {
		return nil
	}
	if err := s.refuseNotice(ctx, m, req.Sender); err != nil {
		return err
	}
	if s.network != nil && m.Membership != "join" {
		if here, err := s.Resident(ctx, info); err != nil {
			return err
		} else if !here {
			return s.leaveElsewhere(ctx, info, req, m)
		}
	}
	_, err = s.setMembership(ctx, req, "leave", nil)
	return err
}

// mayLeave is M_CANNOT_LEAVE_SERVER_NOTICE_ROOM for who refuses to be told things.
func (s *Service) mayLeave(ctx context.Context, info *storage.RoomInfo, user matrix.UserID) error {
	m, err := s.store.Members.In(ctx, info.NID, user)
	if err != nil || m == nil {
		return err
	}
	return s.refuseNotice(ctx, m, user)
}

// Knock asks to be let in.
func (s *Service) Knock(ctx context.Context, req MemberRequest) error {
	if err := s.refuseBlocked(req.Room); err != nil {
		return err
	}
	req.Target = req.Sender
	_, err := s.setMembership(ctx, req, "knock", nil)
	return err
}

// Forget hides a room that the user has left from /sync and history.
// Errors: M_UNKNOWN if the user is still in it.
func (s *Service) Forget(ctx context.Context, id matrix.RoomID, user matrix.UserID) error {
	info, err := s.known(ctx, id)
	if err != nil {
		return err
	}
	m, err := s.store.Members.In(ctx, info.NID, user)
	if err != nil {
		return err
	}
	switch {
	case m == nil:
		return matrix.NewError(400, "M_UNKNOWN", "You have never been in this room.")
	case m.Membership != "leave" && m.Membership != "ban":
		return matrix.NewError(400, "M_UNKNOWN", "Leave the room before you forget it.")
	}
	return s.forget(ctx, info, user)
}

// join adds the sender to a room that this server is in.
func (s *Service) join(ctx context.Context, info *storage.RoomInfo, req MemberRequest) error {
	if err := s.refuseBlocked(info.ID); err != nil {
		return err
	}
	req.Room, req.Target = info.ID, req.Sender
	_, err := s.setMembership(ctx, req, "join", nil)
	return err
}

// setMembership adds a member event, unless the member is that already. check
// may refuse because of the membership before.
func (s *Service) setMembership(ctx context.Context, req MemberRequest, membership string, check func(was string) error) (matrix.EventID, error) {
	info, err := s.known(ctx, req.Room)
	if err != nil {
		return "", err
	}
	if _, err := matrix.ParseUserID(string(req.Target)); err != nil {
		return "", matrix.InvalidParam("%v.", err)
	}
	members, err := s.memberContent(ctx, req, membership)
	if err != nil {
		return "", err
	}
	if membership == "invite" && s.abroad(req.Target) {
		return s.inviteAbroad(ctx, info, req, members)
	}
	target, was := string(req.Target), ""
	b, err := s.update(ctx, info.NID, func(d *draft) (err error) {
		if err := d.mayAsk(req); err != nil {
			return err
		}
		if was, err = d.membership(req.Target); err != nil {
			return err
		}
		if check != nil {
			if err := check(was); err != nil {
				return err
			}
		}
		content, err := d.memberDetails(req, membership, was, members)
		if err != nil {
			return err
		}
		if err := d.refuseSame(target, membership, content); err != nil {
			return err
		}
		_, err = d.add(proposal{Sender: req.Sender, Type: "m.room.member", StateKey: &target, Content: content, Timestamp: req.Timestamp})
		if membership == "join" && was != "join" {
			d.arrives(req.AppService)
		}
		return err
	})
	var same errSame
	if errors.As(err, &same) {
		return same.id, nil
	}
	if err != nil {
		return "", err
	}
	if membership == "join" && was != "join" {
		if err := s.follow(ctx, info, req.Target); err != nil {
			return "", err
		}
	}
	return b.last()
}

// mayAsk keeps outsiders from learning by a refusal whether somebody is in the room.
func (d *draft) mayAsk(req MemberRequest) error {
	if req.Target == req.Sender {
		return nil
	}
	own, err := d.membership(req.Sender)
	if err == nil && own != "join" {
		err = notMember(req.Room)
	}
	return err
}

// memberContent is the content of a member event as far as the room has no say in it.
func (s *Service) memberContent(ctx context.Context, req MemberRequest, membership string) (map[string]json.RawMessage, error) {
	more := map[string]any{"membership": membership}
	if req.Reason != "" {
		more["reason"] = req.Reason
	}
	if req.IsDirect && membership == "invite" {
		more["is_direct"] = true
	}
	if s.Local(req.Target) && membership != "leave" && membership != "ban" {
		name, avatar, err := s.Profiles.Profile(ctx, req.Target)
		if err != nil {
			return nil, err
		}
		if _, own := req.Content["displayname"]; name != "" && !own {
			more["displayname"] = name
		}
		if _, own := req.Content["avatar_url"]; avatar != "" && !own {
			more["avatar_url"] = avatar
		}
	}
	raw, err := merge(req.Content, more)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	return members, json.Unmarshal(raw, &members)
}

// memberDetails checks what authorization rules don't know about and names who
// vouches for a restricted join.
func (d *draft) memberDetails(req MemberRequest, membership, was string, members map[string]json.RawMessage) (json.RawMessage, error) {
	switch membership {
	case "join":
		if req.Guest && was != "join" {
			if err := d.admitsGuests(); err != nil {
				return nil, err
			}
		}
		if was == "join" || was == "invite" {
			// Vouching is for the way in; who is in keeps no voucher.
			delete(members, "join_authorised_via_users_server")
			break
		}
		voucher, err := d.voucher(req.Target)
		if err != nil {
			return nil, err
		}
		if voucher != "" {
			return merge(members, map[string]any{"join_authorised_via_users_server": voucher})
		}
	case "invite":
		if was == "join" {
			return nil, matrix.Forbidden("%s is in the room already.", req.Target)
		}
	}
	return json.Marshal(members)
}

// refuseSame answers errSame when a local client asks for a membership that
// the user has, with the same content.
func (d *draft) refuseSame(target, membership string, content json.RawMessage) error {
	before, err := d.state("m.room.member", target)
	if err != nil || before == nil || before.Membership() != membership {
		return err
	}
	canonical, err := matrix.CanonicalJSON(content)
	if err != nil {
		return matrix.BadJSON("The content is not what Matrix allows: %v.", err)
	}
	if bytes.Equal(before.Content, canonical) || membership == "join" && sameProfile(before.Content, canonical) {
		return errSame{before.ID}
	}
	return nil
}

// sameProfile reports whether two member contents of a joined user differ in
// nothing but how the user came in.
func sameProfile(a, b json.RawMessage) bool {
	strip := func(raw json.RawMessage) json.RawMessage {
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil {
			return raw
		}
		delete(members, "join_authorised_via_users_server")
		delete(members, "reason")
		out, err := json.Marshal(members)
		if err != nil {
			return raw
		}
		return out
	}
	return bytes.Equal(strip(a), strip(b))
}

// checkMemberState prepares a member event that a client sends as plain state.
// What is refused to those who ask by the endpoints for it is refused here, too.
func (s *Service) checkMemberState(ctx context.Context, info *storage.RoomInfo, req *SendRequest) error {
	var content struct {
		Membership string `json:"membership"`
	}
	if err := json.Unmarshal(req.Content, &content); err != nil {
		return matrix.BadJSON("content.membership has to be a text.")
	}
	if _, err := matrix.ParseUserID(*req.StateKey); err != nil {
		return matrix.InvalidParam("The state key: %v.", err)
	}
	own := *req.StateKey == string(req.Sender)
	switch content.Membership {
	case "join", "knock":
		if own {
			return s.refuseBlocked(info.ID)
		}
	case "leave":
		if own {
			return s.mayLeave(ctx, info, req.Sender)
		}
	case "ban":
	case "invite":
		return s.mayInvite(ctx, req.Sender, matrix.UserID(*req.StateKey), req.AppService)
	default:
		return matrix.BadJSON("content.membership has to be join, invite, knock, leave or ban.")
	}
	return nil
}
