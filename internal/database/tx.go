package database

import (
	"context"
	"fmt"
)

// stream holds the newest position: one row, locked by who hands them out.
var (
	selectPosition = SQL(`
		SELECT position
		FROM stream
		WHERE id = 1
		FOR UPDATE`)
	updatePosition = SQL(`
		UPDATE stream
		SET position = $1
		WHERE id = 1`)
)

// groupTx is the transaction that the functions of a group share.
type groupTx struct {
	ctx    context.Context
	writer writer
	stream streamState
}

// streamState is the position as this transaction sees it.
type streamState struct {
	known           bool // read, and the row locked
	stored, current int64
}

func (g *groupTx) runAll(group []*job, careful bool) error {
	if err := g.writer.begin(g.ctx, group[0].turn == nil); err != nil {
		return err
	}
	run := g.run
	if careful {
		run = g.runCarefully
	}
	for _, j := range group {
		if err := run(j); err != nil {
			return err
		}
	}
	return nil
}

// run runs a function straight in the shared transaction. It returns an error
// if the transaction cannot go on.
func (g *groupTx) run(j *job) error {
	tx, before := g.start(j), g.stream.current
	err := tx.call()
	if err == nil {
		return nil
	}
	j.err, j.onCommit = err, nil
	if tx.err != nil && isTransient(tx.err) {
		return tx.err
	}
	if tx.wrote || tx.err != nil && !failsAlone(tx.err) {
		return errCulprit
	}
	// It has changed nothing; the position it may have taken goes to the next.
	if g.stream.known {
		g.stream.current = max(before, g.stream.stored)
	}
	j.abort()
	return nil
}

// runCarefully runs a function behind a savepoint.
func (g *groupTx) runCarefully(j *job) error {
	if err := g.writer.savepoint(g.ctx); err != nil {
		return err
	}
	tx, before := g.start(j), g.stream
	err := tx.call()
	if err == nil {
		if err = g.writer.flush(g.ctx); err == nil {
			return g.writer.release(g.ctx)
		}
		tx.err = err
	}
	j.err, j.onCommit = err, nil
	if tx.err != nil && isTransient(tx.err) {
		return tx.err
	}
	// The lock on the stream's row goes with the savepoint if it was taken
	// behind it.
	g.stream = before
	if err := g.writer.rollbackTo(g.ctx); err != nil {
		return err
	}
	j.abort()
	return nil
}

func (g *groupTx) start(j *job) *Tx {
	j.err, j.onCommit, j.onAbort = nil, nil, nil
	return &Tx{group: g, job: j}
}

// commit writes the stream's position back and commits.
func (g *groupTx) commit() error {
	if s := g.stream; s.known && s.current != s.stored {
		if err := g.writer.queue(g.ctx, updatePosition, []any{s.current}); err != nil {
			return err
		}
	}
	return g.writer.commit(g.ctx)
}

// A Tx is a function's part of a transaction. It is valid until the function
// returns, and is not safe for concurrent use. A statement that fails makes the
// whole function fail, whatever the function then returns: use ON CONFLICT
// where a conflict is expected. The contexts given to its methods only carry
// values: their ends are ignored.
type Tx struct {
	group *groupTx
	job   *job
	rows  *Rows
	wrote bool
	ended bool
	err   error // of the first failed statement
}

var _ Querier = (*Tx)(nil)

// call runs the function and returns its error, or that of its first failed
// statement.
func (tx *Tx) call() (err error) {
	defer func() {
		if tx.rows != nil {
			tx.rows.Close()
		}
		tx.ended = true
		if err == nil {
			err = tx.err
		}
	}()
	return tx.job.call(tx)
}

// ready refuses statements after a failed one, after the function's end, and
// while rows are open.
func (tx *Tx) ready() error {
	switch {
	case tx.ended:
		return errEnded
	case tx.err != nil:
		return tx.err
	case tx.rows != nil:
		tx.err = ErrRowsOpen
	}
	return tx.err
}

// failed notes a statement's error.
func (tx *Tx) failed(stmt *Statement, err error) error {
	if err != nil && tx.err == nil {
		tx.err = stmt.wrap(err)
	}
	return tx.err
}

// Exec implements Querier. Where the number of rows does not matter, Queue is
// faster on PostgreSQL.
func (tx *Tx) Exec(_ context.Context, stmt *Statement, args ...any) (int64, error) {
	if err := tx.ready(); err != nil {
		return 0, err
	}
	plain, err := stmt.arguments(args)
	if err != nil {
		return 0, tx.failed(stmt, err)
	}
	n, err := tx.group.writer.exec(tx.group.ctx, stmt, plain)
	if err != nil {
		return 0, tx.failed(stmt, err)
	}
	tx.wrote = tx.wrote || stmt.effect() == writes && n > 0
	return n, nil
}

// ExecMany implements Querier. It is Queue for each list of arguments.
func (tx *Tx) ExecMany(_ context.Context, stmt *Statement, argRows [][]any) error {
	if err := tx.ready(); err != nil {
		return err
	}
	plain, err := stmt.argumentRows(argRows)
	if err != nil {
		return tx.failed(stmt, err)
	}
	tx.wrote = true
	return tx.failed(stmt, tx.group.writer.execMany(tx.group.ctx, stmt, plain))
}

// Queue runs a statement whose result does not matter: at once on SQLite; on
// PostgreSQL together with the next statement that has a result, or with the
// commit. An error that shows only then makes the function fail all the same.
func (tx *Tx) Queue(_ context.Context, stmt *Statement, args ...any) error {
	if err := tx.ready(); err != nil {
		return err
	}
	plain, err := stmt.arguments(args)
	if err == nil {
		err = tx.group.writer.queue(tx.group.ctx, stmt, plain)
	}
	if err != nil {
		return tx.failed(stmt, err)
	}
	tx.wrote = true
	return nil
}

// Query implements Querier. One query's rows can be open at a time.
func (tx *Tx) Query(_ context.Context, stmt *Statement, args ...any) (*Rows, error) {
	if err := tx.ready(); err != nil {
		return nil, err
	}
	plain, err := stmt.arguments(args)
	if err != nil {
		return nil, tx.failed(stmt, err)
	}
	source, err := tx.group.writer.query(tx.group.ctx, stmt, plain)
	if err != nil {
		return nil, tx.failed(stmt, err)
	}
	tx.wrote = tx.wrote || stmt.effect() == writes
	tx.rows = &Rows{source: source, stmt: stmt, done: func(err error) {
		tx.rows = nil
		_ = tx.failed(stmt, err)
	}}
	return tx.rows, nil
}

// QueryRow implements Querier.
func (tx *Tx) QueryRow(ctx context.Context, stmt *Statement, args ...any) *Row {
	rows, err := tx.Query(ctx, stmt, args...)
	return &Row{rows, err}
}

// Position takes the next position of the stream. Positions have no gaps and
// become visible in their order; one taken by a function that fails goes to
// another.
func (tx *Tx) Position(ctx context.Context) (int64, error) {
	s := &tx.group.stream
	if !s.known {
		if err := tx.QueryRow(ctx, selectPosition).Scan(&s.stored); err != nil {
			return 0, fmt.Errorf("read the stream's position: %w", err)
		}
		s.known, s.current = true, s.stored
	}
	if err := tx.ready(); err != nil {
		return 0, err
	}
	s.current++
	return s.current, nil
}

// OnCommit calls a function on the committing goroutine once the group is
// durable, in the order of the group, before its callers are answered. It must
// not block.
func (tx *Tx) OnCommit(fn func()) { tx.job.onCommit = append(tx.job.onCommit, fn) }

// OnAbort calls a function on the committing goroutine when what this one did
// is undone for good while the rest of its group goes on: before any function
// runs that was enqueued later, so that those who build on it can tell.
func (tx *Tx) OnAbort(fn func()) { tx.job.onAbort = append(tx.job.onAbort, fn) }
