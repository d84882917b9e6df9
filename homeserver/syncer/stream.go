package syncer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"time"

	"trestle/homeserver/notifier"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Before /sync there was one stream of events, oldest first and without gaps:
// a client that has fallen behind reads it in pages.

// A StreamRequest asks for what comes after a place in the stream of events.
type StreamRequest struct {
	User   matrix.UserID
	Device matrix.DeviceID
	From   string        // empty: only what happens from now on
	Room   matrix.RoomID // only of this room, which the user need not be in; empty: of all rooms of the user
	Limit  int           // 0: as many as fit
	// Ephemeral adds who is there, who types and who has read what.
	Ephemeral bool
	Timeout   time.Duration
	// Stop, when closed, ends the waiting with what there is.
	Stop <-chan struct{}
}

const (
	// usualStream and maxStream bound the room events of an answer.
	usualStream = 100
	maxStream   = 1000
)

// Stream is what happened after a place, and waits up to the timeout for
// something to happen (Client-Server API § GET /events). M_INVALID_PARAM for a
// bad token, M_FORBIDDEN for a room that the user may not see.
func (s *Service) Stream(ctx context.Context, req StreamRequest) (*Page, error) {
	if req.Limit <= 0 {
		req.Limit = usualStream
	}
	req.Limit = min(req.Limit, maxStream)
	st := &stream{Service: s, ctx: ctx, req: req}
	if err := st.begin(); err != nil {
		return nil, err
	}
	defer s.Ephemeral.Seen(ctx, req.User, req.Device, "")()
	waiting, cancel := context.WithTimeout(ctx, max(0, min(req.Timeout, MaxTimeout)))
	defer cancel()
	start := st.from
	for {
		changed := s.Notifier.Changed()
		chunk, err := st.next()
		if err != nil {
			return nil, err
		}
		if len(chunk) > 0 || waiting.Err() != nil || !st.wait(waiting, changed) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return &Page{Start: start.String(), End: st.from.String(), Chunk: chunk}, nil
		}
	}
}

// A stream is one answer while it is put together; from moves on.
type stream struct {
	*Service
	ctx  context.Context
	req  StreamRequest
	from Token
	more bool // after from there may be something already
}

func (st *stream) begin() error {
	snap, err := st.Notifier.User(st.ctx, st.req.User)
	if err != nil {
		return err
	}
	st.from = Token{Position: snap.Position, Serial: snap.Serial}
	if st.req.From == "" {
		return nil
	}
	token, err := ParseToken(st.req.From)
	if err != nil {
		return err
	}
	st.from = Token{Position: min(token.Position, snap.Position), Serial: serialBy(token.Serial, snap.Serial)}
	return nil
}

// wait reports whether there may be something new.
func (st *stream) wait(ctx context.Context, changed <-chan struct{}) bool {
	if st.more {
		return ctx.Err() == nil
	}
	if st.req.Room == "" {
		return st.Notifier.Wait(ctx, st.req.Stop, st.req.User, st.from.Position, st.from.Serial) == nil
	}
	// Who looks into a room from outside is not woken by it.
	select {
	case <-changed:
		return true
	case <-st.req.Stop:
	case <-ctx.Done():
	}
	return false
}

// next is what there is after the place, which moves behind it.
func (st *stream) next() ([]json.RawMessage, error) {
	snap, err := st.Notifier.User(st.ctx, st.req.User)
	if err != nil {
		return nil, err
	}
	candidates, err := st.candidates(snap)
	if err != nil {
		return nil, err
	}
	to := Token{Position: snap.Position, Serial: snap.Serial}
	var found []shown
	for _, c := range candidates {
		events, upTo, err := st.ofRoom(c, st.from.Position, min(c.upTo, snap.Position))
		if err != nil {
			return nil, err
		}
		to.Position = min(to.Position, upTo)
		found = append(found, events...)
	}
	found = cut(found, st.req.Limit, &to)
	list, err := st.render(found)
	if err != nil {
		return nil, err
	}
	// What is not stored comes with the newest events, not before older ones.
	if !st.req.Ephemeral || to.Position < snap.Position {
		to.Serial = st.from.Serial
		if !st.req.Ephemeral {
			to.Serial = snap.Serial
		}
	} else {
		more, err := st.ephemeral(snap, candidates)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	st.from, st.more = to, to.Position < snap.Position
	return list, nil
}

// cut orders events, takes those at or before a place, and at most limit; the
// place goes back to the last one taken.
func cut(events []shown, limit int, to *Token) []shown {
	slices.SortFunc(events, func(a, b shown) int { return cmp.Compare(a.event.Ordering, b.event.Ordering) })
	n, _ := slices.BinarySearchFunc(events, to.Position, func(e shown, place int64) int {
		if e.event.Ordering <= place {
			return -1
		}
		return 1
	})
	if n > limit {
		n = limit
		to.Position = events[n-1].event.Ordering
	}
	return events[:n]
}

// A candidate is a room that there may be something new of.
type candidate struct {
	info *storage.RoomInfo
	upTo int64 // what comes after that does not concern the user
	in   bool  // the user is in the room
}

func (st *stream) candidates(snap *notifier.Snapshot) ([]candidate, error) {
	if st.req.Room != "" {
		access, err := st.Rooms.Access(st.ctx, st.req.Room, st.req.User)
		if err != nil {
			return nil, err
		}
		return []candidate{{access.Info, access.UpTo, access.Membership == "join"}}, nil
	}
	chosen := map[int64]candidate{}
	for _, nid := range snap.Active(st.from.Position, st.from.Serial) {
		chosen[nid] = candidate{upTo: math.MaxInt64, in: true}
	}
	for nid, at := range snap.Rooms {
		if at.Position > st.from.Position && at.Membership != "join" && !at.Forgotten {
			chosen[nid] = candidate{upTo: at.Position}
		}
	}
	list := make([]candidate, 0, len(chosen))
	for nid, c := range chosen {
		var err error
		if c.info, err = st.Store.Rooms.InfoOf(st.ctx, nid); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// ofRoom is the events of a room in (after, upTo] that the user sees, more
// than fit if there are so many; all has been looked at up to the place that
// it returns.
func (st *stream) ofRoom(c candidate, after, upTo int64) (events []shown, place int64, err error) {
	sight, err := st.Rooms.Sight(st.ctx, c.info, st.req.User)
	if err != nil {
		return nil, 0, err
	}
	const size = 200
	for scanned := 0; scanned < maxScan && len(events) <= st.req.Limit; scanned += size {
		batch, err := st.Store.Events.Forward(st.ctx, c.info.NID, after, upTo, size)
		if err != nil {
			return nil, 0, err
		}
		for _, e := range batch {
			after = e.Ordering
			visible, membership, err := sight.Of(st.ctx, e)
			if err != nil {
				return nil, 0, err
			}
			if visible {
				events = append(events, shown{e, membership})
			}
		}
		if len(batch) < size {
			return events, math.MaxInt64, nil
		}
	}
	return events, after, nil
}

func (st *stream) render(events []shown) ([]json.RawMessage, error) {
	reader := rooms.Reader{User: st.req.User, Device: st.req.Device}
	list := make([]json.RawMessage, 0, len(events))
	for _, e := range events {
		raw, err := st.Rooms.Client(st.ctx, e.event, reader, e.membership)
		if err != nil {
			return nil, err
		}
		list = append(list, raw)
	}
	return list, nil
}

// ephemeral is the events that are not stored, with the room where there is one.
func (st *stream) ephemeral(snap *notifier.Snapshot, candidates []candidate) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if snap.Changed(notifier.Presence, st.from.Serial) {
		var err error
		if list, err = st.Ephemeral.PresenceSince(st.ctx, st.req.User, st.from.Serial); err != nil {
			return nil, err
		}
	}
	for _, c := range candidates {
		if !c.in {
			continue
		}
		activity := snap.Room(c.info.NID)
		var events []json.RawMessage
		if activity.Receipts > st.from.Position {
			receipts, err := st.Ephemeral.ReceiptsSince(st.ctx, c.info.ID, st.from.Position, snap.Position, st.req.User)
			if err != nil {
				return nil, err
			}
			events = append(events, receipts)
		}
		if activity.Serial > st.from.Serial {
			typing, err := st.Ephemeral.Typing(st.ctx, c.info.ID)
			if err != nil {
				return nil, err
			}
			events = append(events, typing)
		}
		for _, event := range events {
			if event == nil {
				continue
			}
			with, err := withRoom(event, c.info.ID)
			if err != nil {
				return nil, err
			}
			list = append(list, with)
		}
	}
	return list, nil
}

// withRoom adds a room_id to an event that has none.
func withRoom(event json.RawMessage, room matrix.RoomID) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(event, &members); err != nil {
		return nil, err
	}
	id, err := json.Marshal(room)
	if err != nil {
		return nil, err
	}
	members["room_id"] = id
	return json.Marshal(members)
}

// OneEvent is an event by its ID alone (Client-Server API § GET
// /events/{eventId}). M_NOT_FOUND if the user may not see it.
func (s *Service) OneEvent(ctx context.Context, reader rooms.Reader, id matrix.EventID) (json.RawMessage, error) {
	room, err := s.roomOf(ctx, id)
	if err != nil {
		return nil, err
	}
	e, membership, err := s.Rooms.Event(ctx, room, id, reader.User)
	if err != nil {
		return nil, err
	}
	return s.Rooms.Client(ctx, e, reader, membership)
}

func (s *Service) roomOf(ctx context.Context, id matrix.EventID) (matrix.RoomID, error) {
	e, err := s.Store.Events.ByID(ctx, id)
	if errors.Is(err, database.ErrNoRows) {
		return "", matrix.NotFound("Event %s is not there, or not for you to see.", id)
	}
	if err != nil {
		return "", err
	}
	return e.RoomID, nil
}
