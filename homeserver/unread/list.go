package unread

import (
	"context"
	"encoding/json"
	"math"
	"strconv"

	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	usualPage = 20
	maxPage   = 500
	// maxScan bounds what is read to fill a page.
	maxScan = 2_000
)

// A Request asks for what a user was notified of.
type Request struct {
	Reader     rooms.Reader
	From       string // of the page before; empty: the newest
	Limit      int    // 0: as many as usual
	Highlights bool   // only these
}

// A Page is notifications, the newest first.
type Page struct {
	Notifications []Listed `json:"notifications"`
	Next          string   `json:"next_token,omitempty"`
}

// A Listed notification is one as clients see it.
type Listed struct {
	Actions json.RawMessage `json:"actions"`
	Event   json.RawMessage `json:"event"`
	Read    bool            `json:"read"`
	Room    matrix.RoomID   `json:"room_id"`
	TS      int64           `json:"ts"`
}

// List is a page of what a user was notified of and may still see (Client-Server
// API § Listing notifications). M_INVALID_PARAM for a bad token.
func (s *Service) List(ctx context.Context, req Request) (*Page, error) {
	before := int64(math.MaxInt64)
	if req.From != "" {
		var err error
		if before, err = strconv.ParseInt(req.From, 10, 64); err != nil || before < 0 {
			return nil, matrix.InvalidParam("%.100q is no token of a page of notifications.", req.From)
		}
	}
	limit := req.Limit
	if limit <= 0 {
		limit = usualPage
	}
	limit = min(limit, maxPage)
	nids, err := s.Store.Users.Lookup(ctx, []string{string(req.Reader.User)})
	if err != nil {
		return nil, err
	}
	p := &listing{Service: s, ctx: ctx, reader: req.Reader, sights: map[int64]*rooms.Sight{}}
	p.page.Notifications = []Listed{}
	for scanned := 0; ; {
		list, err := s.Notifications.Before(ctx, nids[string(req.Reader.User)], before, req.Highlights, limit)
		if err != nil {
			return nil, err
		}
		for i, n := range list {
			if err := p.add(n); err != nil {
				return nil, err
			}
			before = n.Position
			if len(p.page.Notifications) == limit && (i < len(list)-1 || len(list) == limit) {
				p.page.Next = strconv.FormatInt(before, 10)
				return &p.page, nil
			}
		}
		if len(list) < limit {
			return &p.page, nil
		}
		if scanned += len(list); scanned >= maxScan {
			p.page.Next = strconv.FormatInt(before, 10)
			return &p.page, nil
		}
	}
}

// A listing is a page while it is put together.
type listing struct {
	*Service
	page   Page
	ctx    context.Context
	reader rooms.Reader
	sights map[int64]*rooms.Sight
}

// add puts in a notification if the reader may see the event.
func (p *listing) add(n storage.Notification) error {
	e, err := p.Store.Events.ByNID(p.ctx, n.EventNID)
	if isMissing(err) {
		return nil // it is no more
	}
	if err != nil {
		return err
	}
	info, err := p.Store.Rooms.InfoOf(p.ctx, n.RoomNID)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	sight := p.sights[n.RoomNID]
	if sight == nil {
		if sight, err = p.Rooms.Sight(p.ctx, info, p.reader.User); err != nil {
			return err
		}
		p.sights[n.RoomNID] = sight
	}
	visible, membership, err := sight.Of(p.ctx, e)
	if !visible || err != nil {
		return err
	}
	raw, err := p.Rooms.Client(p.ctx, e, p.reader, membership)
	if err != nil {
		return err
	}
	p.page.Notifications = append(p.page.Notifications, Listed{Actions: n.Actions, Event: raw, Read: n.Read, Room: info.ID, TS: n.TS})
	return nil
}
