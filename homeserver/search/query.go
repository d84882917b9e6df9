package search

import (
	"cmp"
	"context"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

const (
	// maxScan bounds how many events that have the words are looked at for one
	// page; scanBatch is how many at once.
	maxScan   = 2000
	scanBatch = 200
	// maxSenderMarks bounds the senders that the index is asked for; of more,
	// the filter alone decides.
	maxSenderMarks = 50
)

// A query is one search while it is worked on.
type query struct {
	*Service
	ctx    context.Context
	req    Request
	filter accounts.RoomEventFilter
	limit  int
	at     cursor // where the page begins
	first  bool   // it is the first page

	words       []string
	senders     []int64 // nil: all
	roomNIDs    []int64
	memberships map[int64]*storage.Membership
	ignored     map[matrix.UserID]bool
	places      map[int64]*place
}

// A place is a room in which something was found. access is nil if the user
// may see nothing there.
type place struct {
	access *rooms.Access
	sight  *rooms.Sight
}

// A hit is an event that has the words and that the user may see.
type hit struct {
	event      *storage.Event
	membership string
	score      float64
}

func (h *hit) group(key string) string {
	if key == ByRoom {
		return string(h.event.RoomID)
	}
	return string(h.event.Sender)
}

// begin reads the request's place in the list.
func (q *query) begin() (err error) {
	if q.filter.Limit != nil {
		q.limit = int(max(1, min(*q.filter.Limit, maxLimit)))
	}
	q.first = q.req.From == ""
	if !q.first {
		if q.at, err = parseCursor(q.req.From); err != nil {
			return err
		}
		if q.at.Recent != q.req.Recent {
			return matrix.InvalidParam("next_batch is not a token of this search: it has another order.")
		}
		return nil
	}
	now := q.Position()
	if err := q.catchUp(q.ctx, now); err != nil {
		return err
	}
	q.at = cursor{Recent: q.req.Recent, UpTo: now}
	return nil
}

// choose finds the rooms and the senders that come into question.
func (q *query) choose() error {
	memberships, err := q.Store.Members.OfUser(q.ctx, q.req.Reader.User)
	if err != nil {
		return err
	}
	known := map[matrix.RoomID]*storage.Membership{}
	for i := range memberships {
		info, err := q.Store.Rooms.InfoOf(q.ctx, memberships[i].RoomNID)
		if err != nil {
			return err
		}
		if !memberships[i].Forgotten && !q.Store.Rooms.Hidden(info.ID) {
			known[info.ID] = &memberships[i]
		}
	}
	if err := q.followUpgrades(known); err != nil {
		return err
	}
	q.memberships = map[int64]*storage.Membership{}
	for id, m := range known {
		if q.filter.AllowsRoom(id) && (q.at.Group != ByRoom || q.at.Value == string(id)) {
			q.memberships[m.RoomNID] = m
			q.roomNIDs = append(q.roomNIDs, m.RoomNID)
		}
	}
	ignored, err := q.Relations.Ignored(q.ctx, q.req.Reader.User)
	if err != nil {
		return err
	}
	q.ignored = map[matrix.UserID]bool{}
	for _, user := range ignored {
		q.ignored[user] = true
	}
	return q.chooseSenders()
}

// followUpgrades adds the rooms whose place the wanted ones took.
func (q *query) followUpgrades(known map[matrix.RoomID]*storage.Membership) error {
	wanted := q.filter.Rooms
	for _, room := range wanted {
		if known[room] == nil {
			continue
		}
		older, err := q.Rooms.Predecessors(q.ctx, room)
		if err != nil {
			return err
		}
		q.filter.Rooms = append(slices.Clip(q.filter.Rooms), older...)
	}
	return nil
}

func (q *query) chooseSenders() error {
	senders := q.filter.Senders
	if q.at.Group == BySender {
		senders = []matrix.UserID{matrix.UserID(q.at.Value)}
	}
	if senders == nil || len(senders) > maxSenderMarks {
		return nil
	}
	names := make([]string, len(senders))
	for i, user := range senders {
		names[i] = string(user)
	}
	found, err := q.Store.Users.Lookup(q.ctx, names)
	if err != nil {
		return err
	}
	for _, nid := range found {
		q.senders = append(q.senders, nid)
	}
	if len(q.senders) == 0 {
		q.roomNIDs = nil // nobody who was ever seen here
	}
	return nil
}

// page is the results of the page, in their order, and moves the cursor behind
// the last one.
func (q *query) page() ([]hit, error) {
	from := q.at.UpTo
	if q.at.Recent && !q.first {
		from = q.at.Position - 1
	}
	positions, err := q.find(from)
	if err != nil {
		return nil, err
	}
	var hits []hit
	seen := 0
	for batch := range slices.Chunk(positions, scanBatch) {
		from = batch[len(batch)-1] - 1
		found, err := q.visible(batch)
		if err != nil {
			return nil, err
		}
		seen += len(found)
		for i := range found {
			if h := &found[i]; q.at.within(h) && (q.first || q.at.behind(h)) {
				hits = append(hits, *h)
			}
		}
		// Only the first page counts all.
		if q.at.Recent && !q.first && len(hits) >= q.limit {
			break
		}
	}
	if q.first {
		q.at.Count = seen
	}
	return q.cut(hits, q.at.Recent && len(positions) == maxScan, from), nil
}

// cut orders the hits and takes the first of them. from is where to go on if
// there may be more of the newest ones.
func (q *query) cut(hits []hit, more bool, from int64) []hit {
	if !q.at.Recent {
		slices.SortStableFunc(hits, func(a, b hit) int {
			return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.event.Position, a.event.Position))
		})
	}
	switch {
	case len(hits) >= q.limit:
		hits = hits[:q.limit]
		last := &hits[len(hits)-1]
		q.at.Position, q.at.Score = last.event.Position, last.score
	case more:
		q.at.Position = from + 1
	default:
		q.at.Position = -1
	}
	return hits
}

func (q *query) find(from int64) ([]int64, error) {
	var kinds []string
	for _, key := range q.req.Keys {
		kinds = append(kinds, marks[key])
	}
	return q.Store.Search.Find(q.ctx, storage.WordQuery{
		Words: q.words, Kinds: kinds, Senders: q.senders, Rooms: q.roomNIDs, UpTo: from, Limit: maxScan,
	})
}

// visible is those of the events that the filter lets through and the user may
// see.
func (q *query) visible(positions []int64) ([]hit, error) {
	if len(positions) == 0 {
		return nil, nil
	}
	events, err := q.Store.Events.AtPositions(q.ctx, positions)
	if err != nil {
		return nil, err
	}
	var hits []hit
	for _, e := range events {
		_, text := textOf(e)
		if text == "" || !syncer.Wants(&q.filter, e) || q.ignored[e.Sender] && !e.IsState() || q.erased(e.Sender) {
			continue
		}
		p, err := q.place(e)
		if err != nil {
			return nil, err
		}
		if p.access == nil || e.Ordering > p.access.UpTo {
			continue
		}
		seen, membership, err := p.sight.Of(q.ctx, e)
		if err != nil {
			return nil, err
		}
		if seen {
			hits = append(hits, hit{e, membership, count(text).score(q.words)})
		}
	}
	return q.related(hits)
}

// related leaves out what does not pass the part of the filter about events
// that relate to those which are found.
func (q *query) related(hits []hit) ([]hit, error) {
	if !q.filter.Relational() {
		return hits, nil
	}
	byRoom := map[int64][]*storage.Event{}
	for _, h := range hits {
		byRoom[h.event.RoomNID] = append(byRoom[h.event.RoomNID], h.event)
	}
	kept := map[matrix.EventID]bool{}
	for nid, events := range byRoom {
		some, err := q.Relations.Related(q.ctx, nid, events, q.filter.RelatedByRelTypes, q.filter.RelatedBySenders)
		if err != nil {
			return nil, err
		}
		for id := range some {
			kept[id] = true
		}
	}
	return slices.DeleteFunc(hits, func(h hit) bool { return !kept[h.event.ID] }), nil
}

// place is what the user may see of an event's room: nothing of rooms that are
// encrypted, which are not searched.
func (q *query) place(e *storage.Event) (*place, error) {
	if p := q.places[e.RoomNID]; p != nil {
		return p, nil
	}
	p := new(place)
	q.places[e.RoomNID] = p
	access, err := q.Rooms.Access(q.ctx, e.RoomID, q.req.Reader.User)
	if matrix.Code(err) == "M_FORBIDDEN" {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	summary, err := q.Rooms.Summary(q.ctx, e.RoomNID)
	if err != nil || summary.Encryption != "" {
		return p, err
	}
	if p.sight, err = q.Rooms.SightAs(q.ctx, access.Info, q.req.Reader.User, q.memberships[e.RoomNID]); err != nil {
		return nil, err
	}
	p.access = access
	return p, nil
}
