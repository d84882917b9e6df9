package delayed

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"trestle/homeserver/rooms"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// An Action is what can be done with a scheduled event.
type Action string

// The actions.
const (
	Send    Action = "send"    // now
	Cancel  Action = "cancel"  // never send it
	Restart Action = "restart" // let the delay begin anew
)

// Known reports whether there is such an action.
func (a Action) Known() bool { return a == Send || a == Cancel || a == Restart }

// Act does something with an event; who knows its ID may. To repeat what has
// been done is no error; it is M_UNKNOWN (409) if something else has been done.
// M_NOT_FOUND if there is no such event. What keeps it from being sent is
// answered, and the event stays scheduled.
func (s *Service) Act(ctx context.Context, id string, action Action) error {
	unlock, err := s.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	e, err := s.options.Events.Find(ctx, id)
	if err != nil {
		return err
	}
	if e == nil {
		return unknown()
	}
	if e.FinalisedAt != 0 {
		return late(e, action)
	}
	switch action {
	case Send:
		if s.options.Limiter != nil && !e.Unlimited {
			if err := s.options.Limiter.AllowKey("send", string(e.User)); err != nil {
				return err
			}
		}
		event, err := s.send(ctx, e)
		if err != nil {
			return err
		}
		return s.finalise(ctx, e, event, nil)
	case Cancel:
		return s.finalise(ctx, e, "", nil)
	case Restart:
		return s.restart(ctx, e)
	}
	return matrix.Unrecognized("A delayed event can be sent, cancelled or restarted.")
}

// late is the answer to who acts on an event whose fate is known.
func late(e *Event, action Action) error {
	sent := e.EventID != ""
	if action == Send && sent || action == Cancel && !sent {
		return nil
	}
	what := "cancelled"
	if sent {
		what = "sent"
	}
	return matrix.NewError(409, "M_UNKNOWN", "The event has been %s already.", what)
}

// send sends an event if its user may still send anything. It can be repeated.
func (s *Service) send(ctx context.Context, e *Event) (matrix.EventID, error) {
	if err := s.options.MayAct(ctx, e.User); err != nil {
		return "", err
	}
	return s.options.Rooms.Send(ctx, rooms.SendRequest{
		Room: e.RoomID, Sender: e.User, AppService: e.AppService, Guest: e.Guest, Type: e.Type, StateKey: e.StateKey,
		Content: e.Content, Timestamp: e.Timestamp, TxnKey: rooms.DelayedTxnKey(e.ID),
	})
}

func (s *Service) finalise(ctx context.Context, e *Event, event matrix.EventID, failure json.RawMessage) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		_, err := s.options.Events.Finalise(ctx, tx, e.ID, s.now(), event, failure)
		return err
	})
}

func (s *Service) restart(ctx context.Context, e *Event) error {
	now := s.now()
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		_, err := s.options.Events.Reschedule(ctx, tx, e.ID, now, now+e.Delay)
		return err
	})
}

// due sends an event whose time has come. It was counted when it was scheduled,
// and is not now: nobody would try again for its user. A refusal is final; after
// any other failure, and what passes, it is tried again.
func (s *Service) due(ctx context.Context, id string) error {
	unlock, err := s.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	e, err := s.options.Events.Find(ctx, id) // as it is now that nobody else acts on it
	if err != nil || e == nil || e.FinalisedAt != 0 || e.Since+e.Delay > s.now() {
		return err
	}
	event, err := s.send(ctx, e)
	var refused *matrix.Error
	if errors.As(err, &refused) && refused.Status < http.StatusInternalServerError && refused.Status != http.StatusTooManyRequests {
		failure, err := json.Marshal(refused)
		if err != nil {
			return err
		}
		return s.finalise(ctx, e, "", failure)
	}
	if err != nil {
		return err
	}
	return s.finalise(ctx, e, event, nil)
}
