package delayed

import (
	"context"
	"encoding/json"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Request is an event that somebody wants to be sent later.
type Request struct {
	Room       matrix.RoomID
	User       matrix.UserID
	AppService string // that acts as the user
	Guest      bool
	Unlimited  bool // exempt from rate limits
	Type       string
	StateKey   *string
	Content    json.RawMessage
	TxnKey     string // as in rooms.SendRequest
	Timestamp  int64  // as in rooms.SendRequest
	Delay      int64  // milliseconds
}

// maxContent bounds an event's content, in bytes: no larger event can be sent.
const maxContent = 64 << 10

// Schedule has an event sent later and returns the ID under which it can be
// acted on. Whether the user may send it is decided when it is sent. Errors:
// M_INVALID_PARAM, M_MAX_DELAY_EXCEEDED with max_delay, M_BAD_JSON,
// M_TOO_LARGE, M_LIMIT_EXCEEDED if the user has too many, M_FORBIDDEN.
func (s *Service) Schedule(ctx context.Context, req Request) (string, error) {
	if err := s.checkDelay(req.Delay); err != nil {
		return "", err
	}
	nid, err := s.room(ctx, req)
	if err != nil {
		return "", err
	}
	events := s.options.Events
	if req.TxnKey != "" {
		if id, err := events.ByTxn(ctx, s.options.DB.Read(), req.User, nid, req.TxnKey); id != "" || err != nil {
			return id, err
		}
	}
	if err := checkContent(req.Content); err != nil {
		return "", err
	}
	e := &Event{
		ID: matrix.RandomString(32), User: req.User, AppService: req.AppService, Guest: req.Guest, Unlimited: req.Unlimited,
		RoomNID: nid, Type: req.Type, StateKey: req.StateKey, Content: req.Content, TxnKey: req.TxnKey, Timestamp: req.Timestamp,
		Delay: req.Delay, Since: s.now(),
	}
	id := e.ID
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if id = e.ID; req.TxnKey != "" {
			earlier, err := events.ByTxn(ctx, tx, req.User, nid, req.TxnKey)
			if err != nil {
				return err
			}
			if earlier != "" {
				id = earlier
				return nil
			}
		}
		n, due, err := events.Count(ctx, tx, req.User)
		if err != nil {
			return err
		}
		if n >= s.options.MaxPerUser {
			return s.tooMany(due)
		}
		return events.Insert(ctx, tx, e)
	})
	if err != nil {
		return "", err
	}
	s.poke()
	return id, nil
}

func (s *Service) checkDelay(delay int64) error {
	longest := s.options.MaxDelay.Milliseconds()
	switch {
	case longest <= 0:
		return matrix.Forbidden("This server sends no events later.")
	case delay <= 0:
		return matrix.InvalidParam("The delay is a number of milliseconds above 0.")
	case delay > longest:
		return matrix.NewError(400, "M_MAX_DELAY_EXCEEDED", "Events are sent at most %v later.", s.options.MaxDelay).With("max_delay", longest)
	}
	return nil
}

// room is the number of the room if the user has a place in it; outsiders do
// not learn whether it exists.
func (s *Service) room(ctx context.Context, req Request) (int64, error) {
	membership, err := s.options.Rooms.Membership(ctx, req.Room, req.User)
	if err != nil {
		return 0, err
	}
	switch membership {
	case "join", "invite", "knock":
	default:
		return 0, matrix.Forbidden("You are not in room %s.", req.Room)
	}
	info, err := s.options.Rooms.Info(ctx, req.Room)
	if err != nil {
		return 0, err
	}
	return info.NID, nil
}

func checkContent(content json.RawMessage) error {
	if len(content) == 0 {
		return matrix.NotJSON("The request has no body; it needs a JSON object.")
	}
	if len(content) > maxContent {
		return matrix.TooLarge("An event has at most %d bytes.", maxContent)
	}
	if _, err := matrix.CanonicalJSON(content); err != nil {
		return matrix.BadJSON("The content is not what Matrix allows: %v.", err)
	}
	return nil
}

func (s *Service) tooMany(due int64) error {
	e := matrix.LimitExceeded(time.Duration(max(due-s.now(), 1)) * time.Millisecond)
	e.Message = "You have too many delayed events; wait until one of them is sent."
	return e
}
