package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// Find is the room that an ID or an alias names. M_NOT_FOUND for an alias that
// does not exist, M_INVALID_PARAM for what is neither.
func (s *Service) Find(ctx context.Context, idOrAlias, asker string) (matrix.RoomID, error) {
	if strings.HasPrefix(idOrAlias, "#") {
		alias, err := matrix.ParseRoomAlias(idOrAlias)
		if err != nil {
			return "", matrix.InvalidParam("%v.", err)
		}
		found, err := s.Resolve(ctx, alias, asker)
		if err != nil {
			return "", err
		}
		return found.RoomID, nil
	}
	id, err := matrix.ParseRoomID(idOrAlias)
	if err != nil {
		return "", matrix.InvalidParam("%v.", err)
	}
	return id, nil
}

// Join takes the sender into the room that an ID or an alias names.
func (s *Service) Join(ctx context.Context, idOrAlias string, req MemberRequest) (matrix.RoomID, error) {
	p, err := s.locate(ctx, idOrAlias, req)
	if err != nil {
		return "", err
	}
	if !p.here {
		return p.id, s.joinElsewhere(ctx, p, req)
	}
	err = s.join(ctx, p.info, req)
	var unvouched *unvouchedError
	if s.network == nil || !errors.As(err, &unvouched) {
		return p.id, err
	}
	// Somebody of another server may.
	others, failed := s.insiders(ctx, p.info)
	if failed != nil {
		return "", failed
	}
	if len(others) > 0 {
		p.via = others
		err = s.joinElsewhere(ctx, p, req)
	}
	return p.id, err
}

// KnockAt is Knock for an ID or an alias.
func (s *Service) KnockAt(ctx context.Context, idOrAlias string, req MemberRequest) (matrix.RoomID, error) {
	p, err := s.locate(ctx, idOrAlias, req)
	if err != nil {
		return "", err
	}
	if !p.here {
		return p.id, s.knockElsewhere(ctx, p, req)
	}
	req.Room = p.id
	return p.id, s.Knock(ctx, req)
}

// findHere is Find for rooms that this server is in.
func (s *Service) findHere(ctx context.Context, idOrAlias, asker string) (*storage.RoomInfo, error) {
	id, err := s.Find(ctx, idOrAlias, asker)
	if err != nil {
		return nil, err
	}
	return s.Info(ctx, id)
}

// ProfileChanged carries a user's new profile into the rooms that the user is in.
func (s *Service) ProfileChanged(ctx context.Context, user matrix.UserID) error {
	ids, err := s.JoinedRooms(ctx, user)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.refreshMember(ctx, id, user); err != nil {
			// A room whose rules refuse it keeps the old name.
			if matrix.Code(err) == "" {
				return err
			}
		}
	}
	return nil
}

// refreshMember repeats a member event with the profile of today and
// everything else as it was.
func (s *Service) refreshMember(ctx context.Context, id matrix.RoomID, user matrix.UserID) error {
	info, err := s.known(ctx, id)
	if err != nil {
		return err
	}
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return err
	}
	e, err := now.Event(ctx, "m.room.member", string(user))
	if err != nil || e == nil || e.Membership() != "join" {
		return err
	}
	var content map[string]json.RawMessage
	if err := json.Unmarshal(e.Content, &content); err != nil {
		return err
	}
	for _, name := range []string{"displayname", "avatar_url", "join_authorised_via_users_server", "reason", "is_direct", "third_party_invite"} {
		delete(content, name)
	}
	return s.join(ctx, info, MemberRequest{Sender: user, Content: content})
}

// LeaveAll takes a user out of every room that it is in, invited to or knocking at.
func (s *Service) LeaveAll(ctx context.Context, user matrix.UserID) error {
	memberships, err := s.store.Members.OfUser(ctx, user)
	if err != nil {
		return err
	}
	for _, m := range memberships {
		if m.Membership == "leave" || m.Membership == "ban" {
			continue
		}
		info, err := s.store.Rooms.InfoOf(ctx, m.RoomNID)
		if err != nil {
			return err
		}
		err = s.Leave(ctx, MemberRequest{Room: info.ID, Sender: user})
		if err != nil && matrix.Code(err) == "" {
			return err
		}
	}
	return nil
}
