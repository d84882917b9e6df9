package relations

import (
	"context"
	"encoding/json"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	// maxReferences bounds the events that are listed as references to one.
	maxReferences = 100
	// maxTries bounds how many children are looked at to find one that the
	// reader may see.
	maxTries = 10
)

// A Bundle is what unsigned says of events' children: m.relations, by the
// number of the parent (Client-Server API § Aggregations of child events).
type Bundle map[int64]json.RawMessage

// Bundle sums up the children of events as a reader may see them.
func (s *Service) Bundle(ctx context.Context, reader rooms.Reader, events []*storage.Event) (Bundle, error) {
	return s.bundle(ctx, reader, s.recent.possible(events), true)
}

func (s *Service) bundle(ctx context.Context, reader rooms.Reader, events []*storage.Event, threads bool) (Bundle, error) {
	if len(events) == 0 {
		return nil, nil
	}
	byRoom := map[int64][]*storage.Event{}
	for _, e := range events {
		byRoom[e.RoomNID] = append(byRoom[e.RoomNID], e)
	}
	all := Bundle{}
	for nid, parents := range byRoom {
		r := &room{Service: s, ctx: ctx, reader: reader, nid: nid, parents: map[matrix.EventID]*storage.Event{}, parts: map[int64]aggregations{}}
		for _, e := range parents {
			r.parents[e.ID] = e
		}
		if err := r.fill(threads); err != nil {
			return nil, err
		}
		for parent, parts := range r.parts {
			raw, err := json.Marshal(parts)
			if err != nil {
				return nil, err
			}
			all[parent] = raw
		}
	}
	return all, nil
}

// aggregations is m.relations of one event, by relation type.
type aggregations map[string]any

type threadSummary struct {
	Latest       json.RawMessage `json:"latest_event"`
	Count        int64           `json:"count"`
	Participated bool            `json:"current_user_participated"`
}

type reference struct {
	EventID matrix.EventID `json:"event_id"`
}

type references struct {
	Chunk []reference `json:"chunk"`
}

// A room is the parents in one room while their children are summed up.
type room struct {
	*Service
	ctx     context.Context
	reader  rooms.Reader
	nid     int64
	parents map[matrix.EventID]*storage.Event
	without []int64 // who is ignored
	sight   *rooms.Sight
	parts   map[int64]aggregations
}

func (r *room) fill(threads bool) error {
	ids := make([]matrix.EventID, 0, len(r.parents))
	for id := range r.parents {
		ids = append(ids, id)
	}
	// Whom the reader ignores is asked only once there is something to see.
	tallies, err := r.tallies(ids)
	if err != nil || len(tallies) == 0 {
		return err
	}
	if err := r.look(); err != nil {
		return err
	}
	if len(r.without) > 0 {
		if tallies, err = r.tallies(ids); err != nil {
			return err
		}
	}
	wanted := map[string][]matrix.EventID{}
	counts := map[matrix.EventID]storage.Tally{}
	for _, t := range tallies {
		// Of a redacted event no edit is told.
		if t.Type == "m.replace" && r.parents[t.Parent].RedactedBy != 0 {
			continue
		}
		if t.Type == "m.thread" {
			counts[t.Parent] = t
		}
		wanted[t.Type] = append(wanted[t.Type], t.Parent)
	}
	if err := r.edits(wanted["m.replace"]); err != nil {
		return err
	}
	if err := r.references(wanted["m.reference"]); err != nil {
		return err
	}
	if !threads {
		return nil
	}
	return r.threads(wanted["m.thread"], counts)
}

func (r *room) tallies(ids []matrix.EventID) ([]storage.Tally, error) {
	own, err := r.Store.Users.Lookup(r.ctx, []string{string(r.reader.User)})
	if err != nil {
		return nil, err
	}
	return r.Store.Relations.Tallies(r.ctx, r.nid, ids, own[string(r.reader.User)], r.without)
}

// look finds out what the reader sees, and whom the reader does not want to see.
func (r *room) look() error {
	info, err := r.Store.Rooms.InfoOf(r.ctx, r.nid)
	if err != nil {
		return err
	}
	if r.sight, err = r.Rooms.Sight(r.ctx, info, r.reader.User); err != nil {
		return err
	}
	ignored, err := r.Ignored(r.ctx, r.reader.User)
	if err != nil || len(ignored) == 0 {
		return err
	}
	r.without, err = r.numbers(r.ctx, ignored)
	return err
}

func (r *room) put(parent *storage.Event, relType string, part any) {
	if r.parts[parent.NID] == nil {
		r.parts[parent.NID] = aggregations{}
	}
	r.parts[parent.NID][relType] = part
}

// visible is the children by their parents, in their order, without what the
// reader may not see.
func (r *room) visible(children []storage.Child) (map[matrix.EventID][]Shown, error) {
	nids := make([]int64, len(children))
	for i, c := range children {
		nids[i] = c.NID
	}
	events, err := r.Store.Events.ByNIDs(r.ctx, nids)
	if err != nil {
		return nil, err
	}
	byParent := map[matrix.EventID][]Shown{}
	for i, e := range events {
		visible, membership, err := r.sight.Of(r.ctx, e)
		if err != nil {
			return nil, err
		}
		if visible && e.RedactedBy == 0 {
			byParent[children[i].Parent] = append(byParent[children[i].Parent], Shown{e, membership})
		}
	}
	return byParent, nil
}

func (r *room) edits(parents []matrix.EventID) error {
	if len(parents) == 0 {
		return nil
	}
	children, err := r.Store.Relations.Edits(r.ctx, r.nid, parents, maxTries)
	if err != nil {
		return err
	}
	edits, err := r.visible(children)
	if err != nil {
		return err
	}
	for id, list := range edits {
		parent := r.parents[id]
		if relation := parent.Relation(); relation != nil && relation.Type == "m.replace" {
			continue // nobody edits an edit
		}
		raw, err := r.Rooms.Client(r.ctx, list[0].Event, r.reader, list[0].Membership)
		if err != nil {
			return err
		}
		r.put(parent, "m.replace", raw)
	}
	return nil
}

func (r *room) references(parents []matrix.EventID) error {
	if len(parents) == 0 {
		return nil
	}
	children, err := r.Store.Relations.Newest(r.ctx, r.nid, parents, "m.reference", r.without, maxReferences)
	if err != nil {
		return err
	}
	byParent, err := r.visible(children)
	if err != nil {
		return err
	}
	for id, list := range byParent {
		chunk := make([]reference, len(list))
		for i, e := range list {
			chunk[len(list)-1-i].EventID = e.Event.ID // the oldest first
		}
		r.put(r.parents[id], "m.reference", references{chunk})
	}
	return nil
}

func (r *room) threads(parents []matrix.EventID, counts map[matrix.EventID]storage.Tally) error {
	if len(parents) == 0 {
		return nil
	}
	children, err := r.Store.Relations.Newest(r.ctx, r.nid, parents, "m.thread", r.without, maxTries)
	if err != nil {
		return err
	}
	byParent, err := r.visible(children)
	if err != nil {
		return err
	}
	var newest []*storage.Event
	for _, list := range byParent {
		newest = append(newest, list[0].Event)
	}
	// What is in a thread is no root of one: this goes one step deep.
	bundle, err := r.bundle(r.ctx, r.reader, r.recent.possible(newest), false)
	if err != nil {
		return err
	}
	for id, list := range byParent {
		parent := r.parents[id]
		latest, err := r.client(r.ctx, list[0].Event, r.reader, list[0].Membership, bundle)
		if err != nil {
			return err
		}
		count := counts[id]
		r.put(parent, "m.thread", threadSummary{latest, count.Count, count.Mine || parent.Sender == r.reader.User})
	}
	return nil
}

// client is an event in the client format with what the bundle has of it.
func (s *Service) client(ctx context.Context, e *storage.Event, reader rooms.Reader, membership string, bundle Bundle) (json.RawMessage, error) {
	var unsigned map[string]json.RawMessage
	if relations := bundle[e.NID]; relations != nil {
		unsigned = map[string]json.RawMessage{"m.relations": relations}
	}
	return s.Rooms.ClientWith(ctx, e, reader, membership, unsigned)
}

// Client is one event in the client format, with its children summed up.
func (s *Service) Client(ctx context.Context, e *storage.Event, reader rooms.Reader, membership string) (json.RawMessage, error) {
	bundle, err := s.Bundle(ctx, reader, []*storage.Event{e})
	if err != nil {
		return nil, err
	}
	return s.client(ctx, e, reader, membership, bundle)
}

// A Shown event is one that the reader may see, with the membership at it.
type Shown struct {
	Event      *storage.Event
	Membership string
}

// Parents is which events have children, as far as that was asked.
type Parents struct {
	asked map[int64]bool // by number
	found map[matrix.EventID]bool
}

// Parents asks which of the events of many rooms have children, so that nobody
// has to ask in each room.
func (s *Service) Parents(ctx context.Context, events []*storage.Event) (*Parents, error) {
	p := &Parents{asked: make(map[int64]bool, len(events))}
	for _, e := range events {
		p.asked[e.NID] = true
	}
	var ids []matrix.EventID
	for _, e := range s.recent.possible(events) {
		ids = append(ids, e.ID)
	}
	if len(ids) == 0 {
		return p, nil
	}
	var err error
	p.found, err = s.Store.Relations.WithChildren(ctx, ids)
	return p, err
}

// childless reports whether an event is known to have no children.
func (p *Parents) childless(e *storage.Event) bool {
	return p != nil && p.asked[e.NID] && !p.found[e.ID]
}

// Clients is Client for a list. known may be nil.
func (s *Service) Clients(ctx context.Context, known *Parents, events []Shown, reader rooms.Reader) ([]json.RawMessage, error) {
	plain := make([]*storage.Event, 0, len(events))
	for _, e := range events {
		if !known.childless(e.Event) {
			plain = append(plain, e.Event)
		}
	}
	bundle, err := s.Bundle(ctx, reader, plain)
	if err != nil {
		return nil, err
	}
	list := make([]json.RawMessage, len(events))
	for i, e := range events {
		if list[i], err = s.client(ctx, e.Event, reader, e.Membership, bundle); err != nil {
			return nil, err
		}
	}
	return list, nil
}
