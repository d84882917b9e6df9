package syncer

import (
	"context"
	"encoding/json"
	"math"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/relations"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// What is here lets answers of another shape than that of /sync be put
// together from the same pieces.

// A Window asks for the newest events of a room in (After, UpTo].
type Window struct {
	Info        *storage.RoomInfo
	At          notifier.Room // where the reader stands
	User        matrix.UserID
	After, UpTo int64
	Limit       int
	// Left is the event that took the reader out of the room; nil where the reader is in.
	Left     *storage.Event
	Activity notifier.Activity
}

// A Seen event is one that a reader may see, with the reader's membership at it.
type Seen struct {
	Event      *storage.Event
	Membership string
}

// A Newest is the answer to a [Window].
type Newest struct {
	Events  []Seen // oldest first
	Limited bool   // there are more in the window
	Start   Token  // the place before the first event, from which history goes on
}

// NoActivity is that of a room of which nothing is in memory.
func NoActivity() notifier.Activity { return notifier.Activity{Complete: math.MaxInt64} }

// Newest is the newest events that a reader may see, without messages of those
// whom the reader ignores.
func (s *Service) Newest(ctx context.Context, w Window, unwanted *accounts.Unwanted) (*Newest, error) {
	sight, err := s.sight(ctx, w.Info, w.At, w.User)
	if err != nil {
		return nil, err
	}
	t := stretch{
		info: w.Info, after: w.After, upTo: w.UpTo, limit: w.Limit, filter: new(accounts.RoomEventFilter),
		sight: sight, reader: w.User, left: w.Left, ring: w.Activity.Ring, inRing: w.Activity.Complete,
	}
	if err := s.fill(ctx, &t); err != nil {
		return nil, err
	}
	n := &Newest{Limited: t.limited, Start: Token{Position: t.start}}
	for _, e := range t.events {
		if e.event.IsState() || e.event.Sender == w.User || !unwanted.Ignores(e.event.Sender) {
			n.Events = append(n.Events, Seen{e.event, e.membership})
		}
	}
	return n, nil
}

// sight is the sight of somebody who stands there in a room.
func (s *Service) sight(ctx context.Context, info *storage.RoomInfo, at notifier.Room, user matrix.UserID) (*rooms.Sight, error) {
	return s.Rooms.SightAs(ctx, info, user, &storage.Membership{
		RoomNID: info.NID, Membership: at.Membership, EventNID: at.EventNID, Position: at.Position, Forgotten: at.Forgotten,
	})
}

// RootAt is the root of a room's state at a place: that of the newest event at or before it.
func (s *Service) RootAt(ctx context.Context, nid, place int64) (int64, error) {
	now, err := s.Rooms.Head(ctx, nid)
	if err != nil {
		return 0, err
	}
	if now.Position <= place {
		return now.Root(), nil
	}
	return s.rootAt(ctx, nid, place)
}

// Stripped is what somebody outside sees of a room that invites it or that it knocks at.
func (s *Service) Stripped(ctx context.Context, info *storage.RoomInfo, at notifier.Room) ([]json.RawMessage, error) {
	if len(at.Stripped) > 0 {
		var events []json.RawMessage
		return events, json.Unmarshal(at.Stripped, &events)
	}
	member, err := s.Store.Events.ByNID(ctx, at.EventNID)
	if err != nil {
		return nil, err
	}
	return s.Rooms.Stripped(ctx, member)
}

// Render puts events into the client format. ahead may be nil.
func (s *Service) Render(ctx context.Context, ahead *Ahead, events []Seen, reader rooms.Reader) ([]json.RawMessage, error) {
	list := make([]relations.Shown, len(events))
	for i, e := range events {
		list[i] = relations.Shown(e)
	}
	return s.Relations.Clients(ctx, ahead.parentsOf(), list, reader)
}
