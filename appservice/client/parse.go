package client

import (
	"context"
	"encoding/json"
	"fmt"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// parse numbers events, and leaves out those that are none.
func (in *Inbox) parse(ctx context.Context, transactionID string, events []json.RawMessage) ([]*Event, error) {
	parsed := make([]*Event, 0, len(events))
	for _, raw := range events {
		if e := in.idle(raw); e != nil {
			parsed = append(parsed, e)
			continue
		}
		e, err := parseEvent(raw)
		if err != nil {
			in.log.Warn("event of the homeserver is malformed, and dropped", "transaction", transactionID, "err", err)
			continue
		}
		if e.Seq, err = in.ids.Next(ctx); err != nil {
			return nil, err
		}
		parsed = append(parsed, e)
	}
	return parsed, nil
}

// idle is an event that nobody has to work off, else nil.
func (in *Inbox) idle(raw json.RawMessage) *Event {
	if in.Idle == nil {
		return nil
	}
	var seen struct {
		Glance
		ID   id.EventID `json:"event_id"`
		Room id.RoomID  `json:"room_id"`
	}
	if json.Unmarshal(raw, &seen) != nil || seen.ID == "" || seen.Type == "" || seen.Sender == "" || !in.Idle(seen.Glance) {
		return nil
	}
	e := &Event{Event: &event.Event{
		ID: seen.ID, RoomID: seen.Room, Sender: id.UserID(seen.Sender), StateKey: seen.StateKey, Type: event.Type{Type: seen.Type},
	}, Raw: raw, idle: true}
	e.Type.Class = classOf(e)
	return e
}

func classOf(e *Event) event.TypeClass {
	if e.StateKey != nil {
		return event.StateEventType
	}
	return event.MessageEventType
}

func parseEvent(raw json.RawMessage) (*Event, error) {
	e := &Event{Event: &event.Event{}, Raw: raw}
	if err := json.Unmarshal(raw, e.Event); err != nil {
		return nil, err
	}
	if e.ID == "" || e.Type.Type == "" || e.Sender == "" {
		return nil, fmt.Errorf("event_id, type or sender is missing")
	}
	e.Type.Class = classOf(e)
	_ = e.Content.ParseRaw(e.Type) // content of the wrong shape stays raw
	return e, nil
}
