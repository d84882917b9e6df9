package homeserver

import (
	"context"
	"slices"

	"trestle/appservice/sender"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/registration"
)

// sightings is what a service's own user does to what the service sees, by
// coming into a room as the first of its users, or leaving it as the last: whose
// keys it has to ask for, or need not follow any more (MSC3202, as /sync has it
// for one user).
func (s eventStream) sightings(ctx context.Context, e *storage.Event, user matrix.UserID, joined bool) (list []sender.Change, err error) {
	set := s.asides.registry.Load()
	var state *rooms.Snapshot
	for _, service := range set.UserWatchers(user) {
		if !service.DeviceLists {
			continue
		}
		if state == nil {
			if state, err = s.rooms.At(ctx, e.RoomNID, e.Root); err != nil {
				return nil, err
			}
		}
		if alone, err := s.alone(ctx, e.RoomID, state, set, service, user); err != nil {
			return nil, err
		} else if !alone {
			continue
		}
		changes, err := s.sighted(ctx, e, state, set, service, joined)
		if err != nil {
			return nil, err
		}
		list = append(list, changes...)
	}
	return list, nil
}

// A place is a room and a service that has users in it.
type place struct {
	room    matrix.RoomID
	service string
}

// rememberedPlaces bounds the places of which somebody is remembered who is there.
const rememberedPlaces = 10_000

// alone reports whether a service has no other user in a room. Its own is asked
// about first, since bridges have it wherever they are, and then who was last
// known to be there: a thousand users who come one after the other must not look
// through all that have come before.
func (s eventStream) alone(ctx context.Context, room matrix.RoomID, state *rooms.Snapshot, set *registration.Set, service *registration.Registration, user matrix.UserID) (bool, error) {
	at := place{room, service.ID}
	known, _ := s.present.Get(at)
	for _, other := range []matrix.UserID{service.Sender(s.server), known} {
		if other == "" || other == user {
			continue
		}
		if m, err := state.Membership(ctx, other); err != nil || m == "join" {
			return false, err
		}
	}
	others, err := state.Events(ctx, func(key storage.StateKey) bool {
		return key.Type == "m.room.member" && key.Key != string(user) && watches(set, service, matrix.UserID(key.Key))
	})
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(others, func(m *storage.Event) bool { return m.Membership() == "join" })
	if i < 0 {
		s.present.Put(at, user) // whom the next one meets, unless this one leaves
		return true, nil
	}
	s.present.Put(at, matrix.UserID(*others[i].StateKey))
	return false, nil
}

func watches(set *registration.Set, service *registration.Registration, user matrix.UserID) bool {
	return slices.Contains(set.UserWatchers(user), service)
}

// sighted is the members of a room whom a service begins to see, or sees there
// no more, as far as they have keys.
func (s eventStream) sighted(ctx context.Context, e *storage.Event, state *rooms.Snapshot, set *registration.Set, service *registration.Registration, joined bool) ([]sender.Change, error) {
	members, err := state.Events(ctx, func(key storage.StateKey) bool {
		return key.Type == "m.room.member" && !watches(set, service, matrix.UserID(key.Key))
	})
	if err != nil {
		return nil, err
	}
	var users []matrix.UserID
	for _, m := range members {
		if m.Membership() == "join" {
			users = append(users, matrix.UserID(*m.StateKey))
		}
	}
	if users, err = s.keys.DeviceKeys.Having(ctx, users); err != nil {
		return nil, err
	}
	list := make([]sender.Change, 0, len(users))
	for _, user := range users {
		kind := sender.DeviceChanged
		if !joined {
			kind = sender.DeviceLeft
		}
		c := deviceChange(kind, user, e.Position)
		c.Room, c.Only = e.RoomID, service.ID
		if !joined {
			if c.Rooms, err = s.elsewhere(ctx, user, e.RoomID); err != nil {
				return nil, err
			}
		}
		list = append(list, c)
	}
	return list, nil
}

// elsewhere is the rooms that a user is in, but for one.
func (s eventStream) elsewhere(ctx context.Context, user matrix.UserID, but matrix.RoomID) ([]matrix.RoomID, error) {
	list, err := s.asides.roomsOf(ctx, s.keys.DeviceLists, user)
	return slices.DeleteFunc(list, func(room matrix.RoomID) bool { return room == but }), err
}
