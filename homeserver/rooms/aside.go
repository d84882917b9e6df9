package rooms

import (
	"context"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// SetAside keeps events that only authorize others or belong to a state, in any order, and judges each by what it says
// authorizes it. Those whose own authorization is not known, not even by this call, are left out and named.
func (s *Service) SetAside(ctx context.Context, id matrix.RoomID, events []*matrix.Event) (left []matrix.EventID, err error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := s.intern(ctx, info, events); err != nil {
		return nil, err
	}
	_, err = s.update(ctx, info.NID, func(d *draft) (err error) {
		_, left, err = d.setAside(events)
		return err
	})
	return left, err
}

// setAside keeps events that are not known beside the stream. kept is all of them by their IDs, also those known before.
func (d *draft) setAside(events []*matrix.Event) (kept map[matrix.EventID]*storage.Event, left []matrix.EventID, err error) {
	ids := make([]matrix.EventID, 0, len(events))
	for _, e := range events {
		ids = append(ids, e.ID)
		ids = append(ids, e.AuthEvents...)
	}
	slices.Sort(ids)
	known, err := d.find(slices.Compact(ids))
	if err != nil {
		return nil, nil, err
	}
	kept = make(map[matrix.EventID]*storage.Event, len(events))
	for _, e := range inOrder(events) {
		if known[e.ID] == nil {
			if !hasAll(known, e.AuthEvents) {
				left = append(left, e.ID)
				continue
			}
			verdict := storage.Outlier
			if err := d.judge(e, known); matrix.Code(err) == "M_FORBIDDEN" {
				verdict = storage.Rejected
			} else if err != nil {
				return nil, nil, err
			}
			nid, err := d.s.store.Events.NewNID(d.ctx)
			if err != nil {
				return nil, nil, err
			}
			known[e.ID] = &storage.Event{Event: e, NID: nid, RoomNID: d.room.info.NID, Verdict: verdict}
			d.keep(known[e.ID], false)
		}
		kept[e.ID] = known[e.ID]
	}
	return kept, left, nil
}

// keep notes an event that is stored beside the stream; known tells that something of it was before.
func (d *draft) keep(e *storage.Event, known bool) {
	d.room.fly(e)
	d.asides = append(d.asides, aside{e, known})
}

// inOrder is events such that each comes after those of them that authorize it.
func inOrder(events []*matrix.Event) []*matrix.Event {
	byID := make(map[matrix.EventID]*matrix.Event, len(events))
	for _, e := range events {
		byID[e.ID] = e
	}
	ordered := make([]*matrix.Event, 0, len(events))
	// What refers to itself by a detour stands somewhere; the references that are not known yet leave it out.
	type visit struct {
		event *matrix.Event
		next  int
	}
	// The create event authorizes all others, even where they do not name it.
	first := slices.IndexFunc(events, func(e *matrix.Event) bool { return e.Is("m.room.create", "") })
	for _, e := range slices.Concat(events[max(first, 0):max(first+1, 0)], events) {
		if byID[e.ID] == nil {
			continue
		}
		delete(byID, e.ID)
		stack := []visit{{event: e}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if top.next == len(top.event.AuthEvents) {
				ordered = append(ordered, top.event)
				stack = stack[:len(stack)-1]
				continue
			}
			auth := byID[top.event.AuthEvents[top.next]]
			top.next++
			if auth != nil {
				delete(byID, auth.ID)
				stack = append(stack, visit{event: auth})
			}
		}
	}
	return ordered
}

func hasAll(known map[matrix.EventID]*storage.Event, ids []matrix.EventID) bool {
	return !slices.ContainsFunc(ids, func(id matrix.EventID) bool { return known[id] == nil })
}
