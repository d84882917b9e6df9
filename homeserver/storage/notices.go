package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Notices holds the rooms in which users get notices of the server.
type Notices struct{ db *database.DB }

// NewNotices prepares the subject.
func NewNotices(db *database.DB) *Notices { return &Notices{db: db} }

var (
	upsertNoticeRoom = database.SQL(`
		INSERT INTO notice_rooms (user_id, room_id)
		VALUES ($1, $2)
		ON CONFLICT (user_id) DO UPDATE
		SET room_id = excluded.room_id`)
	selectNoticeRoom = database.SQL(`
		SELECT room_id
		FROM notice_rooms
		WHERE user_id = $1`)
)

// SetRoom says which room is a user's.
func (s *Notices) SetRoom(ctx context.Context, tx *database.Tx, user matrix.UserID, room matrix.RoomID) error {
	_, err := tx.Exec(ctx, upsertNoticeRoom, string(user), string(room))
	return err
}

// Room is a user's room, or empty.
func (s *Notices) Room(ctx context.Context, user matrix.UserID) (matrix.RoomID, error) {
	var room string
	err := s.db.Read().QueryRow(ctx, selectNoticeRoom, string(user)).Scan(&room)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return matrix.RoomID(room), err
}
