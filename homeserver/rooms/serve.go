package rooms

import (
	"context"
	"errors"
	"math"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Peer is another server that asks about rooms (Server-Server API
// § Backfilling and retrieving missing events and § Retrieving events). It is told of
// rooms that somebody of it is in and that do not shut it out. All others are
// M_FORBIDDEN, whether they exist or not.
type Peer struct {
	s      *Service
	server matrix.ServerName
}

// Peer is another server that asks about rooms.
func (s *Service) Peer(server matrix.ServerName) Peer { return Peer{s, server} }

// room is a room that the peer may ask about.
func (p Peer) room(ctx context.Context, id matrix.RoomID) (*storage.RoomInfo, error) {
	info, err := p.s.store.Rooms.Info(ctx, id)
	if errors.Is(err, database.ErrNoRows) {
		return nil, p.refusal()
	}
	if err != nil {
		return nil, err
	}
	return info, p.check(ctx, info)
}

// check is an error unless the peer may ask about a room.
func (p Peer) check(ctx context.Context, info *storage.RoomInfo) error {
	here, err := p.inside(ctx, info)
	if err != nil {
		return err
	}
	if !here {
		return p.refusal()
	}
	shut, err := p.s.shut(ctx, info, p.server)
	if err == nil && shut {
		err = matrix.Forbidden("%s is shut out of the room by its m.room.server_acl.", p.server)
	}
	return err
}

// inside reports whether somebody of the peer is in a room.
func (p Peer) inside(ctx context.Context, info *storage.RoomInfo) (bool, error) {
	others, _, err := p.s.residents(ctx, info)
	return err == nil && others.Has(p.server), err
}

// refusal is the same for all rooms that the peer is not in.
func (p Peer) refusal() error { return matrix.Forbidden("Nobody of %s is in the room.", p.server) }

// Event is an event, as the peer may see it. M_NOT_FOUND if it is not there, or in
// a room that the peer is not in.
func (p Peer) Event(ctx context.Context, id matrix.EventID) (*matrix.Event, error) {
	gone := matrix.NotFound("Event %s is not there, or not for %s to see.", id, p.server)
	known, err := p.s.knownEvents(ctx, []matrix.EventID{id})
	if err != nil {
		return nil, err
	}
	e := known[id]
	if e == nil {
		return nil, gone
	}
	info, err := p.s.store.Rooms.InfoOf(ctx, e.RoomNID)
	if errors.Is(err, database.ErrNoRows) || err == nil && p.s.store.Rooms.Hidden(info.ID) {
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	if here, err := p.inside(ctx, info); err != nil {
		return nil, err
	} else if !here || p.s.standing(info, e) < beside {
		return nil, gone
	}
	if err := p.check(ctx, info); err != nil {
		return nil, err
	}
	seen, err := p.sight(info).see(ctx, []*storage.Event{e})
	if err != nil {
		return nil, err
	}
	return seen[0], nil
}

// event is an event of a room that the peer may ask about, or M_NOT_FOUND.
func (p Peer) event(ctx context.Context, info *storage.RoomInfo, id matrix.EventID) (*storage.Event, error) {
	known, err := p.s.knownEvents(ctx, []matrix.EventID{id})
	if err != nil {
		return nil, err
	}
	if p.s.standing(info, known[id]) < beside {
		return nil, matrix.NotFound("Event %s of the room is not known here.", id)
	}
	return known[id], nil
}

// Nearest is the event of a room that is the closest to a time, as [Service.Nearest] has it for users. Whether
// the peer may see the event whole does not matter: it learns of an ID and a time.
func (p Peer) Nearest(ctx context.Context, room matrix.RoomID, ts int64, backward bool) (*storage.Event, error) {
	info, err := p.room(ctx, room)
	if err != nil {
		return nil, err
	}
	return p.s.nearest(ctx, info, moment{ts, backward, math.MaxInt64}, func(e *storage.Event) (bool, error) {
		return p.s.standing(info, e) == told, nil
	})
}
