// Package encryption keeps what clients need to encrypt for each other: the
// keys of devices and users, messages from device to device, and backups of
// room keys. It passes all of that on and checks no more of it than it must;
// secrets never come here.
package encryption

import (
	"context"
	"time"

	"trestle/appservice"
	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Notifier is told of committed changes; it must not call back.
type Notifier interface {
	UserChanged(user matrix.UserID, kind notifier.Kind, position int64)
	MatesChanged(user matrix.UserID, rooms []int64, kind notifier.Kind, position int64)
}

// AppServices are the application services some of whose users have devices.
type AppServices interface {
	// Told reports whether one of them is told how many keys a user has left.
	Told(user matrix.UserID) bool
	// Owned reports whether a user's messages leave their inboxes by being
	// delivered to one of them.
	Owned(user matrix.UserID) bool
	// Kept reports whether one of them may keep the user's keys by itself: then
	// it is asked for them.
	Kept(user matrix.UserID) bool
	ClaimKeys(ctx context.Context, wanted map[matrix.UserID]map[matrix.DeviceID][]string) []appservice.KeyAnswer
	QueryKeys(ctx context.Context, wanted map[matrix.UserID][]matrix.DeviceID) []appservice.KeyAnswer
}

// Options are what a [Service] works with. All but the last two are needed.
type Options struct {
	ServerName  matrix.ServerName
	Store       *storage.Store
	Keys        *storage.Encryption
	Notifier    Notifier
	AppServices AppServices // nil: there are none
	Now         func() time.Time
}

// A Service is safe for concurrent use.
type Service struct {
	options Options
	store   *storage.Store
	keys    *storage.Encryption
	counts  *memo[keyCounts]
	queues  *memo[int64] // position of the oldest message to a device; 0 is none
}

// New makes a Service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.AppServices == nil {
		o.AppServices = noAppServices{}
	}
	return &Service{options: o, store: o.Store, keys: o.Keys, counts: newMemo[keyCounts](), queues: newMemo[int64]()}
}

type noAppServices struct{}

func (noAppServices) Told(matrix.UserID) bool  { return false }
func (noAppServices) Owned(matrix.UserID) bool { return false }
func (noAppServices) Kept(matrix.UserID) bool  { return false }

func (noAppServices) ClaimKeys(context.Context, map[matrix.UserID]map[matrix.DeviceID][]string) []appservice.KeyAnswer {
	return nil
}

func (noAppServices) QueryKeys(context.Context, map[matrix.UserID][]matrix.DeviceID) []appservice.KeyAnswer {
	return nil
}

func (s *Service) local(user matrix.UserID) bool { return user.Server() == s.options.ServerName }

// DeviceListChanged takes in that devices of a local user came, went (removed)
// or changed their names, as part of the transaction that does it: so accounts
// calls it. What a device that went leaves behind is deleted.
func (s *Service) DeviceListChanged(ctx context.Context, tx *database.Tx, user matrix.UserID, removed []matrix.DeviceID) error {
	if len(removed) == 0 {
		// A device without keys is in nobody's list, whatever its name.
		known, err := s.keys.DeviceKeys.Any(ctx, tx, user)
		if err != nil || !known {
			return err
		}
		return s.listChanged(ctx, tx, user, "")
	}
	if err := s.keys.ToDevice.Delete(ctx, tx, user, removed); err != nil {
		return err
	}
	if err := s.keys.OneTimeKeys.Delete(ctx, tx, user, removed); err != nil {
		return err
	}
	if err := s.keys.Dehydrated.Delete(ctx, tx, user, removed); err != nil {
		return err
	}
	tx.OnCommit(func() {
		s.counts.forget(user)
		s.queues.forget(user)
	})
	had, err := s.keys.DeviceKeys.Delete(ctx, tx, user, removed)
	if err != nil || had == 0 {
		return err
	}
	if err := s.keys.CrossSigning.DeleteSignatures(ctx, tx, user, texts(removed)); err != nil {
		return err
	}
	return s.listChanged(ctx, tx, user, "")
}

// Deactivated removes what is left of a local user whose account is gone; its
// devices went before.
func (s *Service) Deactivated(ctx context.Context, user matrix.UserID, _ bool) error {
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		had, err := s.crossSigningKeys(ctx, tx, user)
		if err != nil {
			return err
		}
		if err := s.keys.Backups.DeleteAll(ctx, tx, user); err != nil {
			return err
		}
		if had[0] == nil {
			return nil
		}
		if err := s.keys.CrossSigning.DeleteAll(ctx, tx, user); err != nil {
			return err
		}
		return s.listChanged(ctx, tx, user, "")
	})
}

// listChanged notes that a user's keys have changed, for everybody who shares
// a room with it or, with an observer, for that one alone.
func (s *Service) listChanged(ctx context.Context, tx *database.Tx, user, observer matrix.UserID) error {
	position, err := tx.Position(ctx)
	if err != nil {
		return err
	}
	if err := s.keys.DeviceLists.Change(ctx, tx, user, observer, position); err != nil {
		return err
	}
	if observer != "" {
		tx.OnCommit(func() { s.options.Notifier.UserChanged(observer, notifier.DeviceList, position) })
		return nil
	}
	rooms, err := s.keys.DeviceLists.JoinedRooms(ctx, tx, user)
	if err != nil {
		return err
	}
	tx.OnCommit(func() { s.options.Notifier.MatesChanged(user, rooms, notifier.DeviceList, position) })
	return nil
}

func texts[T ~string](list []T) []string {
	plain := make([]string, len(list))
	for i, s := range list {
		plain[i] = string(s)
	}
	return plain
}
