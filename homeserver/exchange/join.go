package exchange

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// maxVia is how many servers are asked to let somebody into a room.
const maxVia = 10

// Join brings a user of this server into a room by way of one of some servers, the first that does it. The errors are fit
// for whoever wants to join.
func (s *Service) Join(ctx context.Context, req rooms.ElsewhereRequest) error {
	return s.byOne(ctx, req, s.joinBy)
}

// Knock has a user of this server knock at a room of others, as [Service.Join] does it.
func (s *Service) Knock(ctx context.Context, req rooms.ElsewhereRequest) error {
	return s.byOne(ctx, req, func(ctx context.Context, server matrix.ServerName, req rooms.ElsewhereRequest) error {
		t, err := s.Peers.MakeKnock(ctx, server, req.Room, req.User, nil)
		if err != nil {
			return err
		}
		knock, err := s.member(t, req.Content)
		if err != nil {
			return err
		}
		stripped, err := s.Peers.SendKnock(ctx, server, knock)
		if err != nil {
			return err
		}
		return s.Rooms.Knocked(context.WithoutCancel(ctx), req.Room, knock, stripped)
	})
}

// Leave has a user of this server leave a room that this server is not in: refuse its invite, or take a knock back.
func (s *Service) Leave(ctx context.Context, req rooms.ElsewhereRequest) error {
	return s.byOne(ctx, req, func(ctx context.Context, server matrix.ServerName, req rooms.ElsewhereRequest) error {
		t, err := s.Peers.MakeLeave(ctx, server, req.Room, req.User, nil)
		if err != nil {
			return err
		}
		leave, err := s.member(t, req.Content)
		if err != nil {
			return err
		}
		if err := s.Peers.SendLeave(ctx, server, leave); err != nil {
			return err
		}
		return s.Rooms.Depart(context.WithoutCancel(ctx), req.Room, leave)
	})
}

// byOne does something by way of one server after the other, until one does it.
func (s *Service) byOne(
	ctx context.Context, req rooms.ElsewhereRequest, do func(context.Context, matrix.ServerName, rooms.ElsewhereRequest) error,
) error {
	unlock, err := s.busy.lock(ctx, req.Room)
	if err != nil {
		return err
	}
	defer unlock()
	var failed error
	tried := map[matrix.ServerName]bool{s.ServerName: true}
	for _, server := range req.Via {
		if len(tried) > maxVia {
			break
		}
		if tried[server] {
			continue
		}
		tried[server] = true
		err := do(ctx, server, req)
		if err == nil {
			return nil
		}
		s.Log.InfoContext(ctx, "another server did not let a user into a room, or out of it", "room", req.Room, "server", server, "error", err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed == nil || matrix.Code(failed) == "M_UNKNOWN" {
			failed = federation.ForUser(server, err)
		}
		if !federation.TryNext(err) && matrix.Code(err) == "" {
			break
		}
	}
	if failed == nil {
		failed = matrix.NotFound("Nobody who is in room %s is known.", req.Room)
	}
	return failed
}

// joinBy joins by way of one server.
func (s *Service) joinBy(ctx context.Context, server matrix.ServerName, req rooms.ElsewhereRequest) error {
	t, err := s.Peers.MakeJoin(ctx, server, req.Room, req.User, nil)
	if err != nil {
		return err
	}
	join, err := s.member(t, req.Content)
	if err != nil {
		return err
	}
	answer, err := s.Peers.SendJoin(ctx, server, join)
	if err != nil {
		return err
	}
	// Who is in is in, whether or not they still wait for it.
	ctx = context.WithoutCancel(ctx)
	verified, err := s.Peers.Verified(ctx, slices.Concat(answer.State, answer.Auth))
	if err != nil {
		return err
	}
	good := make(map[matrix.EventID]bool, len(verified))
	for _, e := range verified {
		good[e.ID] = true
	}
	bad := func(e *matrix.Event) bool { return !good[e.ID] }
	return s.Rooms.Adopt(ctx, rooms.Adoption{
		Room: req.Room, Version: t.Version, Join: answer.Event, AppService: req.AppService,
		State: slices.DeleteFunc(answer.State, bad), Auth: slices.DeleteFunc(answer.Auth, bad),
	})
}

// Alias is the room that an alias of another server points to, and servers that are in it.
func (s *Service) Alias(ctx context.Context, alias matrix.RoomAlias) (matrix.RoomID, []matrix.ServerName, error) {
	return s.Directory.Alias(ctx, alias)
}

// member makes the member event of a template, with what the user adds to it.
func (s *Service) member(t *federation.Template, more map[string]json.RawMessage) (*matrix.Event, error) {
	var content map[string]json.RawMessage
	if err := json.Unmarshal(t.Event.Content, &content); err != nil {
		return nil, err
	}
	merged := maps.Clone(more)
	if merged == nil {
		merged = map[string]json.RawMessage{}
	}
	delete(merged, "join_authorised_via_users_server")
	maps.Copy(merged, content)
	template := t.Event
	var err error
	if template.Content, err = json.Marshal(merged); err != nil {
		return nil, err
	}
	e, err := template.Build(t.Version, s.ServerName, s.Key)
	if matrix.Code(err) != "" {
		return nil, matrix.NewError(http.StatusBadRequest, matrix.Code(err), "The member event cannot be made: %v", err)
	}
	return e, err
}

// SignInvite has the server of whoever is invited sign the invite (Server-Server API § Inviting to a room).
func (s *Service) SignInvite(ctx context.Context, invite *matrix.Event, stripped []json.RawMessage) (*matrix.Event, error) {
	server := matrix.UserID(*invite.StateKey).Server()
	signed, err := s.Peers.Invite(ctx, server, invite, stripped)
	return signed, federation.ForUser(server, err)
}
