package syncer

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// maxPage bounds a page of history.
const maxPage = 1000

// A PageRequest asks for a page of a room's history.
type PageRequest struct {
	User     matrix.UserID
	Device   matrix.DeviceID
	Room     matrix.RoomID
	From, To string // tokens; empty is the room's newest or oldest end
	Backward bool
	Limit    int
	Filter   *accounts.RoomEventFilter
}

// A Page is a page of a room's history.
type Page struct {
	Start string            `json:"start"`
	End   string            `json:"end,omitempty"` // absent where there is no more
	Chunk []json.RawMessage `json:"chunk"`
	State []json.RawMessage `json:"state,omitempty"`
}

// Messages is a page of a room's history (Client-Server API § GET
// /rooms/{roomId}/messages). M_FORBIDDEN for those who may not look back,
// M_INVALID_PARAM for a bad token.
func (s *Service) Messages(ctx context.Context, req PageRequest) (*Page, error) {
	access, err := s.Rooms.Access(ctx, req.Room, req.User)
	if err != nil {
		return nil, err
	}
	w := walk{Service: s, ctx: ctx, access: access, reader: rooms.Reader{User: req.User, Device: req.Device}, filter: req.Filter}
	if w.sight, err = s.Rooms.Sight(ctx, access.Info, req.User); err != nil {
		return nil, err
	}
	if err := w.bounds(req); err != nil {
		return nil, err
	}
	start := req.From
	if start == "" {
		start = Token{Position: w.place}.String()
	}
	w.beyond = req.Backward && w.end == math.MinInt64 && s.Older != nil
	found, more, err := w.collect(min(max(req.Limit, 1), maxPage), req.Backward)
	if err != nil {
		return nil, err
	}
	page := &Page{Start: start}
	// The specification leaves the token out at the end; clients in the field
	// expect one with every page that has events.
	if more || len(found) > 0 {
		page.End = Token{Position: w.place}.String()
	}
	if page.Chunk, err = w.render(found); err != nil {
		return nil, err
	}
	if req.Filter.LazyLoadMembers {
		page.State, err = w.members(found)
	}
	return page, err
}

// A walk goes through a room's history from a place.
type walk struct {
	*Service
	ctx    context.Context
	access *rooms.Access
	sight  *rooms.Sight
	reader rooms.Reader
	filter *accounts.RoomEventFilter
	place  int64 // between two events: those at or before it are behind
	end    int64
	beyond bool      // what is older than all that is known here is wanted as well
	until  time.Time // how long it is waited for; zero: nobody has begun
	// ignored is whose messages are left out; nil before that is known.
	ignored map[matrix.UserID]bool
}

// ignores reports whether an event is a message of somebody whom the reader
// ignores (Client-Server API § Ignoring Users).
func (w *walk) ignores(e *storage.Event) (bool, error) {
	if e.IsState() || e.Sender == w.reader.User {
		return false, nil
	}
	if w.ignored == nil {
		list, err := w.Relations.Ignored(w.ctx, w.reader.User)
		if err != nil {
			return false, err
		}
		w.ignored = make(map[matrix.UserID]bool, len(list))
		for _, user := range list {
			w.ignored[user] = true
		}
	}
	return w.ignored[e.Sender], nil
}

func (w *walk) bounds(req PageRequest) error {
	w.end = w.access.UpTo
	w.place = math.MinInt64
	if req.Backward {
		w.place, w.end = w.access.UpTo, math.MinInt64
	}
	if req.From != "" {
		token, err := ParseToken(req.From)
		if err != nil {
			return err
		}
		w.place = min(token.Position, w.access.UpTo)
	}
	if req.To != "" {
		token, err := ParseToken(req.To)
		if err != nil {
			return err
		}
		w.end = min(token.Position, w.access.UpTo)
	}
	return nil
}

// collect takes up to limit wanted and visible events and moves the place
// behind the last one looked at; more tells that there may be others.
func (w *walk) collect(limit int, backward bool) (found []shown, more bool, err error) {
	for scanned := 0; scanned < maxScan; {
		size := max(20, min(limit, 200))
		var batch []*storage.Event
		if backward {
			batch, err = w.Store.Events.Backward(w.ctx, w.access.Info.NID, w.place, w.end, size)
		} else {
			batch, err = w.Store.Events.Forward(w.ctx, w.access.Info.NID, w.place, w.end, size)
		}
		if err != nil {
			return nil, false, err
		}
		related, err := w.related(w.ctx, w.filter, w.access.Info.NID, batch)
		if err != nil {
			return nil, false, err
		}
		for _, e := range batch {
			if len(found) == limit {
				return found, true, nil
			}
			visible, membership, err := w.sight.Of(w.ctx, e)
			if err != nil {
				return nil, false, err
			}
			w.place = e.Ordering
			if backward {
				w.place--
			}
			if !visible || !Wants(w.filter, e) || related != nil && !related[e.ID] {
				continue
			}
			if ignored, err := w.ignores(e); err != nil {
				return nil, false, err
			} else if !ignored {
				found = append(found, shown{e, membership})
			}
		}
		if len(batch) < size {
			if !w.beyond {
				return found, false, nil
			}
			if got, more, err := w.fetch(limit - len(found)); !got || err != nil {
				return found, more, err
			}
		}
		scanned += len(batch)
	}
	return found, true, nil
}

func (w *walk) render(events []shown) ([]json.RawMessage, error) {
	fields, err := accounts.ParseFields(w.filter.EventFields)
	if err != nil {
		return nil, err
	}
	return w.Service.render(w.ctx, nil, events, w.reader, fields)
}

// members is the member events of those who sent the events.
func (w *walk) members(events []shown) ([]json.RawMessage, error) {
	seen := map[matrix.UserID]bool{}
	var list []*storage.Event
	for _, e := range events {
		if seen[e.event.Sender] {
			continue
		}
		seen[e.event.Sender] = true
		member, err := w.access.State.Event(w.ctx, "m.room.member", string(e.event.Sender))
		if err != nil {
			return nil, err
		}
		if member != nil {
			list = append(list, member)
		}
	}
	return w.Rooms.Clients(w.ctx, list, w.reader)
}

// A Context is an event and what was said around it.
type Context struct {
	Start  string            `json:"start"`
	End    string            `json:"end"`
	Event  json.RawMessage   `json:"event"`
	Before []json.RawMessage `json:"events_before"`
	After  []json.RawMessage `json:"events_after"`
	State  []json.RawMessage `json:"state"`
}

// Context is what was said around an event (Client-Server API § GET
// /rooms/{roomId}/context/{eventId}). limit counts all events but the one
// itself. M_NOT_FOUND if the user may not see it.
func (s *Service) Context(ctx context.Context, reader rooms.Reader, room matrix.RoomID, id matrix.EventID, limit int, filter *accounts.RoomEventFilter) (*Context, error) {
	e, membership, err := s.Rooms.Event(ctx, room, id, reader.User)
	if err != nil {
		return nil, err
	}
	access, err := s.Rooms.Access(ctx, room, reader.User)
	if err != nil {
		return nil, err
	}
	sight, err := s.Rooms.Sight(ctx, access.Info, reader.User)
	if err != nil {
		return nil, err
	}
	limit = min(max(limit, 0), maxPage)
	w := walk{Service: s, ctx: ctx, access: access, sight: sight, reader: reader, filter: filter}
	around, err := w.around(e, limit/2, limit-limit/2)
	if err != nil {
		return nil, err
	}
	c := &Context{Start: around.start.String(), End: around.end.String()}
	one, err := w.render([]shown{{e, membership}})
	if err != nil {
		return nil, err
	}
	c.Event = one[0]
	if c.Before, err = w.render(around.before); err != nil {
		return nil, err
	}
	if c.After, err = w.render(around.after); err != nil {
		return nil, err
	}
	c.State, err = w.stateAt(around.last(), append(slices.Concat(around.before, around.after), shown{event: e}))
	return c, err
}

// stateAt is the state at an event; with lazy loading only those members who sent the events.
func (w *walk) stateAt(last *storage.Event, events []shown) ([]json.RawMessage, error) {
	senders := map[string]bool{}
	for _, e := range events {
		senders[string(e.event.Sender)] = true
	}
	state, err := w.Rooms.At(w.ctx, w.access.Info.NID, last.Root)
	if err != nil {
		return nil, err
	}
	lazy := w.filter.LazyLoadMembers
	list, err := state.Events(w.ctx, func(key storage.StateKey) bool {
		return !lazy || key.Type != "m.room.member" || senders[key.Key]
	})
	if err != nil {
		return nil, err
	}
	return w.Rooms.Clients(w.ctx, list, w.reader)
}
