package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// eventCacheBytes bounds the events held in memory.
const eventCacheBytes = 128 << 20

// An Event is a room event and its place: in the stream, in its room and in
// the room's state. Read only.
type Event struct {
	*matrix.Event
	NID         int64
	RoomNID     int64
	Position    int64 // in the stream
	Ordering    int64 // in the room
	Root        int64 // state of the room after the event
	Branch      int64 // state after the event on its own branch of history, if that is another one, or 0; or Nowhere
	Gap         bool  // events right before it are missing here
	ReplacesNID int64 // the state event that this one took the place of, or 0
	RedactedBy  int64 // the redaction's number, or 0
	TxnKey      string
	Verdict     Verdict
}

// A Verdict is why an event is in no stream.
type Verdict int64

const (
	// Placed is in the stream.
	Placed Verdict = iota
	// Outlier only authorizes others, or belongs to a state that another server told of.
	Outlier
	// SoftFailed came too late for what the room had become (Server-Server API § Soft failure).
	SoftFailed
	// Rejected breaks the rules of its room.
	Rejected
)

// After is the state after the event on its own branch of history, 0 if that is not known.
func (e *Event) After() int64 {
	switch e.Branch {
	case Nowhere:
		return 0
	case 0:
		return e.Root
	}
	return e.Branch
}

// Nowhere is the branch of events in the stream that belong to the history of a room that this server has no part in, such as
// invites to it: they are told to those whom they concern, and what the room was like is not known.
const Nowhere int64 = -1

// StateKnown reports whether it is known what the room is like after the event on its own branch of history.
func (e *Event) StateKnown() bool { return e.Verdict != Outlier && e.Branch != Nowhere }

// Beginning is the place before a room's first event: what an application
// service has imported as history lies at or before it, the newest at -1.
const Beginning int64 = 0

// Backfilled reports whether an event is history that came later than its room.
func (e *Event) Backfilled() bool { return e.Ordering < Beginning }

// Silent reports whether an event was imported without telling anybody: such
// an event has a place in its room that is not its place in the stream.
func (e *Event) Silent() bool { return e.Ordering != e.Position }

// Events holds the room events.
type Events struct {
	db    *database.DB
	ids   *database.IDs
	rooms *Rooms

	// caching is held while an event goes into byNID.
	caching sync.Mutex
	byNID   *lru.Cache[int64, *Event]
	recent  recentEvents
}

const eventColumns = `event_nid, event_id, room_nid, position, ordering, state_root, branch_root, gap, replaces_nid, redacted_by, COALESCE(txn_key, ''), json`

var (
	insertEvent = database.SQL(`
		INSERT INTO events (event_nid, event_id, room_nid, type_nid, sender_nid, state_key, position, ordering,
			origin_server_ts, state_root, branch_root, gap, replaces_nid, redacted_by, txn_key, json)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`)
	selectEventsByNID = database.SQL(`
		SELECT ` + eventColumns + `
		FROM events
		WHERE event_nid = ANY($1)
		ORDER BY event_nid`)
	selectEventByID = database.SQL(`
		SELECT ` + eventColumns + `
		FROM events
		WHERE event_id = $1`)
	selectEventByTxn = database.SQL(`
		SELECT event_id
		FROM events
		WHERE room_nid = $1 AND sender_nid = $2 AND txn_key = $3`)
	selectRoomBackward = database.SQL(`
		SELECT ` + eventColumns + `
		FROM events
		WHERE room_nid = $1 AND ordering <= $2 AND ordering > $3
		ORDER BY ordering DESC
		LIMIT $4`)
	selectRoomForward = database.SQL(`
		SELECT ` + eventColumns + `
		FROM events
		WHERE room_nid = $1 AND ordering > $2 AND ordering <= $3
		ORDER BY ordering
		LIMIT $4`)
	selectStream = database.SQL(`
		SELECT ` + eventColumns + `
		FROM events
		WHERE position > $1 AND position <= $2
		ORDER BY position
		LIMIT $3`)
	selectMovesStream = database.SQL(`
		SELECT ` + eventColumns + `
		FROM events
		WHERE position > $1 AND position <= $2 AND state_key IS NOT NULL
			AND type_nid = (SELECT type_nid FROM event_types WHERE type = 'm.room.member')
		ORDER BY position
		LIMIT $3`)
	countStream = database.SQL(`
		SELECT COUNT(*)
		FROM events
		WHERE position > $1 AND position <= $2`)
	selectEventsByPosition = database.SQL(`
		SELECT ` + eventColumns + `
		FROM events
		WHERE position = ANY($1)
		ORDER BY position DESC`)
	selectEventsSince = database.SQL(`
		SELECT ` + eventColumns + `
		FROM events
		WHERE room_nid = $1 AND (origin_server_ts, ordering) > ($2, $3) AND ordering <= $4
		ORDER BY origin_server_ts, ordering
		LIMIT $5`)
	selectEventsUntil = database.SQL(`
		SELECT ` + eventColumns + `
		FROM events
		WHERE room_nid = $1 AND (origin_server_ts, ordering) < ($2, $3) AND ordering <= $4
		ORDER BY origin_server_ts DESC, ordering DESC
		LIMIT $5`)
	selectEventsByIDs = database.SQL(`
		SELECT ` + eventColumns + `
		FROM events
		WHERE event_id = ANY($1)
		ORDER BY event_id`)
	selectOldestOrdering = database.SQL(`
		SELECT ordering
		FROM events
		WHERE room_nid = $1
		ORDER BY ordering
		LIMIT 1`)
	selectFirstMessage = database.SQL(`
		SELECT event_nid
		FROM events
		WHERE room_nid = $1 AND state_key IS NULL
		ORDER BY ordering
		LIMIT 1`)
	redactEvent = database.SQL(`
		UPDATE events
		SET redacted_by = $2, json = $3
		WHERE event_nid = $1`)
	selectEventsMaxPosition = database.SQL(`
		SELECT COALESCE(MAX(position), 0)
		FROM events`)
)

func newEvents(db *database.DB, rooms *Rooms) *Events {
	cost := func(e *Event) int { return 400 + len(e.JSON()) }
	return &Events{db: db, ids: db.NewIDs("event"), rooms: rooms, byNID: lru.New[int64](eventCacheBytes, cost)}
}

// NewNID is the number for an event that is about to be made.
func (s *Events) NewNID(ctx context.Context) (int64, error) { return s.ids.Next(ctx) }

// Insert stores an event; its position and ordering are set.
func (s *Events) Insert(ctx context.Context, tx *database.Tx, e *Event, typeNID, senderNID int64) error {
	var stateKey any
	if e.StateKey != nil {
		stateKey = *e.StateKey
	}
	return tx.Queue(ctx, insertEvent, e.NID, string(e.ID), e.RoomNID, typeNID, senderNID, stateKey, e.Position, e.Ordering,
		e.OriginServerTS, e.Root, e.Branch, e.Gap, e.ReplacesNID, e.RedactedBy, optional(e.TxnKey), e.JSON())
}

// Redact replaces what is stored of an event by its redacted form.
func (s *Events) Redact(ctx context.Context, tx *database.Tx, e *Event) error {
	return tx.Queue(ctx, redactEvent, e.NID, e.RedactedBy, e.JSON())
}

// Cache keeps an event that has just been committed, or redacted. It is called
// in commit order, for every event.
func (s *Events) Cache(e *Event) { s.recent.add(s.keep(e)) }

// drop forgets events that are no more.
func (s *Events) drop(nids []int64) {
	s.caching.Lock()
	defer s.caching.Unlock()
	for _, nid := range nids {
		s.byNID.Delete(nid)
	}
	s.recent.drop(nids)
}

// keep caches an event, unless the cache knows of a redaction, or of a place in the stream, that was
// committed after this one was read, and returns what the cache has.
func (s *Events) keep(e *Event) *Event {
	s.caching.Lock()
	defer s.caching.Unlock()
	if cached, ok := s.byNID.Get(e.NID); ok {
		if cached.RedactedBy != 0 && e.RedactedBy == 0 || cached.Verdict == Placed && e.Verdict != Placed {
			return cached
		}
	}
	s.byNID.Put(e.NID, e)
	return e
}

// ByNIDs is the events of those numbers, in their order; one that is missing is an error.
func (s *Events) ByNIDs(ctx context.Context, nids []int64) ([]*Event, error) {
	events := make([]*Event, len(nids))
	var missing []int64
	for i, nid := range nids {
		e, ok := s.byNID.Get(nid)
		if !ok {
			missing = append(missing, nid)
		}
		events[i] = e
	}
	if len(missing) == 0 {
		return events, nil
	}
	found := make(map[int64]*Event, len(missing))
	for chunk := range slices.Chunk(missing, 500) {
		loaded, err := s.query(ctx, selectEventsByNID, chunk)
		if err != nil {
			return nil, err
		}
		for _, e := range loaded {
			found[e.NID] = e
		}
	}
	if len(found) < len(missing) {
		if err := s.addAsides(ctx, found, missing); err != nil {
			return nil, err
		}
	}
	for i, nid := range nids {
		if events[i] == nil {
			if events[i] = found[nid]; events[i] == nil {
				return nil, fmt.Errorf("event number %d: %w", nid, database.ErrNoRows)
			}
		}
	}
	return events, nil
}

// ByNID is one event.
func (s *Events) ByNID(ctx context.Context, nid int64) (*Event, error) {
	if e, ok := s.byNID.Get(nid); ok {
		return e, nil
	}
	events, err := s.ByNIDs(ctx, []int64{nid})
	if err != nil {
		return nil, err
	}
	return events[0], nil
}

// ByID is the event of that ID; [database.ErrNoRows] if it is not known.
func (s *Events) ByID(ctx context.Context, id matrix.EventID) (*Event, error) {
	events, err := s.query(ctx, selectEventByID, string(id))
	if err != nil {
		return nil, err
	}
	if len(events) == 0 {
		return nil, fmt.Errorf("event %s: %w", id, database.ErrNoRows)
	}
	return events[0], nil
}

// ByIDs is those of the events that are known.
func (s *Events) ByIDs(ctx context.Context, ids []string) (map[matrix.EventID]*Event, error) {
	found := make(map[matrix.EventID]*Event, len(ids))
	for chunk := range slices.Chunk(ids, atOnce) {
		events, err := s.query(ctx, selectEventsByIDs, chunk)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			found[e.ID] = e
		}
	}
	return found, nil
}

// Oldest is the place of a room's oldest event.
func (s *Events) Oldest(ctx context.Context, roomNID int64) (ordering int64, err error) {
	err = s.db.Read().QueryRow(ctx, selectOldestOrdering, roomNID).Scan(&ordering)
	return ordering, err
}

// AnyMessage reports whether a room has an event that is no state.
func (s *Events) AnyMessage(ctx context.Context, roomNID int64) (bool, error) {
	var nid int64
	err := s.db.Read().QueryRow(ctx, selectFirstMessage, roomNID).Scan(&nid)
	if errors.Is(err, database.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// ByTxn is the event that a sender made in a room under a transaction key, or empty.
func (s *Events) ByTxn(ctx context.Context, roomNID, senderNID int64, key string) (matrix.EventID, error) {
	var id string
	err := s.db.Read().QueryRow(ctx, selectEventByTxn, roomNID, senderNID, key).Scan(&id)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return matrix.EventID(id), err
}

// Backward is up to limit events of a room in (downTo, from], newest first.
func (s *Events) Backward(ctx context.Context, roomNID, from, downTo int64, limit int) ([]*Event, error) {
	return s.query(ctx, selectRoomBackward, roomNID, from, downTo, limit)
}

// Forward is up to limit events of a room in (after, upTo], oldest first.
func (s *Events) Forward(ctx context.Context, roomNID, after, upTo int64, limit int) ([]*Event, error) {
	return s.query(ctx, selectRoomForward, roomNID, after, upTo, limit)
}

// Page is up to limit events of all rooms with positions in (after, upTo], in order. It
// ends where they are so many bytes as well, with the one that reaches that, and says
// whether there may be more up to upTo.
func (s *Events) Page(ctx context.Context, after, upTo int64, limit, bytes int) (events []*Event, more bool, err error) {
	events, ok := s.recent.stream(after, upTo, limit)
	if !ok {
		events, more, err = s.queryUpTo(ctx, bytes, selectStream, after, upTo, limit)
		return events, more || len(events) >= limit, err
	}
	size := 0
	for i, e := range events {
		if size += len(e.JSON()); size >= bytes {
			return events[:i+1], true, nil
		}
	}
	return events, len(events) >= limit, nil
}

// Moves is a Page of memberships alone.
func (s *Events) Moves(ctx context.Context, after, upTo int64, limit, bytes int) (events []*Event, more bool, err error) {
	events, more, err = s.queryUpTo(ctx, bytes, selectMovesStream, after, upTo, limit)
	return events, more || len(events) >= limit, err
}

// CountStream is how many events there are in a part of the stream.
func (s *Events) CountStream(ctx context.Context, after, upTo int64) (n int64, err error) {
	err = s.db.Read().QueryRow(ctx, countStream, after, upTo).Scan(&n)
	return n, err
}

// AtPositions is the events at those positions of the stream, newest first;
// those that are gone are left out.
func (s *Events) AtPositions(ctx context.Context, positions []int64) ([]*Event, error) {
	return s.query(ctx, selectEventsByPosition, positions)
}

// A Moment is a place in the order of the times that events say they are from.
type Moment struct {
	TS       int64 // milliseconds
	Ordering int64
}

// Since is up to limit events of a room behind a moment, earliest first, and up
// to an ordering.
func (s *Events) Since(ctx context.Context, roomNID int64, m Moment, upTo int64, limit int) ([]*Event, error) {
	return s.query(ctx, selectEventsSince, roomNID, m.TS, m.Ordering, upTo, limit)
}

// Until is up to limit events of a room before a moment, latest first, and up
// to an ordering.
func (s *Events) Until(ctx context.Context, roomNID int64, m Moment, upTo int64, limit int) ([]*Event, error) {
	return s.query(ctx, selectEventsUntil, roomNID, m.TS, m.Ordering, upTo, limit)
}

// LastPosition is the position of the newest event.
func (s *Events) LastPosition(ctx context.Context) (position int64, err error) {
	err = s.db.Read().QueryRow(ctx, selectEventsMaxPosition).Scan(&position)
	return position, err
}

// eventRow is a row before it is decoded: the connection is given back before
// anything else is asked.
type eventRow struct {
	Event
	id  string
	raw []byte
}

func (s *Events) query(ctx context.Context, stmt *database.Statement, args ...any) ([]*Event, error) {
	events, _, err := s.queryUpTo(ctx, math.MaxInt, stmt, args...)
	return events, err
}

// queryUpTo reads no further than to the event with which they are so many bytes,
// and says whether there was one.
func (s *Events) queryUpTo(ctx context.Context, bytes int, stmt *database.Statement, args ...any) (events []*Event, full bool, err error) {
	list, full, err := s.fetch(ctx, bytes, stmt, args)
	if err != nil {
		return nil, false, err
	}
	if err := s.learn(ctx, list); err != nil {
		return nil, false, err
	}
	events = make([]*Event, len(list))
	for i := range list {
		row := &list[i]
		if e, ok := s.byNID.Get(row.NID); ok && (e.RedactedBy == row.RedactedBy || row.RedactedBy == 0) {
			events[i] = e
			continue
		}
		info, err := s.rooms.InfoOf(ctx, row.RoomNID)
		if err != nil {
			return nil, false, err
		}
		e := row.Event
		if e.Event, err = matrix.LoadEvent(info.Version, matrix.EventID(row.id), row.raw); err != nil {
			return nil, false, fmt.Errorf("stored event %s: %w", row.id, err)
		}
		events[i] = s.keep(&e)
	}
	return events, full, nil
}

// learn asks for all rooms of events at once.
func (s *Events) learn(ctx context.Context, list []eventRow) error {
	if len(list) < 2 {
		return nil
	}
	nids := make([]int64, len(list))
	for i := range list {
		nids[i] = list[i].RoomNID
	}
	slices.Sort(nids)
	return s.rooms.Learn(ctx, slices.Compact(nids))
}

func (s *Events) fetch(ctx context.Context, bytes int, stmt *database.Statement, args []any) (list []eventRow, full bool, err error) {
	rows, err := s.db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	size := 0
	for size < bytes && rows.Next() {
		var row eventRow
		if err := rows.Scan(&row.NID, &row.id, &row.RoomNID, &row.Position, &row.Ordering, &row.Root, &row.Branch, &row.Gap,
			&row.ReplacesNID, &row.RedactedBy, &row.TxnKey, &row.raw); err != nil {
			return nil, false, err
		}
		size += len(row.raw)
		list = append(list, row)
	}
	return list, size >= bytes, rows.Err()
}
