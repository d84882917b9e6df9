package homeserver

import (
	"context"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/registration"
)

// The types here let services that don't know each other work together.

// accountWaker wakes the clients of a user whose account data has changed.
type accountWaker struct{ *Server }

func (w accountWaker) UserChanged(user matrix.UserID, position int64) {
	if w.unread != nil {
		w.unread.UserChanged(user)
	}
	w.notifier.UserChanged(user, notifier.AccountData, position)
}

// roomListeners are all that are told of room events, in this order.
type roomListeners []rooms.Listener

func (l *roomListeners) RoomChanged(c rooms.Change) {
	for _, listener := range *l {
		listener.RoomChanged(c)
	}
}

// follower carries what happens to accounts into rooms and the user directory.
type follower struct {
	accounts *accounts.Service
	rooms    *rooms.Service
	store    *storage.Store
	registry *registration.Registry
}

// ProfileChanged updates the user directory and the user's member events.
func (f follower) ProfileChanged(ctx context.Context, user matrix.UserID, field string) error {
	if field != accounts.DisplayName && field != accounts.AvatarURL {
		return nil
	}
	if err := f.list(ctx, user); err != nil {
		return err
	}
	return f.rooms.ProfileChanged(ctx, user)
}

// list puts a user into the user directory as the profile is now. Those of a service's own
// namespace stand for people elsewhere, who have not asked to be found here.
func (f follower) list(ctx context.Context, user matrix.UserID) error {
	if f.registry.Load().UserOwner(user) != nil {
		return nil
	}
	name, avatar, err := f.accounts.Profile(ctx, user)
	if err != nil {
		return err
	}
	entry := storage.DirectoryUser{UserID: user, DisplayName: name, AvatarURL: avatar}
	return f.store.DB.Update(ctx, func(tx *database.Tx) error { return f.store.Directory.Set(ctx, tx, entry) })
}

// Deactivated takes the user out of all rooms and out of the directory.
func (f follower) Deactivated(ctx context.Context, user matrix.UserID, _ bool) error {
	if err := f.rooms.LeaveAll(ctx, user); err != nil {
		return err
	}
	return f.store.DB.Update(ctx, func(tx *database.Tx) error { return f.store.Directory.Remove(ctx, tx, user) })
}
