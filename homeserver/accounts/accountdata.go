package accounts

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// The types of account data that the server has a hand in.
const (
	pushRulesType = "m.push_rules"
	fullyReadType = "m.fully_read"
	tagType       = "m.tag"
)

// A Datum is one piece of account data.
type Datum struct {
	RoomID  matrix.RoomID // empty: for the whole account
	Type    string
	Content json.RawMessage
}

// AccountData is a piece of account data, or M_NOT_FOUND. The room is empty
// for data of the whole account.
func (s *Service) AccountData(ctx context.Context, user matrix.UserID, room matrix.RoomID, dataType string) (json.RawMessage, error) {
	if dataType == pushRulesType && room == "" {
		rules, err := s.pushRules(ctx, user)
		if err != nil {
			return nil, err
		}
		return rules.content, nil
	}
	content, err := s.options.Store.Data.Find(ctx, s.options.DB.Read(), user, room, dataType)
	if err == nil && (content == nil || isEmpty(content)) {
		err = matrix.NotFound("There is no account data of this type.")
	}
	return content, err
}

// PutAccountData is what a client does that sets account data: 405 for types
// that only the server sets (Client-Server API § Client Config).
func (s *Service) PutAccountData(ctx context.Context, user matrix.UserID, d Datum) error {
	if err := checkDataType(d.Type); err != nil {
		return err
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.roomForData(ctx, tx, user, d); err != nil {
			return err
		}
		return s.WriteAccountData(ctx, tx, user, d)
	})
}

// roomForData is M_TOO_LARGE for what would be one piece too many.
func (s *Service) roomForData(ctx context.Context, tx *database.Tx, user matrix.UserID, d Datum) error {
	store := s.options.Store.Data
	found, err := store.Find(ctx, tx, user, d.RoomID, d.Type)
	if err != nil || found != nil {
		return err
	}
	n, err := store.Count(ctx, tx, user)
	if err == nil && n >= int64(s.options.MaxAccountData) {
		err = matrix.TooLarge("You have %d pieces of account data; there is no room for more.", n)
	}
	return err
}

func checkDataType(dataType string) error {
	if dataType == pushRulesType || dataType == fullyReadType {
		return matrix.NewError(http.StatusMethodNotAllowed, "M_BAD_JSON", "%s cannot be set as account data; it has an endpoint of its own.", dataType)
	}
	if len(dataType) > matrix.MaxIDLength {
		return matrix.InvalidParam("A type has at most %d bytes.", matrix.MaxIDLength)
	}
	return nil
}

// SetAccountData sets account data of any type, such as m.fully_read.
func (s *Service) SetAccountData(ctx context.Context, user matrix.UserID, d Datum) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.WriteAccountData(ctx, tx, user, d)
	})
}

// WriteAccountData sets account data as a part of a transaction.
func (s *Service) WriteAccountData(ctx context.Context, tx *database.Tx, user matrix.UserID, d Datum) error {
	position, err := tx.Position(ctx)
	if err != nil {
		return err
	}
	s.changed(tx, user, position)
	return s.options.Store.Data.Set(ctx, tx, user, storage.AccountDatum{RoomID: d.RoomID, Type: d.Type, Content: d.Content, Position: position})
}

// AccountDataSince is the whole account's data that changed after a position,
// up to another, as events for /sync. From 0 on it has all of it, push rules
// included, which everybody has.
func (s *Service) AccountDataSince(ctx context.Context, user matrix.UserID, since, upTo int64) ([]json.RawMessage, error) {
	stored, err := s.options.Store.Data.GlobalSince(ctx, user, since, upTo)
	if err != nil {
		return nil, err
	}
	list := make([]json.RawMessage, 0, len(stored)+1)
	rulesToo := since == 0
	for _, d := range stored {
		if since == 0 && isEmpty(d.Content) && !d.Rules {
			continue
		}
		if d.Rules {
			rulesToo = false
			if d.Content, err = s.rulesOf(user, d.Content, d.Position); err != nil {
				return nil, err
			}
		}
		list = append(list, dataEvent(d.Type, d.Content))
	}
	if rulesToo {
		rules, err := s.pushRules(ctx, user)
		if err != nil {
			return nil, err
		}
		list = append(list, dataEvent(pushRulesType, rules.content))
	}
	return list, nil
}

// RoomAccountDataSince is the same of the data for rooms, by room.
func (s *Service) RoomAccountDataSince(ctx context.Context, user matrix.UserID, since, upTo int64) (map[matrix.RoomID][]json.RawMessage, error) {
	stored, err := s.options.Store.Data.RoomsSince(ctx, user, since, upTo)
	if err != nil {
		return nil, err
	}
	return byRoom(stored, since != 0), nil
}

// RoomAccountDataOf is all data for some rooms, by room.
func (s *Service) RoomAccountDataOf(ctx context.Context, user matrix.UserID, rooms []matrix.RoomID, upTo int64) (map[matrix.RoomID][]json.RawMessage, error) {
	ids := make([]string, len(rooms))
	for i, id := range rooms {
		ids[i] = string(id)
	}
	stored, err := s.options.Store.Data.OfRooms(ctx, user, ids, upTo)
	if err != nil {
		return nil, err
	}
	return byRoom(stored, false), nil
}

// byRoom sorts data by room. What was deleted is told to those alone who may
// have it.
func byRoom(stored []storage.AccountDatum, deleted bool) map[matrix.RoomID][]json.RawMessage {
	rooms := map[matrix.RoomID][]json.RawMessage{}
	for _, d := range stored {
		if !deleted && isEmpty(d.Content) {
			continue
		}
		rooms[d.RoomID] = append(rooms[d.RoomID], dataEvent(d.Type, d.Content))
	}
	return rooms
}

// dataEvent is account data as clients see it in /sync.
func dataEvent(dataType string, content []byte) json.RawMessage {
	name, err := json.Marshal(dataType)
	if err != nil {
		panic(err) // a string always marshals
	}
	event := make([]byte, 0, len(name)+len(content)+24)
	event = append(append(event, `{"content":`...), content...)
	event = append(append(event, `,"type":`...), name...)
	return append(event, '}')
}

const (
	maxTag  = 255 // bytes of a name
	maxTags = 1000
)

// Tags are the tags that a user has given a room, by name.
func (s *Service) Tags(ctx context.Context, user matrix.UserID, room matrix.RoomID) (map[string]json.RawMessage, error) {
	tags, err := s.readTags(ctx, s.options.DB.Read(), user, room)
	return tags.Tags, err
}

// tagContent is the content of m.tag.
type tagContent struct {
	Tags map[string]json.RawMessage `json:"tags"`
}

func (s *Service) readTags(ctx context.Context, q database.Querier, user matrix.UserID, room matrix.RoomID) (tagContent, error) {
	content, err := s.options.Store.Data.Find(ctx, q, user, room, tagType)
	var tags tagContent
	if err == nil && content != nil {
		// Clients can set m.tag as any other account data; what is no list of
		// tags is none.
		if json.Unmarshal(content, &tags) != nil {
			tags.Tags = nil
		}
	}
	if tags.Tags == nil {
		tags.Tags = map[string]json.RawMessage{}
	}
	return tags, err
}

// SetTag gives a room a tag. The value is an object, whose order, if there is
// one, is a number from 0 to 1.
func (s *Service) SetTag(ctx context.Context, user matrix.UserID, room matrix.RoomID, tag string, value json.RawMessage) error {
	if len(tag) > maxTag {
		return matrix.InvalidParam("The name of a tag has at most %d bytes.", maxTag)
	}
	var order struct {
		Order *float64 `json:"order"`
	}
	if err := json.Unmarshal(value, &order); err != nil {
		return matrix.BadJSON("order must be a number.")
	}
	if order.Order != nil && (*order.Order < 0 || *order.Order > 1) {
		return matrix.InvalidParam("order must be from 0 to 1.")
	}
	return s.changeTags(ctx, user, room, func(tags map[string]json.RawMessage) bool {
		tags[tag] = value
		return true
	})
}

// DeleteTag takes a tag off a room, if it has it.
func (s *Service) DeleteTag(ctx context.Context, user matrix.UserID, room matrix.RoomID, tag string) error {
	return s.changeTags(ctx, user, room, func(tags map[string]json.RawMessage) bool {
		_, had := tags[tag]
		delete(tags, tag)
		return had
	})
}

func (s *Service) changeTags(ctx context.Context, user matrix.UserID, room matrix.RoomID, change func(map[string]json.RawMessage) bool) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tags, err := s.readTags(ctx, tx, user, room)
		if err != nil || !change(tags.Tags) {
			return err
		}
		if err := s.roomForData(ctx, tx, user, Datum{RoomID: room, Type: tagType}); err != nil {
			return err
		}
		if len(tags.Tags) > maxTags {
			return matrix.TooLarge("A room has at most %d tags.", maxTags)
		}
		content, err := json.Marshal(tags)
		if err != nil {
			return err
		}
		return s.WriteAccountData(ctx, tx, user, Datum{RoomID: room, Type: tagType, Content: content})
	})
}
