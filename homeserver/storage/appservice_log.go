package storage

import (
	"context"
	"math"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// AppServiceLog holds what operators have done about application services.
type AppServiceLog struct {
	db  *database.DB
	ids *database.IDs
}

// NewAppServiceLog prepares the subject.
func NewAppServiceLog(db *database.DB) *AppServiceLog {
	return &AppServiceLog{db, db.NewIDs("appservice_log")}
}

// An AppServiceDeed is something that an operator has done, or tried to.
type AppServiceDeed struct {
	Number      int64
	At          int64 // Unix ms
	By          matrix.UserID
	Service     string // empty: all
	Action      string
	Transaction string // or empty
	Letter      int64  // or 0
	Reason      string // or what else there is to say of it
	Outcome     int64  // 0 not known, 1 done, 2 not done
	Error       string
	Result      string // what came of it
}

const deedColumns = `number, at, done_by, service, action, txn_id, letter, reason, outcome, error, result`

var (
	insertDeed = database.SQL(`
		INSERT INTO appservice_log (` + deedColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`)
	trimDeeds = database.SQL(`
		DELETE FROM appservice_log
		WHERE number <= (
			SELECT number
			FROM appservice_log
			ORDER BY number DESC
			LIMIT 1 OFFSET $1)`)
	updateDeed = database.SQL(`
		UPDATE appservice_log
		SET outcome = $2, error = $3, result = $4
		WHERE number = $1`)
	deleteDeed = database.SQL(`
		DELETE FROM appservice_log
		WHERE number = $1`)
	deleteOldDeeds = database.SQL(`
		DELETE FROM appservice_log
		WHERE at <= $1`)
	selectDeeds = database.SQL(`
		SELECT ` + deedColumns + `
		FROM appservice_log
		WHERE service = $1 AND number < $2
		ORDER BY number DESC
		LIMIT $3`)
	selectAllDeeds = database.SQL(`
		SELECT ` + deedColumns + `
		FROM appservice_log
		WHERE number < $1
		ORDER BY number DESC
		LIMIT $2`)
)

// Add writes a deed down and returns its number. The newest ones are kept, most
// of them at most.
func (s *AppServiceLog) Add(ctx context.Context, d AppServiceDeed, most int) (int64, error) {
	number, err := s.ids.Next(ctx)
	if err != nil {
		return 0, err
	}
	return number, s.db.Update(ctx, func(tx *database.Tx) error {
		_, err := tx.Exec(ctx, insertDeed, number, d.At, d.By, d.Service, d.Action, d.Transaction, d.Letter, d.Reason, d.Outcome, d.Error, d.Result)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, trimDeeds, most)
		return err
	})
}

// Finish says how a deed ended, and what came of it.
func (s *AppServiceLog) Finish(ctx context.Context, number, outcome int64, problem, result string) error {
	return s.db.Update(ctx, func(tx *database.Tx) error { return tx.Queue(ctx, updateDeed, number, outcome, problem, result) })
}

// Remove deletes a deed.
func (s *AppServiceLog) Remove(ctx context.Context, number int64) error {
	return s.db.Update(ctx, func(tx *database.Tx) error { return tx.Queue(ctx, deleteDeed, number) })
}

// RemoveUntil deletes those of a time or before it.
func (s *AppServiceLog) RemoveUntil(ctx context.Context, at int64) error {
	return s.db.Update(ctx, func(tx *database.Tx) error { return tx.Queue(ctx, deleteOldDeeds, at) })
}

// List is deeds about a service, or all if none is named, the newest first: those
// with numbers below one, or from the newest if it is 0.
func (s *AppServiceLog) List(ctx context.Context, service string, below int64, limit int) ([]AppServiceDeed, error) {
	if below <= 0 {
		below = math.MaxInt64
	}
	stmt, args := selectDeeds, []any{service, below, limit}
	if service == "" {
		stmt, args = selectAllDeeds, args[1:]
	}
	rows, err := s.db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []AppServiceDeed
	for rows.Next() {
		var d AppServiceDeed
		if err := rows.Scan(&d.Number, &d.At, &d.By, &d.Service, &d.Action, &d.Transaction, &d.Letter, &d.Reason, &d.Outcome, &d.Error, &d.Result); err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	return list, rows.Err()
}
