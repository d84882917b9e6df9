package storage

import (
	"context"
	"errors"
	"fmt"

	"trestle/appservice"
	"trestle/internal/database"
)

var (
	selectPlaces = database.SQL(`
		SELECT service, MAX(position), SUM(frozen)::BIGINT, SUM(events)::BIGINT, COALESCE(MIN(oldest), 0), SUM(letters)::BIGINT, MAX(paused)
		FROM (
			SELECT service, position, 0 AS frozen, 0 AS events, NULL AS oldest, 0 AS letters, 0 AS paused
			FROM appservice_cursors
			UNION ALL
			SELECT service, 0, 1, events, NULLIF(oldest, 0), 0, 0
			FROM appservice_transactions
			UNION ALL
			SELECT service, 0, 0, 0, NULL, 1, 0
			FROM appservice_dead_letters
			UNION ALL
			SELECT service, 0, 0, 0, NULL, 0, 1
			FROM appservice_pauses) AS kept
		GROUP BY service
		ORDER BY service
		LIMIT $1`)
	sumFrozen = database.SQL(`
		SELECT COUNT(*), COALESCE(SUM(events), 0)::BIGINT, COALESCE(MIN(NULLIF(oldest, 0)), 0)
		FROM appservice_transactions
		WHERE service = $1`)
	deleteCursor = database.SQL(`
		DELETE FROM appservice_cursors
		WHERE service = $1`)
	deleteFrozen = database.SQL(`
		DELETE FROM appservice_transactions
		WHERE service = $1`)
	deleteMessagesOfService = database.SQL(`
		DELETE FROM appservice_messages
		WHERE service = $1`)
	deleteLettersOfService = database.SQL(`
		DELETE FROM appservice_dead_letters
		WHERE service = $1`)
	selectFrozenNumbers = database.SQL(`
		SELECT number, events
		FROM appservice_transactions
		WHERE service = $1 AND number > $2
		ORDER BY number
		LIMIT 1000`)
	skipToPosition = database.SQL(`
		UPDATE appservice_cursors
		SET number = number + 1, skipped_from = 0, skipped = CASE WHEN skipped > $2 THEN skipped ELSE $2 END
		WHERE service = $1 AND number = $3`)
)

// maxPlaces is how many services can be told of.
const maxPlaces = 10_000

// Places is what is kept of each service, in the order of their IDs, whether it is
// registered or not.
func (s *AppServices) Places(ctx context.Context) ([]appservice.Place, error) {
	rows, err := s.db.Read().Query(ctx, selectPlaces, maxPlaces)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []appservice.Place
	for rows.Next() {
		var p appservice.Place
		var paused int
		if err := rows.Scan(&p.Service, &p.Position, &p.Frozen, &p.Events, &p.Oldest, &p.Letters, &paused); err != nil {
			return nil, err
		}
		p.Paused = paused > 0
		list = append(list, p)
	}
	return list, rows.Err()
}

// Forget removes all that is kept of a service, and returns what that was; nil if
// there was nothing. Messages in frozen transactions stay in their inboxes.
func (s *AppServices) Forget(ctx context.Context, service string) (forgotten *appservice.Place, err error) {
	err = s.db.Update(ctx, func(tx *database.Tx) error {
		forgotten, err = forget(ctx, tx, service)
		return err
	})
	return forgotten, err
}

func forget(ctx context.Context, tx *database.Tx, service string) (*appservice.Place, error) {
	cursor, err := readCursor(ctx, tx, service)
	if err != nil && !errors.Is(err, database.ErrNoRows) {
		return nil, err
	}
	p := appservice.Place{Service: service, Position: cursor.Position}
	if err := tx.QueryRow(ctx, sumFrozen, service).Scan(&p.Frozen, &p.Events, &p.Oldest); err != nil {
		return nil, err
	}
	var gone [5]int64
	for i, stmt := range []*database.Statement{deleteCursor, deleteFrozen, deleteMessagesOfService, deleteLettersOfService, deletePause} {
		if gone[i], err = tx.Exec(ctx, stmt, service); err != nil {
			return nil, err
		}
	}
	p.Letters, p.Paused = int(gone[3]), gone[4] > 0
	if gone == [5]int64{} {
		return nil, nil
	}
	return &p, nil
}

// BuryAll makes dead letters of all transactions of a service with numbers above
// acked, and lets no events up to a position be sent. It returns how many
// transactions that are, and how many events are in them. What was tried in
// vain, as the letter says, is the first. A number is left out, so that a
// transaction that was made before, and is not frozen yet, cannot be.
func (s *AppServices) BuryAll(ctx context.Context, acked, upTo int64, l appservice.DeadLetter) (transactions, events int, err error) {
	const tries = 10
	for range tries {
		var list []buriable
		if list, err = s.buryAll(ctx, acked, upTo, l); err == nil {
			for _, b := range list {
				events += b.events
			}
			return len(list), events, nil
		}
		if !errors.Is(err, ErrCursorMoved) {
			break
		}
	}
	return 0, 0, err
}

// A buriable is a transaction that becomes a dead letter.
type buriable struct {
	number int64
	events int
	letter int64
}

func (s *AppServices) buryAll(ctx context.Context, acked, upTo int64, l appservice.DeadLetter) ([]buriable, error) {
	cursor, err := readCursor(ctx, s.db.Read(), l.Service)
	if err != nil {
		return nil, err
	}
	list, err := s.buriable(ctx, l.Service, acked)
	if err != nil {
		return nil, err
	}
	return list, s.db.Update(ctx, func(tx *database.Tx) error {
		moved, err := tx.Exec(ctx, skipToPosition, l.Service, upTo, cursor.Number)
		if err != nil {
			return err
		}
		if moved == 0 {
			return fmt.Errorf("%w: all of %s", ErrCursorMoved, l.Service)
		}
		l, last := l, acked
		for _, b := range list {
			if err := bury(ctx, tx, b.letter, b.number, l); err != nil {
				return err
			}
			l.Attempts, l.LastError, l.FailedAt = 0, "", 0
			last = b.number
		}
		return acknowledge(ctx, tx, l.Service, last)
	})
}

// buriable is the transactions above a number, each with the number of a letter.
func (s *AppServices) buriable(ctx context.Context, service string, acked int64) (list []buriable, err error) {
	rows, err := s.db.Read().Query(ctx, selectFrozenNumbers, service, acked)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var b buriable
		if err := rows.Scan(&b.number, &b.events); err != nil {
			rows.Close()
			return nil, err
		}
		list = append(list, b)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].letter, err = s.letters.Next(ctx); err != nil {
			return nil, err
		}
	}
	return list, nil
}
