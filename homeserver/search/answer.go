package search

import (
	"encoding/json"

	"trestle/homeserver/relations"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// fill puts the results of a page into the answer.
func (q *query) fill(res *Results, hits []hit) error {
	list := make([]relations.Shown, len(hits))
	for i, h := range hits {
		list[i] = relations.Shown{Event: h.event, Membership: h.membership}
	}
	rendered, err := q.Relations.Clients(q.ctx, nil, list, q.req.Reader)
	if err != nil {
		return err
	}
	for i, h := range hits {
		r := Result{Rank: h.score, Result: rendered[i]}
		if around := q.req.Context; around != nil {
			p := q.places[h.event.RoomNID]
			r.Context, err = q.Sync.Around(q.ctx, q.req.Reader, p.access, p.sight, h.event,
				min(around.Before, maxAround), min(around.After, maxAround), around.Profiles)
			if err != nil {
				return err
			}
		}
		res.Results = append(res.Results, r)
	}
	if q.at.Position >= 0 {
		res.Next = q.at.String()
	}
	q.group(res, hits)
	if q.req.State {
		res.State, err = q.state(hits)
	}
	return err
}

// group sorts the results into groups. A group can be continued by itself
// wherever the whole list can.
func (q *query) group(res *Results, hits []hit) {
	for _, key := range q.req.GroupBy {
		groups := map[string]*Group{}
		for _, h := range hits {
			value := h.group(key)
			g := groups[value]
			if g == nil {
				g = &Group{Order: len(groups) + 1}
				groups[value] = g
			}
			g.Results = append(g.Results, h.event.ID)
			if q.at.Position >= 0 {
				next := q.at
				next.Group, next.Value, next.Position, next.Score = key, value, h.event.Position, h.score
				g.Next = next.String()
			}
		}
		if res.Groups == nil {
			res.Groups = map[string]map[string]*Group{}
		}
		res.Groups[key] = groups
	}
}

// state is the current state of the rooms of the results, or that of the moment
// when the user left; with lazy loading only those members who sent results.
func (q *query) state(hits []hit) (map[matrix.RoomID][]json.RawMessage, error) {
	senders := map[int64]map[string]bool{}
	for _, h := range hits {
		if senders[h.event.RoomNID] == nil {
			senders[h.event.RoomNID] = map[string]bool{}
		}
		senders[h.event.RoomNID][string(h.event.Sender)] = true
	}
	all, total := map[matrix.RoomID][]json.RawMessage{}, 0
	for _, h := range hits {
		access := q.places[h.event.RoomNID].access
		if _, done := all[h.event.RoomID]; done || total >= maxState {
			continue
		}
		lazy := q.filter.LazyLoadMembers
		events, err := access.State.Events(q.ctx, func(key storage.StateKey) bool {
			return !lazy || key.Type != "m.room.member" || senders[h.event.RoomNID][key.Key]
		})
		if err != nil {
			return nil, err
		}
		events = events[:min(len(events), maxState-total)]
		total += len(events)
		if all[h.event.RoomID], err = q.Rooms.Clients(q.ctx, events, q.req.Reader); err != nil {
			return nil, err
		}
	}
	return all, nil
}
