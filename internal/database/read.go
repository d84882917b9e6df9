package database

import (
	"context"
	"errors"
)

var (
	errReadOnly = errors.New("database: a statement that writes or locks needs Update")
	errEnded    = errors.New("database: used after its function returned")
)

// Read returns a Querier over the reading connections: each statement sees all
// that was committed before it began, and none may write. Rows hold one of the
// connections until they are closed, so that no other statement of Read
// belongs into the loop over them.
func (db *DB) Read() Querier { return pool{db.backend} }

// View runs a function whose statements all see the same snapshot, taken by the
// first of them. It should be short: SQLite's log grows meanwhile.
func (db *DB) View(ctx context.Context, fn func(Querier) error) error {
	return db.backend.view(ctx, func(from source) error {
		s := &snapshot{source: from}
		defer s.end()
		return fn(s)
	})
}

// pool is the Querier of Read.
type pool struct{ source source }

// Query implements Querier.
func (p pool) Query(ctx context.Context, stmt *Statement, args ...any) (*Rows, error) {
	return read(ctx, p.source, stmt, args)
}

// QueryRow implements Querier.
func (p pool) QueryRow(ctx context.Context, stmt *Statement, args ...any) *Row {
	rows, err := p.Query(ctx, stmt, args...)
	return &Row{rows, err}
}

// Exec implements Querier by an error.
func (p pool) Exec(_ context.Context, stmt *Statement, _ ...any) (int64, error) {
	return 0, stmt.wrap(errReadOnly)
}

// ExecMany implements Querier by an error.
func (p pool) ExecMany(_ context.Context, stmt *Statement, _ [][]any) error {
	return stmt.wrap(errReadOnly)
}

// snapshot is the Querier of a View.
type snapshot struct {
	source source
	rows   *Rows
	ended  bool
}

// Query implements Querier. One query's rows can be open at a time.
func (s *snapshot) Query(ctx context.Context, stmt *Statement, args ...any) (*Rows, error) {
	switch {
	case s.ended:
		return nil, stmt.wrap(errEnded)
	case s.rows != nil:
		return nil, stmt.wrap(ErrRowsOpen)
	}
	rows, err := read(ctx, s.source, stmt, args)
	if err != nil {
		return nil, err
	}
	rows.done = func(error) { s.rows = nil }
	s.rows = rows
	return rows, nil
}

// QueryRow implements Querier.
func (s *snapshot) QueryRow(ctx context.Context, stmt *Statement, args ...any) *Row {
	rows, err := s.Query(ctx, stmt, args...)
	return &Row{rows, err}
}

// Exec implements Querier by an error.
func (s *snapshot) Exec(_ context.Context, stmt *Statement, _ ...any) (int64, error) {
	return 0, stmt.wrap(errReadOnly)
}

// ExecMany implements Querier by an error.
func (s *snapshot) ExecMany(_ context.Context, stmt *Statement, _ [][]any) error {
	return stmt.wrap(errReadOnly)
}

func (s *snapshot) end() {
	if s.rows != nil {
		s.rows.Close()
	}
	s.ended = true
}

func read(ctx context.Context, from source, stmt *Statement, args []any) (*Rows, error) {
	if stmt.effect() != reads {
		return nil, stmt.wrap(errReadOnly)
	}
	plain, err := stmt.arguments(args)
	if err != nil {
		return nil, stmt.wrap(err)
	}
	trace(ctx, stmt)
	source, err := from.query(ctx, stmt, plain)
	if err != nil {
		return nil, stmt.wrap(err)
	}
	return &Rows{source: source, stmt: stmt}, nil
}
