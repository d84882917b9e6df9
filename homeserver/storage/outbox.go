package storage

import (
	"context"
	"errors"
	"math"
	"sync"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Outbox holds the events that other servers have not taken yet.
type Outbox struct {
	db *database.DB

	mu      sync.Mutex
	relayed map[int64]bool // what is in the table, or is about to be
}

// An Addressed event is one with the servers that it goes to.
type Addressed struct {
	Position int64
	RoomNID  int64
	EventNID int64
	To       []matrix.ServerName
}

// A Destination is a server for which something waits.
type Destination struct {
	Name         matrix.ServerName
	Waiting      int // events, those of the transaction included
	Transaction  Transaction
	FailingSince int64 // Unix ms; 0: it takes what it is sent
}

// A Transaction is what a server is sent at once: all that waits for it up to a position.
type Transaction struct {
	ID      string // empty: there is none
	Through int64
	At      int64 // when it was made, Unix ms
}

// An OutboxEntry is an event that waits.
type OutboxEntry struct {
	Position int64
	EventNID int64
	Gone     bool // the event is no more
}

var (
	insertOutboxProgress = database.SQL(`
		INSERT INTO outbox_progress (id, position)
		VALUES (1, $1)
		ON CONFLICT (id) DO NOTHING`)
	selectOutboxProgress = database.SQL(`
		SELECT position
		FROM outbox_progress
		WHERE id = 1`)
	updateOutboxProgress = database.SQL(`
		UPDATE outbox_progress
		SET position = $1
		WHERE id = 1`)
	insertOutboxEvents = database.SQL(`
		INSERT INTO outbox_events (destination, position, room_nid, event_nid)
		SELECT destination, $2, $3, $4
		FROM UNNEST($1::TEXT[]) AS destination
		ON CONFLICT (destination, position) DO NOTHING`).OnSQLite(`
		INSERT INTO outbox_events (destination, position, room_nid, event_nid)
		SELECT value, $2, $3, $4
		FROM json_each($1)
		WHERE TRUE
		ON CONFLICT (destination, position) DO NOTHING`)
	selectOutboxCounts = database.SQL(`
		SELECT destination, COUNT(*)
		FROM outbox_events
		GROUP BY destination
		ORDER BY destination
		LIMIT 1000000`)
	selectOutboxDestinations = database.SQL(`
		SELECT destination, COALESCE(txn_id, ''), through, frozen_at, failing_since
		FROM outbox_destinations
		ORDER BY destination
		LIMIT 1000000`)
	selectOutboxTransaction = database.SQL(`
		SELECT COALESCE(txn_id, ''), through, frozen_at
		FROM outbox_destinations
		WHERE destination = $1`)
	selectOutboxEntries = database.SQL(`
		SELECT o.position, o.event_nid, e.event_nid IS NULL
		FROM outbox_events o
		LEFT JOIN events e ON e.event_nid = o.event_nid
		WHERE o.destination = $1 AND o.position > $2 AND o.position <= $3
		ORDER BY o.position
		LIMIT $4`)
	deleteOutboxEvents = database.SQL(`
		DELETE FROM outbox_events
		WHERE destination = $1 AND position <= $2`)
	// Of each room the newest event stays.
	thinOutboxEvents = database.SQL(`
		DELETE FROM outbox_events
		WHERE destination = $1 AND position > $2 AND position NOT IN (
			SELECT MAX(position)
			FROM outbox_events
			WHERE destination = $1
			GROUP BY room_nid)`)
	upsertOutboxTransaction = database.SQL(`
		INSERT INTO outbox_destinations (destination, txn_id, through, frozen_at, failing_since)
		VALUES ($1, $2, $3, $4, 0)
		ON CONFLICT (destination) DO UPDATE
		SET txn_id = excluded.txn_id, through = excluded.through, frozen_at = excluded.frozen_at, failing_since = 0`)
	upsertOutboxFailing = database.SQL(`
		INSERT INTO outbox_destinations (destination, through, frozen_at, failing_since)
		VALUES ($1, 0, 0, $2)
		ON CONFLICT (destination) DO UPDATE
		SET failing_since = excluded.failing_since`)
	deleteOutboxDestination = database.SQL(`
		DELETE FROM outbox_destinations
		WHERE destination = $1`)
	upsertRelayedEvent = database.SQL(`
		INSERT INTO relayed_events (event_nid, sent)
		VALUES ($1, $2)
		ON CONFLICT (event_nid) DO UPDATE
		SET sent = excluded.sent`)
	deleteRelayedEvents = database.SQL(`
		DELETE FROM relayed_events
		WHERE event_nid = ANY($1)`)
	selectRelayedEvents = database.SQL(`
		SELECT event_nid, sent
		FROM relayed_events
		ORDER BY event_nid
		LIMIT 1000000`)
)

func newOutbox(db *database.DB) *Outbox { return &Outbox{db: db, relayed: map[int64]bool{}} }

// Relay notes, with the event, that this server passes on an event of another one to the servers of its room. It is not sent
// to the server of its sender.
func (s *Outbox) Relay(ctx context.Context, tx *database.Tx, nid int64) error {
	return s.except(ctx, tx, nid, true)
}

// Withhold notes, with the event, that another server passes on an event of this one.
func (s *Outbox) Withhold(ctx context.Context, tx *database.Tx, nid int64) error {
	return s.except(ctx, tx, nid, false)
}

func (s *Outbox) except(ctx context.Context, tx *database.Tx, nid int64, sent bool) error {
	// Before the commit: then whoever reads the event knows of it.
	s.mu.Lock()
	s.relayed[nid] = sent
	s.mu.Unlock()
	tx.OnAbort(func() { s.forget([]int64{nid}) })
	return tx.Queue(ctx, upsertRelayedEvent, nid, sent)
}

// Relayed is what was noted of an event, if anything.
func (s *Outbox) Relayed(nid int64) (sent, noted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent, noted = s.relayed[nid]
	return sent, noted
}

func (s *Outbox) forget(nids []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nid := range nids {
		delete(s.relayed, nid)
	}
}

// Begin is the position up to which events have been addressed; at the very first time it is the one given, which is noted.
func (s *Outbox) Begin(ctx context.Context, position int64) (int64, error) {
	err := s.db.Read().QueryRow(ctx, selectOutboxProgress).Scan(&position)
	if errors.Is(err, database.ErrNoRows) {
		return position, s.db.Update(ctx, func(tx *database.Tx) error { return tx.Queue(ctx, insertOutboxProgress, position) })
	}
	if err != nil {
		return 0, err
	}
	rows, err := s.db.Read().Query(ctx, selectRelayedEvents)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for rows.Next() {
		var nid int64
		var sent bool
		if err := rows.Scan(&nid, &sent); err != nil {
			return 0, err
		}
		s.relayed[nid] = sent
	}
	return position, rows.Err()
}

// Add has events wait, forgets what was noted of some, and notes how far events have been addressed.
func (s *Outbox) Add(ctx context.Context, tx *database.Tx, events []Addressed, noted []int64, position int64) error {
	for _, e := range events {
		to := make([]string, len(e.To))
		for i, name := range e.To {
			to[i] = string(name)
		}
		if err := tx.Queue(ctx, insertOutboxEvents, to, e.Position, e.RoomNID, e.EventNID); err != nil {
			return err
		}
	}
	if len(noted) > 0 {
		if err := tx.Queue(ctx, deleteRelayedEvents, noted); err != nil {
			return err
		}
		tx.OnCommit(func() { s.forget(noted) })
	}
	return tx.Queue(ctx, updateOutboxProgress, position)
}

// Destinations is all servers for which something waits.
func (s *Outbox) Destinations(ctx context.Context) ([]Destination, error) {
	counts, err := s.counts(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Read().Query(ctx, selectOutboxDestinations)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Destination
	for rows.Next() {
		var d Destination
		t := &d.Transaction
		if err := rows.Scan(&d.Name, &t.ID, &t.Through, &t.At, &d.FailingSince); err != nil {
			return nil, err
		}
		d.Waiting = counts[d.Name]
		delete(counts, d.Name)
		list = append(list, d)
	}
	for name, waiting := range counts {
		list = append(list, Destination{Name: name, Waiting: waiting})
	}
	return list, rows.Err()
}

func (s *Outbox) counts(ctx context.Context) (map[matrix.ServerName]int, error) {
	rows, err := s.db.Read().Query(ctx, selectOutboxCounts)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[matrix.ServerName]int{}
	for rows.Next() {
		var name matrix.ServerName
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		counts[name] = int(n)
	}
	return counts, rows.Err()
}

// Transaction is the one that was made last for a server and that it has not taken, if there is one.
func (s *Outbox) Transaction(ctx context.Context, name matrix.ServerName) (t Transaction, err error) {
	err = s.db.Read().QueryRow(ctx, selectOutboxTransaction, name).Scan(&t.ID, &t.Through, &t.At)
	if errors.Is(err, database.ErrNoRows) {
		return Transaction{}, nil
	}
	return t, err
}

// Entries is the first events that wait for a server behind a position, and up to another.
func (s *Outbox) Entries(ctx context.Context, name matrix.ServerName, after, upTo int64, limit int) ([]OutboxEntry, error) {
	rows, err := s.db.Read().Query(ctx, selectOutboxEntries, name, after, upTo, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []OutboxEntry
	for rows.Next() {
		var e OutboxEntry
		if err := rows.Scan(&e.Position, &e.EventNID, &e.Gone); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// Freeze removes what waits for a server up to a position, which it has taken, and notes its next transaction, or that it has
// none. It returns how many events were removed.
func (s *Outbox) Freeze(ctx context.Context, tx *database.Tx, name matrix.ServerName, taken int64, next Transaction) (gone int64, err error) {
	if gone, err = tx.Exec(ctx, deleteOutboxEvents, name, taken); err != nil {
		return 0, err
	}
	if next.ID == "" {
		return gone, tx.Queue(ctx, deleteOutboxDestination, name)
	}
	return gone, tx.Queue(ctx, upsertOutboxTransaction, name, next.ID, next.Through, next.At)
}

// Thin removes what waits for a server behind a position, but for the newest event of each room, and returns how many events
// those were.
func (s *Outbox) Thin(ctx context.Context, tx *database.Tx, name matrix.ServerName, after int64) (int64, error) {
	return tx.Exec(ctx, thinOutboxEvents, name, after)
}

// Failing notes since when a server does not take what it is sent.
func (s *Outbox) Failing(ctx context.Context, tx *database.Tx, name matrix.ServerName, since int64) error {
	return tx.Queue(ctx, upsertOutboxFailing, name, since)
}

// Drop removes all that waits for a server, and returns how many events those were.
func (s *Outbox) Drop(ctx context.Context, tx *database.Tx, name matrix.ServerName) (int64, error) {
	return s.Freeze(ctx, tx, name, math.MaxInt64, Transaction{})
}
