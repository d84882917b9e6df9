package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// first is the create event of a room that does not exist. Where the room's ID
// is made of the event, two rooms that somebody makes in one millisecond would
// be one: the later is dated a little later. The room's ID stays in s.making
// until the caller takes it out.
func (c *creation) first(ctx context.Context) (*matrix.Event, error) {
	for at, try := c.now(), 0; ; try++ {
		e, err := c.createEvent(at)
		if err != nil {
			return nil, err
		}
		if _, taken := c.s.making.LoadOrStore(e.RoomID, true); !taken {
			_, err := c.s.store.Rooms.Info(ctx, e.RoomID)
			if errors.Is(err, database.ErrNoRows) {
				return e, nil
			}
			c.s.making.Delete(e.RoomID)
			if err != nil {
				return nil, err
			}
		}
		at += 1 + rand.Int64N(1<<min(try, 20))
	}
}

// createEvent is the first event, which no rule but its own form binds.
func (c *creation) createEvent(at int64) (*matrix.Event, error) {
	more := map[string]any{"room_version": c.version.ID}
	if !c.version.CreatorFromSender {
		more["creator"] = c.req.Creator
	}
	content := map[string]json.RawMessage{}
	for key, value := range c.req.CreationContent {
		if key != "creator" && key != "room_version" {
			content[key] = value
		}
	}
	if c.version.PrivilegedCreators && c.preset.trusted {
		creators, err := additionalCreators(content["additional_creators"], c.req.Invite, c.req.Creator)
		if err != nil {
			return nil, err
		}
		if len(creators) > 0 {
			more["additional_creators"] = creators
		}
	}
	raw, err := merge(content, more)
	if err != nil {
		return nil, err
	}
	template := matrix.EventTemplate{
		Sender: c.req.Creator, Type: "m.room.create", StateKey: new(string), Content: raw,
		OriginServerTS: at, Depth: 1,
	}
	if !c.version.RoomIDFromCreate {
		template.RoomID = matrix.RoomID("!" + matrix.RandomString(18) + ":" + string(c.s.ServerName))
	}
	e, err := template.Build(c.version, c.s.ServerName, c.s.Key)
	if err != nil {
		return nil, err
	}
	if err := allowedCreate(e); err != nil {
		return nil, matrix.NewError(400, "M_INVALID_ROOM_STATE", "creation_content: %v", err)
	}
	return e, nil
}

// additionalCreators adds the invited users of a trusted room to those whom
// the request names.
func additionalCreators(named json.RawMessage, invited []matrix.UserID, creator matrix.UserID) ([]matrix.UserID, error) {
	var creators []matrix.UserID
	if named != nil {
		if err := json.Unmarshal(named, &creators); err != nil {
			return nil, matrix.InvalidParam("additional_creators has to be a list of user IDs.")
		}
	}
	for _, user := range invited {
		if user != creator && !slices.Contains(creators, user) {
			creators = append(creators, user)
		}
	}
	return creators, nil
}

func (c *creation) now() int64 {
	if c.req.Timestamp != 0 {
		return c.req.Timestamp
	}
	return c.s.Now().UnixMilli()
}
