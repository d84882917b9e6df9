package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Receipts holds how far users have read, the newest for each user, type and
// thread in a room.
type Receipts struct{ db *database.DB }

// NewReceipts prepares the receipts of a database that is migrated.
func NewReceipts(db *database.DB) *Receipts { return &Receipts{db} }

// A Receipt says that a user has read up to an event.
type Receipt struct {
	RoomNID  int64
	User     matrix.UserID
	Type     string // m.read or m.read.private
	Thread   string // an event ID or "main"; empty: the whole room
	Event    matrix.EventID
	Ordering int64 // of the event in its room
	TS       int64 // when it was sent, Unix ms
	Position int64 // in the stream
}

const receiptColumns = `room_nid, user_id, type, thread_id, event_id, ordering, ts, position`

var (
	upsertReceipt = database.SQL(`
		INSERT INTO receipts (room_nid, user_id, type, thread_id, event_id, ordering, ts, position)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (room_nid, user_id, type, thread_id) DO UPDATE
		SET event_id = excluded.event_id, ordering = excluded.ordering, ts = excluded.ts, position = excluded.position
		WHERE receipts.ordering < excluded.ordering`)
	selectReceiptOrdering = database.SQL(`
		SELECT ordering
		FROM receipts
		WHERE room_nid = $1 AND user_id = $2 AND type = $3 AND thread_id = $4`)
	// Newest first, but the reader's own before all others': of those none
	// may be missing.
	selectReceipts = database.SQL(`
		SELECT ` + receiptColumns + `
		FROM receipts
		WHERE room_nid = $1 AND position > $2 AND position <= $3 AND (type <> 'm.read.private' OR user_id = $4)
		ORDER BY CASE WHEN user_id = $4 THEN 0 ELSE 1 END, position DESC
		LIMIT $5`)
	selectReceiptsOfRooms = database.SQL(`
		SELECT ` + receiptColumns + `
		FROM receipts
		WHERE room_nid = ANY($1) AND position <= $2 AND (type <> 'm.read.private' OR user_id = $3)
		ORDER BY room_nid, position DESC
		LIMIT $4`)
	selectReceiptStream = database.SQL(`
		SELECT ` + receiptColumns + `
		FROM receipts
		WHERE position > $1 AND position <= COALESCE((
			SELECT position
			FROM receipts
			WHERE position > $1 AND position <= $2
			ORDER BY position
			LIMIT 1 OFFSET $3), $2)
		ORDER BY position, room_nid, user_id, type, thread_id
		LIMIT 100000`)
)

// Move stores a receipt unless what is there is as far or further, and reports
// whether it did.
func (s *Receipts) Move(ctx context.Context, tx *database.Tx, r Receipt) (bool, error) {
	n, err := tx.Exec(ctx, upsertReceipt, r.RoomNID, r.User, r.Type, r.Thread, r.Event, r.Ordering, r.TS, r.Position)
	return n > 0, err
}

// Ordering is the ordering of the event up to which a user has read in a
// thread; false if there is no receipt.
func (s *Receipts) Ordering(ctx context.Context, roomNID int64, user matrix.UserID, receiptType, thread string) (ordering int64, found bool, err error) {
	err = s.db.Read().QueryRow(ctx, selectReceiptOrdering, roomNID, user, receiptType, thread).Scan(&ordering)
	if errors.Is(err, database.ErrNoRows) {
		return 0, false, nil
	}
	return ordering, err == nil, err
}

// InRoom is up to limit receipts of a room with positions in (since, upTo]
// that the reader may see: its own, then those of others, newest first.
func (s *Receipts) InRoom(ctx context.Context, roomNID, since, upTo int64, reader matrix.UserID, limit int) ([]Receipt, error) {
	return s.query(ctx, selectReceipts, roomNID, since, upTo, reader, limit)
}

// InRooms is up to limit receipts of some rooms, up to a position, that the reader may see, by room.
func (s *Receipts) InRooms(ctx context.Context, rooms []int64, upTo int64, reader matrix.UserID, limit int) ([]Receipt, error) {
	return s.query(ctx, selectReceiptsOfRooms, rooms, upTo, reader, limit)
}

// Stream is about limit receipts of all rooms, private ones too, with
// positions in (after, upTo], in order. It is more of them only if several have
// the last position.
func (s *Receipts) Stream(ctx context.Context, after, upTo int64, limit int) ([]Receipt, error) {
	return s.query(ctx, selectReceiptStream, after, upTo, limit-1)
}

func (s *Receipts) query(ctx context.Context, stmt *database.Statement, args ...any) ([]Receipt, error) {
	rows, err := s.db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Receipt
	for rows.Next() {
		var r Receipt
		if err := rows.Scan(&r.RoomNID, &r.User, &r.Type, &r.Thread, &r.Event, &r.Ordering, &r.TS, &r.Position); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}
