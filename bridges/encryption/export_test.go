package encryption

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// FailRemovals has so many units that open a message to a device fail at the very end.
func (s *Service) FailRemovals(n int64) {
	var failed atomic.Int64
	remove := s.remove
	s.remove = func(ctx context.Context, tx *database.Tx, seq int64) error {
		if failed.Add(1) <= n {
			return errors.New("the process has died")
		}
		return remove(ctx, tx, seq)
	}
}

// Device is our device of a user.
func (s *Service) Device(user matrix.UserID) matrix.DeviceID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owned[user]
}

// Parse reads a message to a device.
func Parse(raw json.RawMessage) *event.Event { return parse(raw) }

// A Directory is for tests of what nothing outside can time.
type Directory struct{ d *directory }

// NewDirectory makes an empty one.
func NewDirectory() Directory { return Directory{newDirectory()} }

// Ask begins to ask for a user's devices; what it returns takes the answer.
func (d Directory) Ask(user id.UserID) (answer func(devices map[id.DeviceID]*id.Device)) {
	_, version := d.d.unknown([]id.UserID{user})
	return func(devices map[id.DeviceID]*id.Device) { d.d.learn(user, devices, version) }
}

// Changed takes in a change.
func (d Directory) Changed(user id.UserID) { d.d.changed([]id.UserID{user}) }

// Known tells whether a user's devices are known.
func (d Directory) Known(user id.UserID) bool { return d.d.of(user) != nil }
