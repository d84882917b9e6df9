package accounts

import (
	"context"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Device is one login of a user.
type Device = storage.Device

// maxDevices bounds what one answer lists; users have a handful.
const maxDevices = 10_000

// Devices is the devices of a user, by ID.
func (s *Service) Devices(ctx context.Context, user matrix.UserID) ([]Device, error) {
	return s.options.Store.Devices.List(ctx, s.options.DB.Read(), user, maxDevices)
}

// Device is a device of a user, or M_NOT_FOUND.
func (s *Service) Device(ctx context.Context, user matrix.UserID, id matrix.DeviceID) (*Device, error) {
	device, err := s.options.Store.Devices.Find(ctx, s.options.DB.Read(), user, id)
	if err == nil && device == nil {
		err = noSuchDevice()
	}
	return device, err
}

// PutDevice gives a device a name, if one is given. An application service can
// make devices this way: created tells whether it did.
func (s *Service) PutDevice(ctx context.Context, who Caller, id matrix.DeviceID, name *string) (created bool, err error) {
	text := ""
	if name != nil {
		text = *name
	}
	if err := checkDevice(id, text); err != nil {
		return false, err
	}
	store := s.options.Store.Devices
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		created = false
		found, err := store.Find(ctx, tx, who.UserID, id)
		switch {
		case err != nil:
			return err
		case found == nil && who.AppService == "":
			return noSuchDevice()
		case found == nil:
			created = true
			_, err = store.Insert(ctx, tx, who.UserID, id, text, s.now())
		case name == nil || found.DisplayName == text:
			return nil
		default:
			_, err = store.Rename(ctx, tx, who.UserID, id, text)
		}
		if err != nil {
			return err
		}
		return s.devicesChanged(ctx, tx, who.UserID, nil)
	})
	return created, err
}

// RemoveDevices ends devices and their tokens; those that do not exist do not
// matter. That the caller may do so is for the caller to know.
func (s *Service) RemoveDevices(ctx context.Context, user matrix.UserID, devices []matrix.DeviceID) error {
	return s.removeDevices(ctx, user, devices)
}

func (s *Service) removeDevices(ctx context.Context, user matrix.UserID, devices []matrix.DeviceID) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.deleteDevices(ctx, tx, user, devices)
	})
}

// removeOtherDevices ends all devices of a user but one, or all.
func (s *Service) removeOtherDevices(ctx context.Context, user matrix.UserID, but matrix.DeviceID) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.deleteOtherDevices(ctx, tx, user, but)
	})
}

// deleteOtherDevices ends the login tokens and signs browsers out as well: they
// are devices to be. What application services were let do ends, too.
func (s *Service) deleteOtherDevices(ctx context.Context, tx *database.Tx, user matrix.UserID, but matrix.DeviceID) error {
	if err := s.endBrowsers(ctx, tx, user); err != nil {
		return err
	}
	if err := s.options.Store.Grants.DeleteOfUser(ctx, tx, user); err != nil {
		return err
	}
	tx.OnCommit(func() { s.grants.forget(user) })
	list, err := s.options.Store.Devices.List(ctx, tx, user, maxDevices)
	if err != nil {
		return err
	}
	ids := make([]matrix.DeviceID, 0, len(list))
	for _, device := range list {
		if device.ID != but {
			ids = append(ids, device.ID)
		}
	}
	return s.deleteDevices(ctx, tx, user, ids)
}

func (s *Service) deleteDevices(ctx context.Context, tx *database.Tx, user matrix.UserID, devices []matrix.DeviceID) error {
	if len(devices) == 0 {
		return nil
	}
	tx.OnCommit(func() { s.forget(user) })
	if err := s.options.Store.Tokens.DeleteOfDevices(ctx, tx, user, devices); err != nil {
		return err
	}
	n, err := s.options.Store.Devices.Delete(ctx, tx, user, devices)
	if err != nil || n == 0 {
		return err
	}
	if err := s.forgetSettings(ctx, tx, user, devices); err != nil {
		return err
	}
	return s.devicesChanged(ctx, tx, user, slices.Clone(devices))
}

func noSuchDevice() error { return matrix.NotFound("There is no such device.") }
