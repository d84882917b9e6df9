package database

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// postgresRows are the rows of a statement whose first has arrived: before
// that, nobody knows whether the statement works.
type postgresRows struct {
	rows   pgx.Rows
	first  bool // the first row is there, and not yet asked for
	closed func() error
	failed error
}

// firstRow waits for the first row. On success, closed is called once when the
// rows are closed.
func firstRow(rows pgx.Rows, closed func() error) (*postgresRows, error) {
	first := rows.Next()
	if err := rows.Err(); err != nil {
		rows.Close()
		return nil, err
	}
	return &postgresRows{rows: rows, first: first, closed: closed}, nil
}

func (r *postgresRows) next() bool {
	if r.first {
		r.first = false
		return true
	}
	return r.rows.Next()
}

func (r *postgresRows) scan(dest []any) error { return r.rows.Scan(dest...) }

func (r *postgresRows) err() error { return errors.Join(r.rows.Err(), r.failed) }

func (r *postgresRows) close() {
	if r.closed == nil {
		return
	}
	r.rows.Close()
	r.failed = r.closed()
	r.closed = nil
}

// sendBatch sends statements in one round trip and returns the rows of the
// last. It stores the result of the second in xid, unless that is nil. An error
// comes with the index of its statement.
func sendBatch(ctx context.Context, conn *pgx.Conn, batch *pgx.Batch, xid *string) (rows *postgresRows, n int, err error) {
	results := conn.SendBatch(ctx, batch)
	for ; n < batch.Len() && err == nil; n++ {
		switch {
		case n == batch.Len()-1:
			rows, err = lastRows(results)
		case n == 1 && xid != nil:
			err = results.QueryRow().Scan(xid)
		default:
			_, err = results.Exec()
		}
	}
	if err != nil {
		_ = results.Close() // says the same again
		return nil, n - 1, err
	}
	return rows, n - 1, nil
}

func lastRows(results pgx.BatchResults) (*postgresRows, error) {
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	return firstRow(rows, results.Close)
}
