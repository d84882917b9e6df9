package homeserver

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/homeserver/encryption"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/registration"
)

// receivers are the services that a user's messages and counts of keys go to:
// the one that owns the user, or else all that watch it, if they want them.
func receivers(set *registration.Set, user matrix.UserID) []*registration.Registration {
	wants := func(r *registration.Registration) bool { return r.DeviceLists || r.WantsEphemeral() }
	if owner := set.UserOwner(user); owner != nil {
		if wants(owner) {
			return []*registration.Registration{owner}
		}
		return nil
	}
	var list []*registration.Registration
	for _, r := range set.UserWatchers(user) {
		if wants(r) {
			list = append(list, r)
		}
	}
	return list
}

// Told reports whether a service is told how many keys a user has left.
func (a *asides) Told(user matrix.UserID) bool {
	return slices.ContainsFunc(receivers(a.registry.Load(), user), wantsDevices)
}

// Owned reports whether a user's messages leave their inboxes by being
// delivered to a service.
func (a *asides) Owned(user matrix.UserID) bool {
	owner := a.registry.Load().UserOwner(user)
	return owner != nil && owner.DeviceLists
}

// Kept reports whether a service may keep a user's keys by itself.
func (a *asides) Kept(user matrix.UserID) bool { return a.sender.KeepsKeys(user) }

// ClaimKeys asks services for one-time keys.
func (a *asides) ClaimKeys(ctx context.Context, wanted map[matrix.UserID]map[matrix.DeviceID][]string) []appservice.KeyAnswer {
	return a.sender.ClaimKeys(ctx, wanted)
}

// QueryKeys asks services for keys of devices.
func (a *asides) QueryKeys(ctx context.Context, wanted map[matrix.UserID][]matrix.DeviceID) []appservice.KeyAnswer {
	return a.sender.QueryKeys(ctx, wanted)
}

// messageSource is the messages to devices of services' users.
type messageSource struct {
	*asides
	table *storage.ToDevice
}

// Changes is the messages in a part of the stream.
func (s messageSource) Changes(ctx context.Context, after, upTo int64, limit int) ([]sender.Change, error) {
	if !s.messages.above(after) {
		return nil, nil
	}
	set, last := s.registry.Load(), after
	page := counted(limit, func(after int64) ([]storage.UserChange, error) {
		last = after
		return s.table.Recipients(ctx, after, upTo, limit)
	})
	return collect(after, limit, page, userChangeAt, func(list []storage.UserChange) (changes []sender.Change, err error) {
		var users []matrix.UserID
		for _, c := range list {
			if !slices.Contains(users, c.User) && len(receivers(set, c.User)) > 0 {
				users = append(users, c.User)
			}
		}
		if len(users) == 0 {
			return nil, nil
		}
		messages, err := s.table.To(ctx, users, last, list[len(list)-1].Position)
		for _, m := range messages {
			c, err := toDeviceChange(m)
			if err != nil {
				return nil, err
			}
			changes = append(changes, c)
		}
		return changes, err
	})
}

func userChangeAt(c storage.UserChange) int64 { return c.Position }

// toDeviceEvent is a message as services are sent it (MSC4203).
type toDeviceEvent struct {
	Type     string          `json:"type"`
	Sender   matrix.UserID   `json:"sender"`
	ToUser   matrix.UserID   `json:"to_user_id"`
	ToDevice matrix.DeviceID `json:"to_device_id"`
	Content  json.RawMessage `json:"content"`
}

func toDeviceChange(m storage.ToDeviceMessage) (sender.Change, error) {
	body, err := json.Marshal(toDeviceEvent{m.Type, m.Sender, m.User, m.Device, m.Content})
	return sender.Change{
		Position: m.Position, Kind: sender.ToDevice, Sender: m.Sender, Target: m.User, Device: m.Device, Size: len(body), Body: text(body),
	}, err
}

// deviceListSource is whose keys have changed (MSC3202).
type deviceListSource struct {
	*asides
	table *storage.DeviceLists
}

// Changes is the users whose keys changed in a part of the stream.
func (s deviceListSource) Changes(ctx context.Context, after, upTo int64, limit int) ([]sender.Change, error) {
	if !s.devices.above(after) || !s.anyone(wantsDevices) {
		return nil, nil
	}
	page := counted(limit, func(after int64) ([]storage.UserChange, error) { return s.table.Stream(ctx, after, upTo, limit) })
	return collect(after, limit, page, userChangeAt, func(list []storage.UserChange) ([]sender.Change, error) {
		changes := make([]sender.Change, len(list))
		for i, c := range list {
			rooms, err := s.roomsOf(ctx, s.table, c.User)
			if err != nil {
				return nil, err
			}
			changes[i] = deviceChange(sender.DeviceChanged, c.User, c.Position)
			changes[i].Rooms = rooms
		}
		return changes, nil
	})
}

func (a *asides) roomsOf(ctx context.Context, table *storage.DeviceLists, user matrix.UserID) ([]matrix.RoomID, error) {
	nids, err := table.JoinedRooms(ctx, a.store.DB.Read(), user)
	if err != nil {
		return nil, err
	}
	return a.roomIDs(ctx, nids)
}

func deviceChange(kind sender.Kind, user matrix.UserID, position int64) sender.Change {
	return sender.Change{Position: position, Kind: kind, Sender: user, Size: len(user), Key: string(user)}
}

// keyCountSource is how many unused keys services' users have (MSC3202).
type keyCountSource struct {
	*asides
	table      *storage.Encryption
	encryption *encryption.Service
}

// keyCountSize is about how long one of the counts is as text.
const keyCountSize = 40

// Changes is the counts that changed in a part of the stream, as they are now.
func (s *keyCountSource) Changes(ctx context.Context, after, upTo int64, limit int) ([]sender.Change, error) {
	if !s.keys.above(after) || !s.anyone(wantsDevices) {
		return nil, nil
	}
	page := counted(limit, func(after int64) ([]storage.UserChange, error) {
		return s.table.KeyChanges.Stream(ctx, after, upTo, limit)
	})
	return collect(after, limit, page, userChangeAt, func(list []storage.UserChange) (changes []sender.Change, err error) {
		for _, c := range list {
			if !s.Told(c.User) {
				continue
			}
			devices, err := s.table.DeviceKeys.OfUsers(ctx, []matrix.UserID{c.User})
			if err != nil {
				return nil, err
			}
			change := deviceChange(sender.KeyCounts, c.User, c.Position)
			change.Keys = map[matrix.DeviceID]sender.UnusedKeys{}
			for _, d := range devices {
				oneTime, fallback, err := s.encryption.Counts(ctx, c.User, d.Device)
				if err != nil {
					return nil, err
				}
				change.Keys[d.Device] = sender.UnusedKeys{OneTime: oneTime, Fallback: fallback}
				change.Size += 2*len(d.Device) + keyCountSize*(len(oneTime)+len(fallback))
			}
			changes = append(changes, change)
		}
		return changes, nil
	})
}

// moves is what a membership event means for device lists: who comes into a
// room, with keys, is to be asked for them; who goes need not be followed any
// more by those who see it nowhere else.
func (s eventStream) moves(ctx context.Context, e *storage.Event) (list []sender.Change, err error) {
	user, joined := matrix.UserID(*e.StateKey), e.Membership() == "join"
	was := ""
	if e.ReplacesNID != 0 {
		before, err := s.store.Events.ByNID(ctx, e.ReplacesNID)
		if err != nil && !errors.Is(err, database.ErrNoRows) { // while a room is deleted
			return nil, err
		}
		if err == nil {
			was = before.Membership()
		}
	}
	if joined == (was == "join") {
		return nil, nil
	}
	if list, err = s.sightings(ctx, e, user, joined); err != nil {
		return nil, err
	}
	if user.Server() == s.server {
		if known, err := s.keys.DeviceKeys.Any(ctx, s.store.DB.Read(), user); err != nil || !known {
			return list, err
		}
	}
	if joined {
		c := deviceChange(sender.DeviceChanged, user, e.Position)
		c.Room = e.RoomID
		return append(list, c), nil
	}
	c := deviceChange(sender.DeviceLeft, user, e.Position)
	c.Room = e.RoomID
	c.Rooms, err = s.elsewhere(ctx, user, e.RoomID)
	return append(list, c), err
}
