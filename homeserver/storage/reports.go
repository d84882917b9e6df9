package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Reports holds what users have reported to the operators.
type Reports struct {
	db  *database.DB
	ids *database.IDs
}

// A Report is about an event, a room or a user.
type Report struct {
	ID         int64
	Kind       string // event, room or user
	Reporter   matrix.UserID
	Room       matrix.RoomID
	Event      matrix.EventID
	User       matrix.UserID // who is reported, or the sender of the event
	Reason     *string
	Score      *int64
	ReceivedAt int64
}

// A ReportQuery chooses reports of a kind; what is empty is any.
type ReportQuery struct {
	Kind     string
	Reporter string // a part of the user ID
	Room     string // a part of the room ID
	User     string // a part of the ID of who is reported
	Oldest   bool   // the oldest first
	From     int64
	Limit    int64
}

const (
	reportColumns = `report_id, kind, reporter, room_id, event_id, user_id, reason, score, received_at`
	reportsWhere  = `
		WHERE kind = $1 AND ($2 = '' OR reporter LIKE $2 ESCAPE '!') AND ($3 = '' OR room_id LIKE $3 ESCAPE '!')
			AND ($4 = '' OR user_id LIKE $4 ESCAPE '!')`
)

var (
	insertReport = database.SQL(`
		INSERT INTO reports (report_id, kind, reporter, room_id, event_id, user_id, reason, score, received_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (reporter, kind, room_id, event_id, user_id) DO UPDATE
		SET reason = excluded.reason, score = excluded.score, received_at = excluded.received_at`)
	countReportsOf = database.SQL(`
		SELECT COUNT(*)
		FROM (SELECT 1 FROM reports WHERE reporter = $1 LIMIT $2) found`)
	selectReport = database.SQL(`
		SELECT ` + reportColumns + `
		FROM reports
		WHERE kind = $1 AND report_id = $2`)
	selectNewestReports = database.SQL(`
		SELECT ` + reportColumns + `
		FROM reports` + reportsWhere + `
		ORDER BY report_id DESC
		LIMIT $5 OFFSET $6`)
	selectOldestReports = database.SQL(`
		SELECT ` + reportColumns + `
		FROM reports` + reportsWhere + `
		ORDER BY report_id
		LIMIT $5 OFFSET $6`)
	countReports = database.SQL(`
		SELECT COUNT(*)
		FROM reports` + reportsWhere)
	deleteReport = database.SQL(`
		DELETE FROM reports
		WHERE kind = $1 AND report_id = $2`)
	deleteOldestReports = database.SQL(`
		DELETE FROM reports
		WHERE report_id IN (SELECT report_id FROM reports ORDER BY report_id DESC LIMIT 1000 OFFSET $1)`)
)

// NewID is the number for a report.
func (s *Reports) NewID(ctx context.Context) (int64, error) { return s.ids.Next(ctx) }

// Insert stores a report, in the place of what the same user said about the
// same before.
func (s *Reports) Insert(ctx context.Context, tx *database.Tx, r Report) error {
	_, err := tx.Exec(ctx, insertReport, r.ID, r.Kind, string(r.Reporter), string(r.Room), string(r.Event), string(r.User), r.Reason, r.Score, r.ReceivedAt)
	return err
}

// CountOf is how many reports of a user wait for an operator, counted up to a
// limit.
func (s *Reports) CountOf(ctx context.Context, q database.Querier, reporter matrix.UserID, limit int64) (n int64, err error) {
	err = q.QueryRow(ctx, countReportsOf, string(reporter), limit).Scan(&n)
	return n, err
}

// Trim removes the oldest reports, but for the newest so many.
func (s *Reports) Trim(ctx context.Context, tx *database.Tx, keep int64) error {
	_, err := tx.Exec(ctx, deleteOldestReports, keep)
	return err
}

// Find is a report of a kind, or nil.
func (s *Reports) Find(ctx context.Context, kind string, id int64) (*Report, error) {
	var r Report
	err := r.scan(s.db.Read().QueryRow(ctx, selectReport, kind, id).Scan)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return &r, err
}

// Delete removes a report and says whether it was there.
func (s *Reports) Delete(ctx context.Context, tx *database.Tx, kind string, id int64) (bool, error) {
	n, err := tx.Exec(ctx, deleteReport, kind, id)
	return n > 0, err
}

// List is a page of reports, and how many there are in all.
func (s *Reports) List(ctx context.Context, q ReportQuery) (list []Report, total int64, err error) {
	args := []any{q.Kind, containing(q.Reporter), containing(q.Room), containing(q.User)}
	if err := s.db.Read().QueryRow(ctx, countReports, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	stmt := selectNewestReports
	if q.Oldest {
		stmt = selectOldestReports
	}
	rows, err := s.db.Read().Query(ctx, stmt, append(args, q.Limit, q.From)...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Report
		if err := r.scan(rows.Scan); err != nil {
			return nil, 0, err
		}
		list = append(list, r)
	}
	return list, total, rows.Err()
}

// containing is the pattern for texts that contain one; empty for any.
func containing(part string) string {
	if part == "" {
		return ""
	}
	return "%" + likeEscaper.Replace(part) + "%"
}

func (r *Report) scan(scan func(...any) error) error {
	return scan(&r.ID, &r.Kind, &r.Reporter, &r.Room, &r.Event, &r.User, &r.Reason, &r.Score, &r.ReceivedAt)
}
