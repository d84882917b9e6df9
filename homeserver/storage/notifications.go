package storage

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/internal/database"
)

// Notifications holds the events that notify users, and how many of them users
// have not read.
type Notifications struct{ db *database.DB }

// A Notification is an event that notifies a user.
type Notification struct {
	UserNID   int64
	Position  int64 // of the event in the stream
	RoomNID   int64
	EventNID  int64
	ThreadNID int64 // the root of its thread; 0: the main timeline
	Highlight bool
	Read      bool
	TS        int64           // Unix ms
	Actions   json.RawMessage // those of the rule
}

// A Count is what a user has not read of a thread.
type Count struct {
	UserNID       int64
	RoomNID       int64
	ThreadNID     int64
	Notifications int64
	Highlights    int64
	Newest        int64 // position of the newest unread notification
}

const notificationColumns = `user_nid, position, room_nid, event_nid, thread_nid, highlight, read, ts, actions`

var (
	insertNotification = database.SQL(`
		INSERT INTO notifications (user_nid, position, room_nid, event_nid, thread_nid, highlight, read, ts, actions)
		VALUES ($1, $2, $3, $4, $5, $6, FALSE, $7, $8)
		ON CONFLICT DO NOTHING`)
	selectNotificationsBefore = database.SQL(`
		SELECT ` + notificationColumns + `
		FROM notifications
		WHERE user_nid = $1 AND position < $2
		ORDER BY position DESC
		LIMIT $3`)
	selectHighlightsBefore = database.SQL(`
		SELECT ` + notificationColumns + `
		FROM notifications
		WHERE user_nid = $1 AND position < $2 AND highlight
		ORDER BY position DESC
		LIMIT $3`)
	selectNotificationsAfter = database.SQL(`
		SELECT ` + notificationColumns + `
		FROM notifications
		WHERE user_nid = $1 AND position > $2
		ORDER BY position
		LIMIT $3`)
	selectUnreadOfUser = database.SQL(`
		SELECT user_nid, room_nid, thread_nid, notifications, highlights, newest
		FROM unread_counts
		WHERE user_nid = $1
		ORDER BY room_nid, thread_nid`)
	selectUnreadOfRoom = database.SQL(`
		SELECT user_nid, room_nid, thread_nid, notifications, highlights, newest
		FROM unread_counts
		WHERE user_nid = $1 AND room_nid = $2
		ORDER BY thread_nid`)
	selectCursorOf = database.SQL(`
		SELECT position
		FROM stream_cursors
		WHERE reader = $1`)
	upsertCursor = database.SQL(`
		INSERT INTO stream_cursors (reader, position)
		VALUES ($1, $2)
		ON CONFLICT (reader) DO UPDATE
		SET position = excluded.position`)
)

// notificationCursor is the name of the reader that makes notifications.
const notificationCursor = "push"

// NewNotifications prepares the subject.
func NewNotifications(db *database.DB) *Notifications { return &Notifications{db} }

// Begin is the position up to which events have been held against users' rules.
// Where none have, that is the given one from now on.
func (s *Notifications) Begin(ctx context.Context, position int64) (int64, error) {
	at, found, err := s.cursor(ctx)
	if found || err != nil {
		return at, err
	}
	err = s.db.Update(ctx, func(tx *database.Tx) error { return s.Advance(ctx, tx, position) })
	return position, err
}

func (s *Notifications) cursor(ctx context.Context) (position int64, found bool, err error) {
	err = s.db.Read().QueryRow(ctx, selectCursorOf, notificationCursor).Scan(&position)
	if errors.Is(err, database.ErrNoRows) {
		return 0, false, nil
	}
	return position, err == nil, err
}

// Advance stores that all events up to a position were held against users' rules.
func (s *Notifications) Advance(ctx context.Context, tx *database.Tx, position int64) error {
	return tx.Queue(ctx, upsertCursor, notificationCursor, position)
}

// Insert stores notifications, unread. What is there already stays as it is.
func (s *Notifications) Insert(ctx context.Context, tx *database.Tx, list []Notification) error {
	rows := make([][]any, len(list))
	for i, n := range list {
		rows[i] = []any{n.UserNID, n.Position, n.RoomNID, n.EventNID, n.ThreadNID, n.Highlight, n.TS, string(n.Actions)}
	}
	return tx.ExecMany(ctx, insertNotification, rows)
}

// Before is up to limit notifications of a user from before a position, newest first.
func (s *Notifications) Before(ctx context.Context, userNID, position int64, highlights bool, limit int) ([]Notification, error) {
	stmt := selectNotificationsBefore
	if highlights {
		stmt = selectHighlightsBefore
	}
	return readNotifications(ctx, s.db.Read(), stmt, userNID, position, limit)
}

// After is up to limit notifications of a user from after a position, oldest first.
func (s *Notifications) After(ctx context.Context, userNID, position int64, limit int) ([]Notification, error) {
	return readNotifications(ctx, s.db.Read(), selectNotificationsAfter, userNID, position, limit)
}

func readNotifications(ctx context.Context, from database.Querier, stmt *database.Statement, args ...any) ([]Notification, error) {
	rows, err := from.Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Notification
	for rows.Next() {
		var n Notification
		var actions string
		if err := rows.Scan(&n.UserNID, &n.Position, &n.RoomNID, &n.EventNID, &n.ThreadNID, &n.Highlight, &n.Read, &n.TS, &actions); err != nil {
			return nil, err
		}
		n.Actions = json.RawMessage(actions)
		list = append(list, n)
	}
	return list, rows.Err()
}

// Counts is what a user has not read, by room and thread.
func (s *Notifications) Counts(ctx context.Context, userNID int64) ([]Count, error) {
	return readCounts(ctx, s.db.Read(), selectUnreadOfUser, userNID)
}

// CountsIn is what a user has not read in a room, by thread.
func (s *Notifications) CountsIn(ctx context.Context, tx *database.Tx, userNID, roomNID int64) ([]Count, error) {
	return readCounts(ctx, tx, selectUnreadOfRoom, userNID, roomNID)
}

func readCounts(ctx context.Context, from database.Querier, stmt *database.Statement, args ...any) ([]Count, error) {
	rows, err := from.Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Count
	for rows.Next() {
		var c Count
		if err := rows.Scan(&c.UserNID, &c.RoomNID, &c.ThreadNID, &c.Notifications, &c.Highlights, &c.Newest); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}
