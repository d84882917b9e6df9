package accounts

import (
	"bytes"
	"context"
	"encoding/json"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Deleted account data stays as an empty object, so that clients that sync
// learn of it; to everybody else it is not there (MSC3391).
var deletedData = json.RawMessage(`{}`)

// isEmpty reports whether an object has no members.
func isEmpty(object json.RawMessage) bool {
	object = bytes.TrimSpace(object)
	return len(object) >= 2 && object[0] == '{' && len(bytes.TrimSpace(object[1:len(object)-1])) == 0
}

// DeleteAccountData is what a client does that deletes account data: as if it
// set an empty object, but that what is not there is not made.
func (s *Service) DeleteAccountData(ctx context.Context, user matrix.UserID, room matrix.RoomID, dataType string) error {
	if err := checkDataType(dataType); err != nil {
		return err
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		content, err := s.options.Store.Data.Find(ctx, tx, user, room, dataType)
		if err != nil || content == nil || isEmpty(content) {
			return err
		}
		return s.WriteAccountData(ctx, tx, user, Datum{RoomID: room, Type: dataType, Content: deletedData})
	})
}

// silenced are the types of account data that say whether a device is silent,
// but for its ID (MSC3890).
var silenced = []string{"m.local_notification_settings.", "org.matrix.msc3890.local_notification_settings."}

// forgetSettings deletes what the account data says of devices that are gone.
func (s *Service) forgetSettings(ctx context.Context, tx *database.Tx, user matrix.UserID, devices []matrix.DeviceID) error {
	types := make([]string, 0, len(devices)*len(silenced))
	for _, prefix := range silenced {
		for _, device := range devices {
			types = append(types, prefix+string(device))
		}
	}
	found, err := s.options.Store.Data.Which(ctx, tx, user, types)
	if err != nil {
		return err
	}
	for _, dataType := range found {
		if err := s.WriteAccountData(ctx, tx, user, Datum{Type: dataType, Content: deletedData}); err != nil {
			return err
		}
	}
	return nil
}
