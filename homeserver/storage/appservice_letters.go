package storage

import (
	"context"
	"errors"
	"fmt"

	"trestle/appservice"
	"trestle/internal/database"
)

// ErrNotWaiting means that a transaction is not in the queue of its application
// service any more.
var ErrNotWaiting = errors.New("the transaction does not wait any more")

const letterColumns = `letter, service, txn_id, position, events, oldest, reason, skipped_by, skipped_at, attempts, error, failed_at`

var (
	upsertPause = database.SQL(`
		INSERT INTO appservice_pauses (service, reason, paused_at)
		VALUES ($1, $2, $3)
		ON CONFLICT (service) DO UPDATE
		SET reason = excluded.reason, paused_at = excluded.paused_at`)
	deletePause = database.SQL(`
		DELETE FROM appservice_pauses
		WHERE service = $1`)
	selectPause = database.SQL(`
		SELECT service, reason, paused_at
		FROM appservice_pauses
		WHERE service = $1`)
	insertLetter = database.SQL(`
		INSERT INTO appservice_dead_letters (` + letterColumns + `, body)
		SELECT $1::bigint, service, txn_id, position, events, oldest, $4, $5, $6::bigint, $7::bigint, $8, $9::bigint, body
		FROM appservice_transactions
		WHERE service = $2 AND number = $3`)
	selectLetters = database.SQL(`
		SELECT ` + letterColumns + `, LENGTH(body), NULL
		FROM appservice_dead_letters
		WHERE service = $1 AND letter > $2
		ORDER BY letter
		LIMIT $3`)
	selectAllLetters = database.SQL(`
		SELECT ` + letterColumns + `, LENGTH(body), NULL
		FROM appservice_dead_letters
		WHERE letter > $1
		ORDER BY letter
		LIMIT $2`)
	selectLetter = database.SQL(`
		SELECT ` + letterColumns + `, LENGTH(body), body
		FROM appservice_dead_letters
		WHERE letter = $1`)
	countLetters = database.SQL(`
		SELECT COUNT(*)
		FROM appservice_dead_letters
		WHERE service = $1`)
	updateLetter = database.SQL(`
		UPDATE appservice_dead_letters
		SET attempts = attempts + 1, error = $2, failed_at = $3
		WHERE letter = $1`)
	deleteLetter = database.SQL(`
		DELETE FROM appservice_dead_letters
		WHERE letter = $1`)
)

// Pause stores that a service is paused.
func (s *AppServices) Pause(ctx context.Context, p appservice.Pause) error {
	return s.db.Update(ctx, func(tx *database.Tx) error {
		return tx.Queue(ctx, upsertPause, p.Service, p.Reason, p.Since)
	})
}

// Resume forgets that a service is paused.
func (s *AppServices) Resume(ctx context.Context, service string) error {
	return s.db.Update(ctx, func(tx *database.Tx) error { return tx.Queue(ctx, deletePause, service) })
}

// Paused is the pause of a service, or nil.
func (s *AppServices) Paused(ctx context.Context, service string) (*appservice.Pause, error) {
	var p appservice.Pause
	err := s.db.Read().QueryRow(ctx, selectPause, service).Scan(&p.Service, &p.Reason, &p.Since)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return &p, err
}

// Bury makes a dead letter of the transaction with a number, the first that
// waits, and returns the letter's own number. What it is made of the transaction
// says; the rest is as given. It is [ErrNotWaiting] if there is no such
// transaction. Messages inside leave their inboxes: they are in the letter.
func (s *AppServices) Bury(ctx context.Context, number int64, l appservice.DeadLetter) (int64, error) {
	letter, err := s.letters.Next(ctx)
	if err != nil {
		return 0, err
	}
	return letter, s.db.Update(ctx, func(tx *database.Tx) error {
		if err := bury(ctx, tx, letter, number, l); err != nil {
			return err
		}
		return acknowledge(ctx, tx, l.Service, number)
	})
}

// bury writes the letter of a transaction.
func bury(ctx context.Context, tx *database.Tx, letter, number int64, l appservice.DeadLetter) error {
	moved, err := tx.Exec(ctx, insertLetter, letter, l.Service, number, l.Reason, l.By, l.SkippedAt, l.Attempts, l.LastError, l.FailedAt)
	if err != nil {
		return err
	}
	if moved == 0 {
		return fmt.Errorf("%w: transaction %d of %s", ErrNotWaiting, number, l.Service)
	}
	return nil
}

// Letters returns dead letters of a service, or of all if none is named, with
// numbers above after, in order and without their bodies.
func (s *AppServices) Letters(ctx context.Context, service string, after int64, limit int) ([]appservice.DeadLetter, error) {
	stmt, args := selectLetters, []any{service, after, limit}
	if service == "" {
		stmt, args = selectAllLetters, args[1:]
	}
	rows, err := s.db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []appservice.DeadLetter
	for rows.Next() {
		l, err := readLetter(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, *l)
	}
	return list, rows.Err()
}

// Letter is a dead letter with its body, or nil.
func (s *AppServices) Letter(ctx context.Context, number int64) (*appservice.DeadLetter, error) {
	l, err := readLetter(s.db.Read().QueryRow(ctx, selectLetter, number).Scan)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return l, err
}

func readLetter(scan func(...any) error) (*appservice.DeadLetter, error) {
	var l appservice.DeadLetter
	err := scan(&l.Number, &l.Service, &l.Transaction, &l.Position, &l.Events, &l.Oldest, &l.Reason, &l.By, &l.SkippedAt,
		&l.Attempts, &l.LastError, &l.FailedAt, &l.Size, &l.Body)
	return &l, err
}

// CountLetters is how many dead letters a service has.
func (s *AppServices) CountLetters(ctx context.Context, service string) (n int, err error) {
	err = s.db.Read().QueryRow(ctx, countLetters, service).Scan(&n)
	return n, err
}

// LetterFailed notes that a dead letter was sent again in vain.
func (s *AppServices) LetterFailed(ctx context.Context, number int64, problem string, at int64) error {
	return s.db.Update(ctx, func(tx *database.Tx) error { return tx.Queue(ctx, updateLetter, number, problem, at) })
}

// RemoveLetter removes a dead letter and says whether it was there.
func (s *AppServices) RemoveLetter(ctx context.Context, number int64) (there bool, err error) {
	err = s.db.Update(ctx, func(tx *database.Tx) error {
		n, err := tx.Exec(ctx, deleteLetter, number)
		there = n > 0
		return err
	})
	return there, err
}
