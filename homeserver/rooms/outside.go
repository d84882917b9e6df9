package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"trestle/homeserver/storage"
	"trestle/homeserver/storage/statetree"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// What is here is of rooms that this server has no part in: their invites to users of this server, and what those do about it.
// Such an event has a place in the stream as any other, since it is news to the same readers, and its place in the room's history is
// not known (storage.Nowhere). The state of such a room is whatever was known when this server was in it the last time, if ever, and
// the members of whom it has heard since. It has no newest events, by which it is told from rooms that this server is in.

// An OutsideInvite is an invite to a room as the server of whoever invites sends it. Its hash and signatures were checked.
type OutsideInvite struct {
	Event    *matrix.Event
	Stripped []json.RawMessage // what the room is like, as clients are told
}

// Invited takes in an invite of a user of this server by one of another (Server-Server API § Inviting to a room), and signs
// it. If this server is in the room, it will be told of the event as of all others; if not, this is how it knows.
// Errors: M_FORBIDDEN, M_INVITE_BLOCKED.
func (p Peer) Invited(ctx context.Context, invite OutsideInvite) (*matrix.Event, error) {
	e := invite.Event
	target := matrix.UserID(*e.StateKey)
	if err := p.s.refuseBlocked(e.RoomID); err != nil {
		return nil, err
	}
	if shut, err := p.s.Shut(ctx, e.RoomID, p.server); err != nil {
		return nil, err
	} else if shut {
		return nil, matrix.Forbidden("%s is shut out of the room by its m.room.server_acl.", p.server)
	}
	if err := p.s.mayInvite(ctx, e.Sender, target, ""); err != nil {
		return nil, err
	}
	signed, err := e.Sign(p.s.ServerName, p.s.Key)
	if err != nil {
		return nil, err
	}
	info, err := p.s.store.Rooms.Info(ctx, e.RoomID)
	if errors.Is(err, database.ErrNoRows) {
		info, err = p.s.found(ctx, e.RoomID, e.Version, e.Sender)
	}
	if err != nil {
		return nil, err
	}
	if p.s.store.Rooms.Hidden(e.RoomID) {
		return nil, matrix.Forbidden("The room is being removed from this server.")
	}
	there, err := p.s.inhabits(ctx, info)
	if err != nil {
		return nil, err
	}
	if there {
		// It is in the room by the decision of those in it, and this server will be told.
		if m, err := p.s.Membership(ctx, e.RoomID, target); err != nil {
			return nil, err
		} else if m == "join" {
			return nil, matrix.Forbidden("%s is in the room already.", target)
		}
		return signed, nil
	}
	err = p.s.note(ctx, info, signed, invite.Stripped, nil)
	if errors.Is(err, errInside) {
		err = nil // somebody has come in meanwhile
	}
	return signed, err
}

// Depart takes in that a user of this server has left a room that this server is not in, has refused its invite or takes a knock back: by
// an event that a server in the room has accepted, or by one that none has, where none could be reached.
func (s *Service) Depart(ctx context.Context, room matrix.RoomID, leave *matrix.Event) error {
	return s.noteOwn(ctx, room, leave, nil)
}

// Knocked takes in that a user of this server has knocked at a room that it is not in, by an event that a server in the room has
// accepted. stripped is what that has told of the room, as clients are told.
func (s *Service) Knocked(ctx context.Context, room matrix.RoomID, knock *matrix.Event, stripped []json.RawMessage) error {
	return s.noteOwn(ctx, room, knock, stripped)
}

// TurnedAway takes in that a user of this server is not invited any more to a room that this server is not in, or was not let in: by whoever
// has sent the invite, since others may not be who they would have to be, or by somebody in the room if the user has knocked. The event's
// hash and signatures were checked. M_FORBIDDEN for all other events.
func (s *Service) TurnedAway(ctx context.Context, info *storage.RoomInfo, e *matrix.Event) error {
	forbidden := matrix.Forbidden("Nobody of this server is in room %s.", info.ID)
	if e.Type != "m.room.member" || e.StateKey == nil || !s.Local(matrix.UserID(*e.StateKey)) || e.Membership() != "leave" && e.Membership() != "ban" {
		return forbidden
	}
	err := s.note(ctx, info, e, nil, func(d *draft) error {
		before, err := d.state("m.room.member", *e.StateKey)
		if err != nil {
			return err
		}
		// It has to be about this invite or knock, and not about one before it, of which the other server tells late.
		if before == nil || !slices.Contains(e.AuthEvents, before.ID) {
			return forbidden
		}
		if was := before.Membership(); was != "knock" && (was != "invite" || before.Sender != e.Sender) {
			return forbidden
		}
		return nil
	})
	if errors.Is(err, errInside) {
		return forbidden
	}
	return err
}

func (s *Service) noteOwn(ctx context.Context, room matrix.RoomID, e *matrix.Event, stripped []json.RawMessage) error {
	if e.RoomID != room || e.Type != "m.room.member" || !e.StateKeyIs(string(e.Sender)) || !s.Local(e.Sender) {
		return matrix.InvalidParam("%s is no member event of a user of this server in room %s.", e.ID, room)
	}
	info, err := s.store.Rooms.Info(ctx, room)
	if errors.Is(err, database.ErrNoRows) {
		info, err = s.found(ctx, room, e.Version, e.Sender)
	}
	if err != nil {
		return err
	}
	err = s.note(ctx, info, e, stripped, nil)
	if !errors.Is(err, errInside) {
		return err
	}
	// This server is in the room by now, and takes the event as all others in it do.
	done, err := s.Receive(ctx, room, []Arrival{{Event: e}})
	if err == nil && len(done[0].Missing) == 0 {
		err = done[0].Refused
	}
	return err
}

// errInside says that this server is in a room.
var errInside = errors.New("this server is in the room")

// note puts a member event of a room that this server is not in into the stream, unless check, which may be nil, is against it. What is
// known changes nothing.
func (s *Service) note(
	ctx context.Context, info *storage.RoomInfo, e *matrix.Event, stripped []json.RawMessage, check func(*draft) error,
) error {
	if err := s.intern(ctx, info, []*matrix.Event{e}); err != nil {
		return err
	}
	var raw []byte
	if e.Membership() == "invite" || e.Membership() == "knock" {
		var err error
		if raw, err = json.Marshal(append(stripped[:len(stripped):len(stripped)], e.StrippedState())); err != nil {
			return err
		}
	}
	_, err := s.update(ctx, info.NID, func(d *draft) error {
		if inside, err := d.inside(); err != nil {
			return err
		} else if inside {
			return errInside
		}
		if check != nil {
			if err := check(d); err != nil {
				return err
			}
		}
		return d.note(e, raw)
	})
	return err
}

// inside reports whether somebody of this server is in the room as the draft has it.
func (d *draft) inside() (bool, error) {
	for number, key := range d.room.keys.all() {
		if key.Type != "m.room.member" || !d.s.Local(matrix.UserID(key.Key)) {
			continue
		}
		nid, err := d.head.tree.Get(d.ctx, d.s.store.State, uint32(number))
		if err != nil {
			return false, err
		}
		if nid == 0 {
			continue
		}
		if e, err := d.event(nid); err != nil || e.Membership() == "join" {
			return err == nil, err
		}
	}
	return false, nil
}

func (d *draft) note(e *matrix.Event, stripped []byte) error {
	known, err := d.find([]matrix.EventID{e.ID})
	if err != nil {
		return err
	}
	kept := known[e.ID]
	if kept != nil && kept.Verdict == storage.Placed {
		return nil
	}
	stored := &storage.Event{Event: e, RoomNID: d.room.info.NID, Branch: storage.Nowhere}
	if kept != nil {
		stored.NID = kept.NID
	} else if stored.NID, err = d.s.store.Events.NewNID(d.ctx); err != nil {
		return err
	}
	d.arriving = append(d.arriving, stored.NID)
	d.room.fly(stored)
	st, err := d.stepOf(stored)
	if err != nil {
		return err
	}
	st.promoted, st.stripped = kept != nil, stripped
	st.withheld = d.s.Local(e.Sender) // a server in the room has accepted it, or it is known here alone
	key := d.number(storage.StateKey{Type: e.Type, Key: *e.StateKey})
	tree, err := d.with(d.head.tree, []statetree.Entry{{Key: key, Value: stored.NID}})
	if err != nil {
		return err
	}
	if err := d.moveTo(&st, tree); err != nil {
		return err
	}
	d.head.extremities = []matrix.EventID{}
	d.head.depth = max(d.head.depth, e.Depth)
	d.push(st)
	return nil
}

// refound makes a room anew whose version is another one than somebody said who has invited to it. Whoever says so from outside may
// be wrong, or mean to keep this server out of the room.
func (s *Service) refound(ctx context.Context, info *storage.RoomInfo, a Adoption) (*storage.RoomInfo, error) {
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	create, err := now.Event(ctx, "m.room.create", "")
	if err != nil {
		return nil, err
	}
	if create != nil {
		return nil, matrix.Forbidden("Room %s has version %s here, and not %s.", a.Room, info.Version.ID, a.Version.ID)
	}
	if err := s.remove(ctx, info); err != nil {
		return nil, err
	}
	return s.founding(ctx, a)
}

// Stripped is what a user of this server is told of a room by an invite or a knock.
func (s *Service) Stripped(ctx context.Context, member *storage.Event) ([]json.RawMessage, error) {
	if member.Branch != storage.Nowhere {
		at, err := s.At(ctx, member.RoomNID, member.Root)
		if err != nil {
			return nil, err
		}
		return at.Stripped(ctx, member)
	}
	m, err := s.store.Members.In(ctx, member.RoomNID, matrix.UserID(*member.StateKey))
	if err != nil {
		return nil, err
	}
	if m == nil || m.EventNID != member.NID || len(m.Stripped) == 0 {
		return []json.RawMessage{member.StrippedState()}, nil // the user stands elsewhere by now
	}
	var events []json.RawMessage
	return events, json.Unmarshal(m.Stripped, &events)
}
