package storage

import (
	"context"
	"errors"
	"fmt"

	"trestle/appservice"
	"trestle/internal/database"
)

// ErrCursorMoved means that somebody else has frozen a transaction for the
// same application service.
var ErrCursorMoved = errors.New("the cursor of the application service has moved")

// AppServices holds the delivery to application services: a cursor for each, the
// transactions that they have not accepted yet, and what operators have decided.
type AppServices struct {
	db      *database.DB
	letters *database.IDs
}

var (
	insertCursor = database.SQL(`
		INSERT INTO appservice_cursors (service, epoch, position, number)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT DO NOTHING`)
	selectCursor = database.SQL(`
		SELECT service, epoch, position, number, skipped_from, skipped, silent
		FROM appservice_cursors
		WHERE service = $1`)
	moveCursor = database.SQL(`
		UPDATE appservice_cursors
		SET position = CASE WHEN position > $2 THEN position ELSE $2 END, number = $3
		WHERE service = $1 AND number = $4`)
	advanceCursor = database.SQL(`
		UPDATE appservice_cursors
		SET position = $2
		WHERE service = $1 AND number = $3 AND position < $2`)
	silenceService = database.SQL(`
		UPDATE appservice_cursors
		SET silent = $2
		WHERE service = $1 AND silent = 0`)
	// What an operator has skipped, and nobody has gone through yet, stays so.
	endSilence = database.SQL(`
		UPDATE appservice_cursors
		SET skipped_from = CASE WHEN skipped_from = 0 AND position < skipped THEN 0 ELSE silent END, skipped = $2, silent = 0
		WHERE service = $1 AND silent > 0`)
	insertFrozen = database.SQL(`
		INSERT INTO appservice_transactions (service, number, txn_id, position, events, oldest, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`)
	selectFrozen = database.SQL(`
		SELECT service, number, txn_id, position, events, oldest, body
		FROM appservice_transactions
		WHERE service = $1 AND number > $2
		ORDER BY number
		LIMIT 1000`)
	deleteDelivered = database.SQL(`
		DELETE FROM appservice_transactions
		WHERE service = $1 AND number <= $2`)
	insertFrozenMessage = database.SQL(`
		INSERT INTO appservice_messages (service, number, user_id, device_id, position)
		VALUES ($1, $2, $3, $4, $5)`)
	selectFrozenMessages = database.SQL(`
		SELECT user_id, device_id, position
		FROM appservice_messages
		WHERE service = $1 AND number <= $2
		ORDER BY number, user_id, device_id, position
		LIMIT 100000`)
	deleteFrozenMessages = database.SQL(`
		DELETE FROM appservice_messages
		WHERE service = $1 AND number <= $2`)
	deleteMessage = database.SQL(`
		DELETE FROM to_device
		WHERE user_id = $1 AND device_id = $2 AND position = $3`)
)

// NewAppServices prepares the subject.
func NewAppServices(db *database.DB) *AppServices { return &AppServices{db, db.NewIDs("dead_letter")} }

// Begin returns the cursor of a service. If there is none, it stores the given
// one and returns that.
func (s *AppServices) Begin(ctx context.Context, c appservice.Cursor) (appservice.Cursor, error) {
	found, err := readCursor(ctx, s.db.Read(), c.Service)
	if !errors.Is(err, database.ErrNoRows) {
		return found, err
	}
	err = s.db.Update(ctx, func(tx *database.Tx) error {
		if _, err := tx.Exec(ctx, insertCursor, c.Service, c.Epoch, c.Position, c.Number); err != nil {
			return err
		}
		found, err = readCursor(ctx, tx, c.Service)
		return err
	})
	return found, err
}

func readCursor(ctx context.Context, from database.Querier, service string) (c appservice.Cursor, err error) {
	err = from.QueryRow(ctx, selectCursor, service).Scan(&c.Service, &c.Epoch, &c.Position, &c.Number, &c.SkippedFrom, &c.Skipped, &c.Silent)
	return c, err
}

// Silence notes from where a service's registration has had no URL, unless that is
// known. One that has no cursor is new when it gets a URL.
func (s *AppServices) Silence(ctx context.Context, service string, position int64) error {
	return s.db.Update(ctx, func(tx *database.Tx) error {
		return tx.Queue(ctx, silenceService, service, max(1, position))
	})
}

// EndSilence leaves out the events from there up to a position, and returns the cursor.
func (s *AppServices) EndSilence(ctx context.Context, service string, position int64) (c appservice.Cursor, err error) {
	err = s.db.Update(ctx, func(tx *database.Tx) error {
		if _, err := tx.Exec(ctx, endSilence, service, position); err != nil {
			return err
		}
		c, err = readCursor(ctx, tx, service)
		return err
	})
	return c, err
}

// Waiting returns the frozen transactions of a service with numbers above
// after, in order, at most 1,000.
func (s *AppServices) Waiting(ctx context.Context, service string, after int64) ([]appservice.Frozen, error) {
	rows, err := s.db.Read().Query(ctx, selectFrozen, service, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []appservice.Frozen
	for rows.Next() {
		var f appservice.Frozen
		if err := rows.Scan(&f.Service, &f.Number, &f.ID, &f.Position, &f.Events, &f.Oldest, &f.Body); err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, rows.Err()
}

// Freeze stores transactions of a service, which follow each other, moves the
// cursor to the position and number of the last, and removes the transactions up to
// the number acked. It is [ErrCursorMoved], and nothing is changed, unless the
// cursor's number is the one before the first.
func (s *AppServices) Freeze(ctx context.Context, list []appservice.Frozen, acked int64) error {
	first, last := list[0], list[len(list)-1]
	return s.db.Update(ctx, func(tx *database.Tx) error {
		moved, err := tx.Exec(ctx, moveCursor, last.Service, last.Position, last.Number, first.Number-1)
		if err != nil {
			return err
		}
		if moved == 0 {
			return fmt.Errorf("%w: transaction %d of %s", ErrCursorMoved, first.Number, first.Service)
		}
		var messages [][]any
		for _, f := range list {
			if err := tx.Queue(ctx, insertFrozen, f.Service, f.Number, f.ID, f.Position, f.Events, f.Oldest, f.Body); err != nil {
				return err
			}
			for _, m := range f.Messages {
				messages = append(messages, []any{f.Service, f.Number, m.User, m.Device, m.Position})
			}
		}
		if err := tx.ExecMany(ctx, insertFrozenMessage, messages); err != nil {
			return err
		}
		return acknowledge(ctx, tx, last.Service, acked)
	})
}

// Acknowledge removes the transactions of a service up to a number, and the
// messages in them from the inboxes of their devices.
func (s *AppServices) Acknowledge(ctx context.Context, service string, acked int64) error {
	return s.db.Update(ctx, func(tx *database.Tx) error { return acknowledge(ctx, tx, service, acked) })
}

func acknowledge(ctx context.Context, tx *database.Tx, service string, acked int64) error {
	if err := tx.Queue(ctx, deleteDelivered, service, acked); err != nil {
		return err
	}
	messages, err := frozenMessages(ctx, tx, service, acked)
	if err != nil || len(messages) == 0 {
		return err
	}
	if err := tx.ExecMany(ctx, deleteMessage, messages); err != nil {
		return err
	}
	return tx.Queue(ctx, deleteFrozenMessages, service, acked)
}

// frozenMessages is user, device and position of the messages in transactions.
func frozenMessages(ctx context.Context, tx *database.Tx, service string, upTo int64) ([][]any, error) {
	rows, err := tx.Query(ctx, selectFrozenMessages, service, upTo)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list [][]any
	for rows.Next() {
		var m appservice.Message
		if err := rows.Scan(&m.User, &m.Device, &m.Position); err != nil {
			return nil, err
		}
		list = append(list, []any{m.User, m.Device, m.Position})
	}
	return list, rows.Err()
}

// Advance moves cursors forward, each unless its number has changed.
func (s *AppServices) Advance(ctx context.Context, cursors []appservice.Cursor) error {
	rows := make([][]any, len(cursors))
	for i, c := range cursors {
		rows[i] = []any{c.Service, c.Position, c.Number}
	}
	return s.db.Update(ctx, func(tx *database.Tx) error {
		return tx.ExecMany(ctx, advanceCursor, rows)
	})
}
