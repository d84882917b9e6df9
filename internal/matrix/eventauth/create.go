package eventauth

import (
	"slices"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// checkCreate is the first rule of every room version.
func checkCreate(e *matrix.Event) error {
	if len(e.PrevEvents) > 0 {
		return matrix.Forbidden("m.room.create must be the first event of its room.")
	}
	if err := checkRoomID(e); err != nil {
		return err
	}
	content := members(e.Content)
	if raw, ok := content["room_version"]; ok {
		id, isText := text(raw)
		if _, known := roomversion.Lookup(id); !isText || !known {
			return matrix.Forbidden("The room version %.80s is not known.", raw)
		}
	}
	if _, ok := content["creator"]; !ok && !e.Version.CreatorFromSender {
		return matrix.Forbidden("m.room.create does not name the creator.")
	}
	raw, ok := content["additional_creators"]
	if !ok || !e.Version.PrivilegedCreators {
		return nil
	}
	if _, valid := userIDs(raw); !valid {
		return matrix.Forbidden("The additional_creators of m.room.create must be a list of user IDs.")
	}
	return nil
}

func checkRoomID(e *matrix.Event) error {
	if e.Version.RoomIDFromCreate {
		if _, ok := members(e.JSON())["room_id"]; ok {
			return matrix.Forbidden("m.room.create may not have a room_id: its own ID is that of the room.")
		}
		return nil
	}
	if e.RoomID.Server() != e.Sender.Server() {
		return matrix.Forbidden("The room ID %s must belong to the server of its creator, %s.", e.RoomID, e.Sender)
	}
	return nil
}

// Creators are the creators of a room: from room version 12 on, the sender of
// its create event and the additional creators; before, one user.
func Creators(create *matrix.Event) []matrix.UserID {
	content := members(create.Content)
	if !create.Version.CreatorFromSender {
		creator, _ := text(content["creator"])
		return []matrix.UserID{matrix.UserID(creator)}
	}
	creators := []matrix.UserID{create.Sender}
	if !create.Version.PrivilegedCreators {
		return creators
	}
	additional, _ := userIDs(content["additional_creators"])
	for _, user := range additional {
		if !slices.Contains(creators, user) {
			creators = append(creators, user)
		}
	}
	return creators
}

// userIDs reads a list of user IDs. It is not valid unless each of them is,
// but those that can be read are given in any case.
func userIDs(raw []byte) (users []matrix.UserID, valid bool) {
	items, valid := elements(raw)
	for _, item := range items {
		id, _ := text(item)
		user, err := matrix.ParseUserID(id)
		if err != nil {
			valid = false
			continue
		}
		users = append(users, user)
	}
	return users, valid
}
