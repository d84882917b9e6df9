package encryption

import (
	"context"
	"encoding/json"
	"math"
	"strconv"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// maxDehydratedSize bounds what a client keeps of a dehydrated device, in bytes.
const maxDehydratedSize = 64 << 10

// A Dehydrated is a device that the server keeps, encrypted by its user, and
// that gets messages while the user is logged in nowhere (MSC3814).
type Dehydrated struct {
	ID   matrix.DeviceID
	Name string
	Data json.RawMessage // an object with an algorithm; the rest is the client's
	Keys *Upload
}

func (d *Dehydrated) check() error {
	if d.ID == "" || !isName(string(d.ID)) || d.ID == "*" {
		return matrix.InvalidParam("%.80q is no device ID.", d.ID)
	}
	if len(d.Name) > matrix.MaxIDLength {
		return matrix.InvalidParam("A device's name has at most %d bytes.", matrix.MaxIDLength)
	}
	if len(d.Data) > maxDehydratedSize {
		return matrix.TooLarge("device_data has more than %d bytes.", maxDehydratedSize)
	}
	var data struct {
		Algorithm *string `json:"algorithm"`
	}
	if json.Unmarshal(d.Data, &data) != nil || data.Algorithm == nil {
		return matrix.BadJSON("device_data must be an object with an algorithm.")
	}
	if d.Keys.DeviceKeys == nil {
		return matrix.MissingParam("device_keys is missing.")
	}
	return nil
}

// Dehydrate keeps a device of a local user in the place of the one that was
// kept before. M_INVALID_PARAM if somebody is logged in as that device.
func (s *Service) Dehydrate(ctx context.Context, user matrix.UserID, d Dehydrated) error {
	if err := d.check(); err != nil {
		return err
	}
	if d.Keys.owner.User != user || d.Keys.owner.Device != d.ID {
		return matrix.InvalidParam("device_keys must be those of %s of %s.", d.ID, user)
	}
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		if _, err := s.rehydrated(ctx, tx, user); err != nil {
			return err
		}
		made, err := s.keys.Dehydrated.InsertDevice(ctx, tx, user, d.ID, d.Name, s.options.Now().UnixMilli())
		if err != nil {
			return err
		}
		if !made {
			return matrix.InvalidParam("You are logged in as device %s.", d.ID)
		}
		plan, err := s.planUpload(ctx, tx, user, d.ID, d.Keys)
		if err != nil {
			return err
		}
		if err := s.writeUpload(ctx, tx, user, d.ID, plan); err != nil {
			return err
		}
		return s.keys.Dehydrated.Set(ctx, tx, user, d.ID, d.Data)
	})
}

// rehydrated removes the kept device with all that it has left, and says which
// it was; empty if there was none.
func (s *Service) rehydrated(ctx context.Context, tx *database.Tx, user matrix.UserID) (matrix.DeviceID, error) {
	device, _, err := s.keys.Dehydrated.Find(ctx, tx, user)
	if err != nil || device == "" {
		return "", err
	}
	if err := s.keys.Dehydrated.DeleteDevice(ctx, tx, user, device); err != nil {
		return "", err
	}
	return device, s.DeviceListChanged(ctx, tx, user, []matrix.DeviceID{device})
}

// DehydratedDevice is the device that is kept for a user, or M_NOT_FOUND.
func (s *Service) DehydratedDevice(ctx context.Context, user matrix.UserID) (matrix.DeviceID, json.RawMessage, error) {
	device, data, err := s.keys.Dehydrated.Find(ctx, s.store.DB.Read(), user)
	if err == nil && device == "" {
		err = noDehydrated()
	}
	return device, data, err
}

func noDehydrated() error { return matrix.NotFound("No dehydrated device is kept for you.") }

// DropDehydrated removes the device that is kept for a user, or M_NOT_FOUND.
func (s *Service) DropDehydrated(ctx context.Context, user matrix.UserID) (device matrix.DeviceID, err error) {
	err = s.store.DB.Update(ctx, func(tx *database.Tx) error {
		var err error
		if device, err = s.rehydrated(ctx, tx, user); err == nil && device == "" {
			err = noDehydrated()
		}
		return err
	})
	return device, err
}

// DehydratedEvents is a page of the messages to the device that is kept for a
// user, oldest first, and where the next one begins. They stay until the
// device goes: whoever reads them may fail halfway. M_FORBIDDEN if it is
// another device.
func (s *Service) DehydratedEvents(ctx context.Context, user matrix.UserID, device matrix.DeviceID, from string) (events []json.RawMessage, next string, err error) {
	kept, _, err := s.keys.Dehydrated.Find(ctx, s.store.DB.Read(), user)
	if err != nil {
		return nil, "", err
	}
	if kept == "" || kept != device {
		return nil, "", matrix.Forbidden("%.80q is not the dehydrated device that is kept for you.", device)
	}
	since := int64(0)
	if from != "" {
		if since, err = strconv.ParseInt(from, 10, 64); err != nil || since < 0 {
			return nil, "", matrix.InvalidParam("next_batch is no token of this server.")
		}
	}
	list, err := s.keys.ToDevice.Pending(ctx, user, device, since, math.MaxInt64, messagesAtOnce)
	if err != nil {
		return nil, "", err
	}
	events = []json.RawMessage{}
	for _, m := range list {
		event, err := json.Marshal(toDeviceEvent{m.Content, m.Sender, m.Type})
		if err != nil {
			return nil, "", err
		}
		events, since = append(events, event), m.Position
	}
	return events, strconv.FormatInt(since, 10), nil
}
