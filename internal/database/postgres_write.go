package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgresWriter gathers statements and sends them in batches: BEGIN with the
// first statement that has a result, COMMIT with everything since the last.
type postgresWriter struct {
	db     *postgresDB
	conn   *pgx.Conn
	queued *pgx.Batch
	owners []*Statement // of the queued; nil for BEGIN and its like
	fresh  bool         // BEGIN and the question for xid are the first of the queued
	xid    string       // of the running transaction, once known
}

func (db *postgresDB) write(ctx context.Context) (writer, error) {
	if db.leads != nil && db.writer.conn.IsClosed() {
		db.leads.end(ErrDeposed) // another connection has no lock
		return nil, ErrDeposed
	}
	if db.writer == nil || db.writer.conn.IsClosed() {
		conn, err := db.connect(ctx)
		if err != nil {
			return nil, &lostError{err}
		}
		db.writer = &postgresWriter{db: db, conn: conn}
	}
	return db.writer, nil
}

// A lostError is the error of a statement that broke the connection or found
// it broken.
type lostError struct{ err error }

func (e *lostError) Error() string { return "the connection is lost: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// checked marks an error that came with the end of the connection, or that asks
// for a new one.
func (w *postgresWriter) checked(err error) error {
	if needsReconnect(err) {
		disconnect(w.conn)
	}
	if err != nil && w.conn.IsClosed() {
		w.db.leads.end(err)
		return &lostError{err}
	}
	return err
}

func (w *postgresWriter) begin(_ context.Context, durable bool) error {
	w.reset()
	w.fresh, w.xid = true, ""
	w.add(nil, "BEGIN", nil)
	w.add(nil, "SELECT pg_current_xact_id()::text", nil)
	if !durable {
		w.add(nil, "SET LOCAL synchronous_commit = off", nil)
	}
	return nil
}

// send runs what is queued and returns the rows of the last statement.
func (w *postgresWriter) send(ctx context.Context) (*postgresRows, error) {
	batch, owners, xid := w.queued, w.owners, (*string)(nil)
	if w.fresh {
		xid = &w.xid
	}
	w.reset()
	rows, n, err := sendBatch(ctx, w.conn, batch, xid)
	if err != nil && owners[n] != nil {
		err = owners[n].wrap(err)
	}
	return rows, err
}

// reset forgets what is queued.
func (w *postgresWriter) reset() {
	w.queued, w.owners, w.fresh = &pgx.Batch{}, nil, false
}

// add queues a statement, or a text of no statement.
func (w *postgresWriter) add(stmt *Statement, sql string, args []any) {
	w.owners = append(w.owners, stmt)
	w.queued.Queue(sql, args...)
}

// finish runs what is queued and returns what the last statement did.
func (w *postgresWriter) finish(ctx context.Context) (tag pgconn.CommandTag, err error) {
	rows, err := w.send(ctx)
	if err == nil {
		rows.close()
		tag, err = rows.rows.CommandTag(), rows.err()
	}
	return tag, err
}

func (w *postgresWriter) flush(ctx context.Context) error {
	if w.queued.Len() == 0 {
		return nil
	}
	_, err := w.finish(ctx)
	return w.checked(err)
}

// commit asks the server what became of the transaction if the connection
// breaks meanwhile. For that, it has to know the transaction's number before.
func (w *postgresWriter) commit(ctx context.Context) error {
	if w.fresh {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	w.add(nil, "COMMIT", nil)
	sent := time.Now()
	tag, err := w.finish(ctx)
	if err == nil && tag.String() != "COMMIT" {
		err = errors.New("PostgreSQL has rolled the transaction back")
	}
	if err == nil || !w.conn.IsClosed() {
		w.db.leads.saw(sent)
		return err
	}
	w.db.leads.end(err)
	switch w.db.outcome(w.xid) {
	case "committed":
		return nil
	case "aborted":
		return &lostError{err}
	}
	return fmt.Errorf("%w: %w", errUnknownOutcome, err)
}

const (
	// outcomeWait is how long a lost transaction's outcome is asked for.
	outcomeWait = 10 * time.Second
	// outcomePause lies between two questions.
	outcomePause = 200 * time.Millisecond
)

// outcome asks for a transaction until the server has decided it.
func (db *postgresDB) outcome(xid string) (status string) {
	ctx, cancel := context.WithTimeout(context.Background(), outcomeWait)
	defer cancel()
	for {
		err := db.pool.QueryRow(ctx, "SELECT COALESCE(pg_xact_status($1::text::xid8), 'unknown')", xid).Scan(&status)
		if err == nil && status != "in progress" {
			return status
		}
		select {
		case <-ctx.Done():
			return "unknown"
		case <-time.After(outcomePause):
		}
	}
}

func (w *postgresWriter) rollback(ctx context.Context) {
	w.reset()
	if w.conn.IsClosed() {
		return
	}
	if _, err := w.conn.Exec(ctx, "ROLLBACK", pgx.QueryExecModeSimpleProtocol); err != nil {
		disconnect(w.conn)
	}
}

// savepoint goes to the server at once, so that rollbackTo finds it there and
// nothing earlier is still queued.
func (w *postgresWriter) savepoint(ctx context.Context) error {
	w.add(nil, "SAVEPOINT f", nil)
	return w.flush(ctx)
}

func (w *postgresWriter) release(context.Context) error {
	w.add(nil, "RELEASE SAVEPOINT f", nil)
	return nil
}

func (w *postgresWriter) rollbackTo(ctx context.Context) error {
	w.reset()
	_, err := w.conn.Exec(ctx, "ROLLBACK TO SAVEPOINT f; RELEASE SAVEPOINT f", pgx.QueryExecModeSimpleProtocol)
	return w.checked(err)
}

func (w *postgresWriter) queue(ctx context.Context, stmt *Statement, args []any) error {
	return w.queueMany(ctx, stmt, args)
}

func (w *postgresWriter) queueMany(ctx context.Context, stmt *Statement, argRows ...[]any) error {
	if err := prepareOn(ctx, w.conn, stmt, argRows...); err != nil {
		return w.checked(err)
	}
	for _, args := range argRows {
		if w.queued.Len() >= maxQueued {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
		w.add(stmt, stmt.source, args)
	}
	return nil
}

// maxQueued bounds the memory of a batch.
const maxQueued = 1000

func (w *postgresWriter) exec(ctx context.Context, stmt *Statement, args []any) (int64, error) {
	if err := w.queue(ctx, stmt, args); err != nil {
		return 0, err
	}
	tag, err := w.finish(ctx)
	return tag.RowsAffected(), w.checked(err)
}

func (w *postgresWriter) execMany(ctx context.Context, stmt *Statement, argRows [][]any) error {
	return w.queueMany(ctx, stmt, argRows...)
}

func (w *postgresWriter) query(ctx context.Context, stmt *Statement, args []any) (rowSource, error) {
	if err := w.queue(ctx, stmt, args); err != nil {
		return nil, err
	}
	rows, err := w.send(ctx)
	if err != nil {
		return nil, w.checked(err)
	}
	return rows, nil
}
