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
		if alone, err := s.alone(ctx, state, set, service, user); err != nil {
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

// alone reports whether a service has no other user in a room. Its own is asked
// about first: bridges have it wherever they are.
func (s eventStream) alone(ctx context.Context, state *rooms.Snapshot, set *registration.Set, service *registration.Registration, user matrix.UserID) (bool, error) {
	own := service.Sender(s.server)
	if own != user {
		if m, err := state.Membership(ctx, own); err != nil || m == "join" {
			return false, err
		}
	}
	others, err := state.Events(ctx, func(key storage.StateKey) bool {
		return key.Type == "m.room.member" && key.Key != string(user) && watches(set, service, matrix.UserID(key.Key))
	})
	return !slices.ContainsFunc(others, func(m *storage.Event) bool { return m.Membership() == "join" }), err
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
