package database

import "context"

// A Querier runs statements: a pool of readers (DB.Read), a snapshot (DB.View)
// or a transaction (Tx).
type Querier interface {
	// Exec runs a statement and returns how many rows it changed.
	Exec(ctx context.Context, stmt *Statement, args ...any) (rows int64, err error)
	// Query returns rows to be iterated; they hold a connection until they
	// are read to their end or closed.
	Query(ctx context.Context, stmt *Statement, args ...any) (*Rows, error)
	// QueryRow returns the first row; its Scan returns ErrNoRows if there is
	// none.
	QueryRow(ctx context.Context, stmt *Statement, args ...any) *Row
	// ExecMany runs a statement once for each list of arguments, a thousand in
	// a round trip on PostgreSQL.
	ExecMany(ctx context.Context, stmt *Statement, argRows [][]any) error
}

// source is what queries come from: a connection, or a pool of them.
type source interface {
	query(ctx context.Context, stmt *Statement, args []any) (rowSource, error)
}

// rowSource is one engine's result of a query.
type rowSource interface {
	next() bool
	scan(dest []any) error
	err() error
	close() // idempotent
}

// Rows are the result of a query, read one by one:
//
//	for rows.Next() {
//		if err := rows.Scan(&a, &b); err != nil { … }
//	}
//	return rows.Err()
//
// A loop that may leave early defers Close.
type Rows struct {
	source rowSource
	stmt   *Statement
	done   func(error) // told once, when the rows are closed
	err    error
	closed bool
}

// Next moves to the next row. After the last it closes the rows.
func (r *Rows) Next() bool {
	if r.closed {
		return false
	}
	if r.source.next() {
		return true
	}
	r.Close()
	return false
}

// Scan copies the columns of the row into the targets. A column that is NULL
// needs a pointer to a pointer, a []byte or an sql.Scanner.
func (r *Rows) Scan(dest ...any) error {
	return r.stmt.wrap(r.source.scan(dest))
}

// Err returns what ended the iteration early.
func (r *Rows) Err() error { return r.err }

// Close gives the connection back; it may be called more than once.
func (r *Rows) Close() {
	if r.closed {
		return
	}
	r.closed = true
	r.source.close()
	r.err = r.stmt.wrap(r.source.err())
	if r.done != nil {
		r.done(r.err)
	}
}

// A Row is the result of QueryRow. Scan must be called.
type Row struct {
	rows *Rows
	err  error
}

// Scan copies the columns of the first row into the targets. It returns
// ErrNoRows, unwrapped, if there is none.
func (r *Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
