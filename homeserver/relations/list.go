package relations

import (
	"context"
	"encoding/json"
	"math"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	// maxPage bounds a page, maxScan what is read to fill it.
	maxPage = 500
	maxScan = 2000
	// Depth is how many steps are followed to events that relate to an event
	// by way of others.
	Depth = 3
	// maxParents bounds the events by way of which that can be.
	maxParents = 1000
)

// A ChildRequest asks for the events that relate to one.
type ChildRequest struct {
	Reader  rooms.Reader
	Room    matrix.RoomID
	Event   matrix.EventID
	RelType string // empty: any
	Type    string // of the children; empty: any
	// From and To are places between events; nil is the newest or the oldest end.
	From, To *int64
	Forward  bool
	Limit    int
	Recurse  bool
}

// A Page is a part of a list of events. Next is the place at which the next one
// begins, nil where there is no more.
type Page struct {
	Chunk []json.RawMessage
	Next  *int64
}

// Children is a page of the events that relate to one (Client-Server API
// § Relationships API). M_NOT_FOUND if the reader may not see the event.
func (s *Service) Children(ctx context.Context, req ChildRequest) (*Page, error) {
	parent, _, err := s.Rooms.Event(ctx, req.Room, req.Event, req.Reader.User)
	if err != nil {
		return nil, err
	}
	q := storage.ChildQuery{RoomNID: parent.RoomNID, Parents: []matrix.EventID{parent.ID}, RelType: req.RelType}
	if req.Type != "" {
		found, err := s.Store.Types.Lookup(ctx, []string{req.Type})
		if err != nil {
			return nil, err
		}
		if q.TypeNID = found[req.Type]; q.TypeNID == 0 {
			return &Page{Chunk: []json.RawMessage{}}, nil
		}
	}
	ignored, err := s.Ignored(ctx, req.Reader.User)
	if err != nil {
		return nil, err
	}
	if q.Without, err = s.numbers(ctx, ignored); err != nil {
		return nil, err
	}
	if req.Recurse {
		if err := s.follow(ctx, &q); err != nil {
			return nil, err
		}
	}
	return s.children(ctx, req, q)
}

// follow adds the children that have children themselves to the parents, as
// deep as is listed.
func (s *Service) follow(ctx context.Context, q *storage.ChildQuery) error {
	known := map[matrix.EventID]bool{q.Parents[0]: true}
	level := *q
	for range Depth - 1 {
		level.Limit = maxParents
		found, err := s.Store.Relations.Parents(ctx, level)
		if err != nil {
			return err
		}
		level.Parents = nil
		for _, id := range found {
			if !known[id] && len(q.Parents) < maxParents {
				known[id] = true
				level.Parents = append(level.Parents, id)
				q.Parents = append(q.Parents, id)
			}
		}
		if len(level.Parents) == 0 {
			return nil
		}
	}
	return nil
}

func (s *Service) children(ctx context.Context, req ChildRequest, q storage.ChildQuery) (*Page, error) {
	info, err := s.Store.Rooms.InfoOf(ctx, q.RoomNID)
	if err != nil {
		return nil, err
	}
	sight, err := s.Rooms.Sight(ctx, info, req.Reader.User)
	if err != nil {
		return nil, err
	}
	read := s.Store.Relations.Backward
	q.From, q.To = math.MaxInt64, math.MinInt64
	if req.Forward {
		read = s.Store.Relations.Forward
		q.From, q.To = q.To, q.From
	}
	if req.From != nil {
		q.From = *req.From
	}
	if req.To != nil {
		q.To = *req.To
	}
	limit := min(max(req.Limit, 1), maxPage)
	var found []Shown
	more := false
	q.Limit = limit + 1
	for scanned := 0; !more; scanned += q.Limit {
		nids, err := read(ctx, q)
		if err != nil {
			return nil, err
		}
		events, err := s.Store.Events.ByNIDs(ctx, nids)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if more = len(found) == limit; more {
				break
			}
			visible, membership, err := sight.Of(ctx, e)
			if err != nil {
				return nil, err
			}
			if q.From = e.Ordering; !req.Forward {
				q.From--
			}
			if visible {
				found = append(found, Shown{e, membership})
			}
		}
		if len(nids) < q.Limit {
			break
		}
		more = more || scanned > maxScan
	}
	page := new(Page)
	if more {
		page.Next = &q.From
	}
	page.Chunk, err = s.Clients(ctx, nil, found, req.Reader)
	return page, err
}

// A ThreadRequest asks for the threads of a room.
type ThreadRequest struct {
	Reader       rooms.Reader
	Room         matrix.RoomID
	Participated bool   // only those that the reader has a part in
	From         *int64 // the place behind the newest event of the first thread
	Limit        int
}

// Threads is a page of the roots of a room's threads, that with the newest event
// first (Client-Server API § Querying threads in a room). M_FORBIDDEN for those
// who may not look into the room.
func (s *Service) Threads(ctx context.Context, req ThreadRequest) (*Page, error) {
	access, err := s.Rooms.Access(ctx, req.Room, req.Reader.User)
	if err != nil {
		return nil, err
	}
	sight, err := s.Rooms.Sight(ctx, access.Info, req.Reader.User)
	if err != nil {
		return nil, err
	}
	ignored, err := s.Ignored(ctx, req.Reader.User)
	if err != nil {
		return nil, err
	}
	without, err := s.numbers(ctx, ignored)
	if err != nil {
		return nil, err
	}
	participant, err := s.participant(ctx, req)
	if err != nil {
		return nil, err
	}
	from := access.UpTo
	if req.From != nil {
		from = min(from, *req.From)
	}
	limit := min(max(req.Limit, 1), maxPage)
	threads, err := s.Store.Relations.Threads(ctx, access.Info.NID, without, from, participant, limit+1)
	if err != nil {
		return nil, err
	}
	page := new(Page)
	if len(threads) > limit {
		threads = threads[:limit]
		next := threads[limit-1].Latest - 1
		page.Next = &next
	}
	page.Chunk, err = s.roots(ctx, req.Reader, threads, sight, ignored)
	return page, err
}

// participant is the number of the reader where only the reader's threads are
// asked for, else 0.
func (s *Service) participant(ctx context.Context, req ThreadRequest) (int64, error) {
	if !req.Participated {
		return 0, nil
	}
	return s.Store.Users.NID(ctx, string(req.Reader.User))
}

// roots is the first events of threads. What somebody said whom the reader
// ignores is shown redacted, so that the thread keeps its beginning.
func (s *Service) roots(ctx context.Context, reader rooms.Reader, threads []storage.Thread, sight *rooms.Sight, ignored []matrix.UserID) ([]json.RawMessage, error) {
	nids := make([]int64, len(threads))
	for i, t := range threads {
		nids[i] = t.Root
	}
	events, err := s.Store.Events.ByNIDs(ctx, nids)
	if err != nil {
		return nil, err
	}
	hidden := map[matrix.UserID]bool{}
	for _, user := range ignored {
		hidden[user] = true
	}
	var list []Shown
	for _, e := range events {
		visible, membership, err := sight.Of(ctx, e)
		if err != nil {
			return nil, err
		}
		if !visible {
			continue
		}
		if hidden[e.Sender] {
			redacted := *e
			if redacted.Event, err = e.Redact(); err != nil {
				return nil, err
			}
			e = &redacted
		}
		list = append(list, Shown{e, membership})
	}
	return s.Clients(ctx, nil, list, reader)
}

// Related is those events of a room to which events relate that have one of the
// relation types and one of the senders; nil stands for any.
func (s *Service) Related(ctx context.Context, roomNID int64, events []*storage.Event, relTypes []string, senders []matrix.UserID) (map[matrix.EventID]bool, error) {
	ids := make([]matrix.EventID, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	var nids []int64
	if senders != nil {
		var err error
		if nids, err = s.numbers(ctx, senders); err != nil {
			return nil, err
		}
	}
	found, err := s.Store.Relations.RelatedBy(ctx, roomNID, ids, relTypes, nids)
	if err != nil {
		return nil, err
	}
	related := make(map[matrix.EventID]bool, len(found))
	for _, id := range found {
		related[id] = true
	}
	return related, nil
}
