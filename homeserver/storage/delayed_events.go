package storage

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// DelayedEvents holds events that are to be sent later, and what became of them.
type DelayedEvents struct{ db *database.DB }

// NewDelayedEvents is the delayed events of a database.
func NewDelayedEvents(db *database.DB) *DelayedEvents { return &DelayedEvents{db} }

// A DelayedEvent is an event that is to be sent later. Times are milliseconds.
type DelayedEvent struct {
	ID         string
	User       matrix.UserID
	AppService string
	Guest      bool
	Unlimited  bool // exempt from rate limits
	RoomNID    int64
	RoomID     matrix.RoomID
	Type       string
	StateKey   *string
	Content    json.RawMessage
	TxnKey     string // of the request that scheduled it; empty for none
	Timestamp  int64  // that the event is to have; 0 is when it is sent
	Delay      int64
	Since      int64 // when Delay began

	FinalisedAt int64           // 0: it is scheduled
	EventID     matrix.EventID  // empty: it was not sent
	Error       json.RawMessage // why it could not be sent; nil: somebody did not want it to be
}

const delayedColumns = `d.delay_id, d.user_id, COALESCE(d.appservice, ''), d.guest, d.unlimited, d.room_nid, r.room_id, d.type, d.state_key,
	d.content, COALESCE(d.txn_key, ''), d.ts, d.delay, d.since, COALESCE(d.finalised_at, 0), COALESCE(d.event_id, ''), d.error`

var (
	insertDelayed = database.SQL(`
		INSERT INTO delayed_events (delay_id, user_id, appservice, guest, unlimited, room_nid, type, state_key, content, txn_key, ts,
			delay, since, due)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`)
	selectDelayed = database.SQL(`
		SELECT ` + delayedColumns + `
		FROM delayed_events d
		JOIN rooms r ON r.room_nid = d.room_nid
		WHERE d.delay_id = $1`)
	selectDelayedByTxn = database.SQL(`
		SELECT delay_id
		FROM delayed_events
		WHERE user_id = $1 AND room_nid = $2 AND txn_key = $3`)
	selectDueDelayed = database.SQL(`
		SELECT ` + delayedColumns + `
		FROM delayed_events d
		JOIN rooms r ON r.room_nid = d.room_nid
		WHERE d.finalised_at IS NULL AND d.due <= $1
		ORDER BY d.due, d.delay_id
		LIMIT $2`)
	selectNextDelayed = database.SQL(`
		SELECT due
		FROM delayed_events
		WHERE finalised_at IS NULL
		ORDER BY due
		LIMIT 1`)
	countDelayedOfUser = database.SQL(`
		SELECT COUNT(*), COALESCE(MIN(due), 0)
		FROM delayed_events
		WHERE user_id = $1 AND finalised_at IS NULL`)
	selectScheduledOfUser = database.SQL(`
		SELECT ` + delayedColumns + `
		FROM delayed_events d
		JOIN rooms r ON r.room_nid = d.room_nid
		WHERE d.user_id = $1 AND d.finalised_at IS NULL AND (d.due > $2 OR d.due = $2 AND d.delay_id > $3)
		ORDER BY d.due, d.delay_id
		LIMIT $4`)
	selectFinalisedOfUser = database.SQL(`
		SELECT ` + delayedColumns + `
		FROM delayed_events d
		JOIN rooms r ON r.room_nid = d.room_nid
		WHERE d.user_id = $1 AND d.finalised_at IS NOT NULL AND (d.due > $2 OR d.due = $2 AND d.delay_id > $3)
		ORDER BY d.due, d.delay_id
		LIMIT $4`)
	updateDelayed = database.SQL(`
		UPDATE delayed_events
		SET since = $2, due = $3
		WHERE delay_id = $1 AND finalised_at IS NULL`)
	finaliseDelayed = database.SQL(`
		UPDATE delayed_events
		SET finalised_at = $2, event_id = $3, error = $4
		WHERE delay_id = $1 AND finalised_at IS NULL`)
	deleteFinalisedDelayed = database.SQL(`
		DELETE FROM delayed_events
		WHERE finalised_at < $1`)
	deleteSurplusDelayed = database.SQL(`
		DELETE FROM delayed_events
		WHERE delay_id IN (
			SELECT n.delay_id
			FROM (
				SELECT delay_id, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY finalised_at DESC, delay_id) AS place
				FROM delayed_events
				WHERE finalised_at IS NOT NULL) n
			WHERE n.place > $1)`)
	deleteDelayedOfUser = database.SQL(`
		DELETE FROM delayed_events
		WHERE user_id = $1`)
)

// Insert schedules an event.
func (s *DelayedEvents) Insert(ctx context.Context, tx *database.Tx, e *DelayedEvent) error {
	_, err := tx.Exec(ctx, insertDelayed, e.ID, string(e.User), optional(e.AppService), e.Guest, e.Unlimited, e.RoomNID, e.Type, e.StateKey,
		[]byte(e.Content), optional(e.TxnKey), e.Timestamp, e.Delay, e.Since, e.Since+e.Delay)
	return err
}

// Find is an event, or nil.
func (s *DelayedEvents) Find(ctx context.Context, id string) (*DelayedEvent, error) {
	list, err := s.query(ctx, selectDelayed, id)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// ByTxn is the ID of the event that a request of a user has scheduled, or empty.
func (s *DelayedEvents) ByTxn(ctx context.Context, q database.Querier, user matrix.UserID, roomNID int64, key string) (id string, err error) {
	err = q.QueryRow(ctx, selectDelayedByTxn, string(user), roomNID, key).Scan(&id)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// Due is up to limit events whose time has come, in the order of their times.
func (s *DelayedEvents) Due(ctx context.Context, now int64, limit int) ([]*DelayedEvent, error) {
	return s.query(ctx, selectDueDelayed, now, limit)
}

// Next is when the next event is due; false if none is scheduled.
func (s *DelayedEvents) Next(ctx context.Context) (due int64, found bool, err error) {
	err = s.db.Read().QueryRow(ctx, selectNextDelayed).Scan(&due)
	if errors.Is(err, database.ErrNoRows) {
		return 0, false, nil
	}
	return due, err == nil, err
}

// Count is how many events a user has scheduled, and when the first is due.
func (s *DelayedEvents) Count(ctx context.Context, q database.Querier, user matrix.UserID) (n int, due int64, err error) {
	err = q.QueryRow(ctx, countDelayedOfUser, string(user)).Scan(&n, &due)
	return n, due, err
}

// A DelayedQuery asks for a page of a user's events, in the order in which
// they are or were due.
type DelayedQuery struct {
	User      matrix.UserID
	Finalised bool // those, rather than the scheduled ones
	AfterDue  int64
	AfterID   string
	Limit     int
}

// Page is a page of a user's events.
func (s *DelayedEvents) Page(ctx context.Context, q DelayedQuery) ([]*DelayedEvent, error) {
	stmt := selectScheduledOfUser
	if q.Finalised {
		stmt = selectFinalisedOfUser
	}
	return s.query(ctx, stmt, string(q.User), q.AfterDue, q.AfterID, q.Limit)
}

// Reschedule changes when a scheduled event is due; false if it is not scheduled.
func (s *DelayedEvents) Reschedule(ctx context.Context, tx *database.Tx, id string, since, due int64) (bool, error) {
	n, err := tx.Exec(ctx, updateDelayed, id, since, due)
	return n > 0, err
}

// Finalise stores what became of a scheduled event; false if it is not scheduled.
func (s *DelayedEvents) Finalise(ctx context.Context, tx *database.Tx, id string, now int64, event matrix.EventID, failure json.RawMessage) (bool, error) {
	n, err := tx.Exec(ctx, finaliseDelayed, id, now, optional(string(event)), []byte(failure))
	return n > 0, err
}

// Tidy forgets what was finalised before a time, and all but some of each user.
func (s *DelayedEvents) Tidy(ctx context.Context, tx *database.Tx, before int64, keep int) error {
	if _, err := tx.Exec(ctx, deleteFinalisedDelayed, before); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, deleteSurplusDelayed, keep)
	return err
}

// DeleteOf forgets the events of a user.
func (s *DelayedEvents) DeleteOf(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deleteDelayedOfUser, string(user))
	return err
}

func (s *DelayedEvents) query(ctx context.Context, stmt *database.Statement, args ...any) ([]*DelayedEvent, error) {
	rows, err := s.db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*DelayedEvent
	for rows.Next() {
		e := new(DelayedEvent)
		var user, room, event string
		var content, failure []byte
		err := rows.Scan(&e.ID, &user, &e.AppService, &e.Guest, &e.Unlimited, &e.RoomNID, &room, &e.Type, &e.StateKey,
			&content, &e.TxnKey, &e.Timestamp, &e.Delay, &e.Since, &e.FinalisedAt, &event, &failure)
		if err != nil {
			return nil, err
		}
		e.User, e.RoomID, e.EventID, e.Content, e.Error = matrix.UserID(user), matrix.RoomID(room), matrix.EventID(event), content, failure
		list = append(list, e)
	}
	return list, rows.Err()
}
