package storage

import (
	"context"

	"trestle/internal/database"
)

var (
	addUnread = database.SQL(`
		INSERT INTO unread_counts (user_nid, room_nid, thread_nid, notifications, highlights, newest)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (user_nid, room_nid, thread_nid) DO UPDATE
		SET notifications = unread_counts.notifications + excluded.notifications,
			highlights = unread_counts.highlights + excluded.highlights, newest = excluded.newest`)
	markRoomRead = database.SQL(`
		UPDATE notifications
		SET read = TRUE
		WHERE user_nid = $1 AND room_nid = $2 AND position <= $3 AND NOT read`)
	markThreadRead = database.SQL(`
		UPDATE notifications
		SET read = TRUE
		WHERE user_nid = $1 AND room_nid = $2 AND thread_nid = $4 AND position <= $3 AND NOT read`)
	deleteUnread = database.SQL(`
		DELETE FROM unread_counts
		WHERE user_nid = $1 AND room_nid = $2`)
	countUnread = database.SQL(`
		INSERT INTO unread_counts (user_nid, room_nid, thread_nid, notifications, highlights, newest)
		SELECT user_nid, room_nid, thread_nid, COUNT(*), SUM(CASE WHEN highlight THEN 1 ELSE 0 END), MAX(position)
		FROM notifications
		WHERE user_nid = $1 AND room_nid = $2 AND NOT read
		GROUP BY user_nid, room_nid, thread_nid`)
	selectNotifiedUnread = database.SQL(`
		SELECT user_nid, position, room_nid, event_nid, thread_nid, highlight, read, ts, actions
		FROM notifications
		WHERE position = $1 AND NOT read
		ORDER BY user_nid
		LIMIT 100000`)
	deleteNotificationsAt = database.SQL(`
		DELETE FROM notifications
		WHERE position = $1`)
	deleteNotificationsOfUser = database.SQL(`
		DELETE FROM notifications
		WHERE user_nid = $1 AND position IN (
			SELECT position FROM notifications WHERE user_nid = $1 ORDER BY position LIMIT $2)`)
	deleteUnreadOfUser = database.SQL(`
		DELETE FROM unread_counts
		WHERE user_nid = $1`)
	selectOldNotifications = database.SQL(`
		SELECT position, ts
		FROM notifications
		ORDER BY position
		LIMIT $1`)
	deleteOldNotifications = database.SQL(`
		DELETE FROM notifications
		WHERE position <= $1`)
)

// WholeRoom, as the thread of a [ReadMark], stands for all threads.
const WholeRoom int64 = -1

// A ReadMark says that a user has read a thread up to a position.
type ReadMark struct {
	UserNID   int64
	RoomNID   int64
	ThreadNID int64 // 0: the main timeline; [WholeRoom]: all
	UpTo      int64
}

// Add adds to what users have not read.
func (s *Notifications) Add(ctx context.Context, tx *database.Tx, list []Count) error {
	rows := make([][]any, len(list))
	for i, c := range list {
		rows[i] = []any{c.UserNID, c.RoomNID, c.ThreadNID, c.Notifications, c.Highlights, c.Newest}
	}
	return tx.ExecMany(ctx, addUnread, rows)
}

// Mark marks notifications as read. The counts have to be made anew.
func (s *Notifications) Mark(ctx context.Context, tx *database.Tx, m ReadMark) error {
	if m.ThreadNID == WholeRoom {
		return tx.Queue(ctx, markRoomRead, m.UserNID, m.RoomNID, m.UpTo)
	}
	return tx.Queue(ctx, markThreadRead, m.UserNID, m.RoomNID, m.UpTo, m.ThreadNID)
}

// Recount counts anew what a user has not read in a room.
func (s *Notifications) Recount(ctx context.Context, tx *database.Tx, userNID, roomNID int64) error {
	if err := tx.Queue(ctx, deleteUnread, userNID, roomNID); err != nil {
		return err
	}
	return tx.Queue(ctx, countUnread, userNID, roomNID)
}

// UnreadAt is the unread notifications of the event at a position.
func (s *Notifications) UnreadAt(ctx context.Context, from database.Querier, position int64) ([]Notification, error) {
	return readNotifications(ctx, from, selectNotifiedUnread, position)
}

// DeleteAt deletes the notifications of the event at a position.
func (s *Notifications) DeleteAt(ctx context.Context, tx *database.Tx, position int64) error {
	return tx.Queue(ctx, deleteNotificationsAt, position)
}

// Expire deletes notifications from before a time, Unix ms, a part at a time.
// What was not read stays counted until the user reads the room.
func (s *Notifications) Expire(ctx context.Context, before int64) error {
	for {
		upTo, err := s.oldest(ctx, before)
		if upTo == 0 || err != nil {
			return err
		}
		err = s.db.Update(ctx, func(tx *database.Tx) error { return tx.Queue(ctx, deleteOldNotifications, upTo) })
		if err != nil {
			return err
		}
	}
}

// oldest is the position up to which the next notifications to go are, or 0.
func (s *Notifications) oldest(ctx context.Context, before int64) (upTo int64, err error) {
	rows, err := s.db.Read().Query(ctx, selectOldNotifications, deletionBatch)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var position, ts int64
		if err := rows.Scan(&position, &ts); err != nil {
			return 0, err
		}
		if ts >= before {
			break
		}
		upTo = position
	}
	return upTo, rows.Err()
}

// DeleteUser deletes all notifications of a user.
func (s *Notifications) DeleteUser(ctx context.Context, userNID int64) error {
	for {
		var n int64
		err := s.db.Update(ctx, func(tx *database.Tx) (err error) {
			if n, err = tx.Exec(ctx, deleteNotificationsOfUser, userNID, deletionBatch); n > 0 || err != nil {
				return err
			}
			return tx.Queue(ctx, deleteUnreadOfUser, userNID)
		})
		if n == 0 || err != nil {
			return err
		}
	}
}
