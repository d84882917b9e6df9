package syncer

import (
	"context"
	"encoding/json"

	"trestle/homeserver/accounts"
	"trestle/homeserver/relations"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// render puts events into the client format, with their children summed up and
// without the fields that are not asked for. ahead may be nil.
func (s *Service) render(ctx context.Context, ahead *Ahead, events []shown, reader rooms.Reader, fields *accounts.Fields) ([]json.RawMessage, error) {
	list := make([]relations.Shown, len(events))
	for i, e := range events {
		list[i] = relations.Shown{Event: e.event, Membership: e.membership}
	}
	rendered, err := s.Relations.Clients(ctx, ahead.parentsOf(), list, reader)
	if err != nil || fields == nil {
		return rendered, err
	}
	for i, raw := range rendered {
		if rendered[i], err = fields.Pick(raw); err != nil {
			return nil, err
		}
	}
	return rendered, nil
}

// related is those events that pass the part of a filter about events that
// relate to them; nil if it has no such part.
func (s *Service) related(ctx context.Context, f *accounts.RoomEventFilter, room int64, events []*storage.Event) (map[matrix.EventID]bool, error) {
	if !f.Relational() {
		return nil, nil
	}
	return s.Relations.Related(ctx, room, events, f.RelatedByRelTypes, f.RelatedBySenders)
}
