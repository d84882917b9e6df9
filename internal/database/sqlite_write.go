package database

import (
	"context"
	"errors"
	"sync"
)

// sqliteWriter is the writing connection. The committer runs its transactions
// on it, one statement after the other; IDs are reserved on it by any
// goroutine, between those statements.
type sqliteWriter struct {
	mu      sync.Mutex
	conn    *sqliteConn // nil when closed
	inTx    bool
	relaxed bool // commits are not flushed
	pending []idReservation
}

// An idReservation is a block of IDs that a transaction has reserved, but that
// is not committed yet.
type idReservation struct {
	name string
	next int64 // the first ID behind the block
}

// locked runs a function while nobody else uses the connection.
func (w *sqliteWriter) locked(fn func(conn *sqliteConn) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil {
		return ErrClosed
	}
	return fn(w.conn)
}

func (w *sqliteWriter) run(sql string) error {
	return w.locked(func(conn *sqliteConn) error { return conn.run(sql) })
}

func (w *sqliteWriter) close() {
	_ = w.locked(func(conn *sqliteConn) error {
		conn.close()
		w.conn = nil
		return nil
	})
}

// begin sets what the commit flushes, which has to be done before the transaction.
// Commits before one that flushes the WAL are flushed with it.
func (w *sqliteWriter) begin(_ context.Context, durable bool) error {
	return w.locked(func(conn *sqliteConn) error {
		if w.relaxed == durable {
			level := "FULL"
			if !durable {
				level = "NORMAL"
			}
			if err := conn.script("PRAGMA synchronous = " + level); err != nil {
				return err
			}
			w.relaxed = !durable
		}
		if err := conn.run("BEGIN IMMEDIATE"); err != nil {
			return err
		}
		w.inTx = true
		if err := conn.run("SAVEPOINT g"); err != nil {
			return err
		}
		return w.reserveAgain()
	})
}

func (w *sqliteWriter) commit(context.Context) error {
	return w.locked(func(conn *sqliteConn) error {
		if err := conn.run("COMMIT"); err != nil {
			return err
		}
		w.inTx, w.pending = false, nil
		return nil
	})
}

// rollback keeps what was reserved, and the lock on the file until that is
// done: no other process can come in between and reserve the same.
func (w *sqliteWriter) rollback(context.Context) {
	_ = w.locked(func(conn *sqliteConn) error {
		w.inTx = false
		if len(w.pending) > 0 && conn.run("ROLLBACK TO g") == nil && w.reserveAgain() == nil && conn.run("COMMIT") == nil {
			w.pending = nil
			return nil
		}
		return conn.run("ROLLBACK") // SQLite may have done it by itself
	})
}

func (w *sqliteWriter) savepoint(context.Context) error { return w.run("SAVEPOINT f") }
func (w *sqliteWriter) release(context.Context) error   { return w.run("RELEASE f") }

// rollbackTo lets nobody reserve between undoing and reserving again: they
// would get the same IDs.
func (w *sqliteWriter) rollbackTo(context.Context) error {
	return w.locked(func(conn *sqliteConn) error {
		if err := conn.run("ROLLBACK TO f"); err != nil {
			return err
		}
		if err := conn.run("RELEASE f"); err != nil {
			return err
		}
		return w.reserveAgain()
	})
}

// The contexts of statements are not passed on: watching one would cost a
// goroutine for each statement.

func (w *sqliteWriter) exec(_ context.Context, stmt *Statement, args []any) (n int64, err error) {
	err = w.locked(func(conn *sqliteConn) error {
		n, err = conn.exec(stmt, args)
		return err
	})
	return n, err
}

func (w *sqliteWriter) execMany(_ context.Context, stmt *Statement, argRows [][]any) error {
	return w.locked(func(conn *sqliteConn) error {
		for _, args := range argRows {
			if _, err := conn.exec(stmt, args); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *sqliteWriter) queue(ctx context.Context, stmt *Statement, args []any) error {
	_, err := w.exec(ctx, stmt, args)
	return err
}

func (w *sqliteWriter) flush(context.Context) error { return nil }

func (w *sqliteWriter) query(_ context.Context, stmt *Statement, args []any) (source rowSource, err error) {
	err = w.locked(func(conn *sqliteConn) error {
		rows, err := conn.query(context.Background(), stmt, args)
		source = &guardedRows{rows, &w.mu}
		return err
	})
	if err != nil {
		return nil, err
	}
	return source, nil
}

// guardedRows steps under the writer's mutex.
type guardedRows struct {
	rows *sqliteRows
	mu   *sync.Mutex
}

func (r *guardedRows) next() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rows.next()
}

func (r *guardedRows) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows.close()
}

func (r *guardedRows) scan(dest []any) error { return r.rows.scan(dest) }
func (r *guardedRows) err() error            { return r.rows.err() }

// reserve takes IDs in whatever transaction runs, or in one of its own. They
// may be used at once, and by anybody: should the transaction be rolled back,
// the reservation is made again before the lock on the file is given up.
func (db *sqliteDB) reserve(_ context.Context, name string, n int64) (first int64, err error) {
	w := db.writer
	err = w.locked(func(conn *sqliteConn) error {
		if !w.inTx && len(w.pending) > 0 {
			if err := w.reserveAgain(); err != nil {
				return err
			}
			w.pending = nil
		}
		if first, err = conn.reserveIDs(name, n); err == nil && w.inTx {
			w.pending = append(w.pending, idReservation{name, first + n})
		}
		return err
	})
	return first, err
}

func (c *sqliteConn) reserveIDs(name string, n int64) (int64, error) {
	rows, err := c.query(context.Background(), reserveIDs, []any{name, n})
	if err != nil {
		return 0, err
	}
	defer rows.close()
	if !rows.next() {
		return 0, errors.Join(rows.err(), errors.New("the reservation returned no row"))
	}
	var first int64
	if err := rows.scan([]any{&first}); err != nil {
		return 0, err
	}
	for rows.next() {
		continue // a statement has done its work when it is stepped to its end
	}
	rows.close()
	return first, rows.err()
}

var restoreReservation = SQL(`
	INSERT INTO id_blocks (name, next)
	VALUES ($1, $2)
	ON CONFLICT (name) DO UPDATE
	SET next = CASE WHEN id_blocks.next < excluded.next THEN excluded.next ELSE id_blocks.next END`)

// reserveAgain repeats the reservations that a rollback has undone.
func (w *sqliteWriter) reserveAgain() error {
	for _, p := range w.pending {
		if _, err := w.conn.exec(restoreReservation, []any{p.name, p.next}); err != nil {
			return err
		}
	}
	return nil
}
