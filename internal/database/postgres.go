package database

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// postgresReaders is the usual number of reading connections.
	postgresReaders = 16
	// oldestPostgres is the first version with xid8, in the form of
	// server_version_num.
	oldestPostgres = 130000
	// readAttempts is how often a query is tried on a broken connection.
	readAttempts = 3
	// closing ends the farewell to a server that does not answer.
	closing = 5 * time.Second
	// reserving is how long the reservation of IDs may take.
	reserving = 10 * time.Second
)

// postgresDB is a pool of connections that read, and single ones for what must
// never wait for a free connection of the pool.
type postgresDB struct {
	config *pgx.ConnConfig
	pool   *pgxpool.Pool
	writer *postgresWriter // used by the committer only
	lock   *postgresLock
	leads  *lead // nil: not one of several

	mu      sync.Mutex
	control *pgx.Conn // reserves IDs
	closed  bool
}

func openPostgres(ctx context.Context, url string, opts Options) (*postgresDB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	switch {
	case opts.Readers != 0:
		config.MaxConns = int32(opts.Readers)
	case !strings.Contains(url, "pool_max_conns="):
		config.MaxConns = postgresReaders
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, planning, pgx.QueryExecModeSimpleProtocol)
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := checkServer(ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	return &postgresDB{config: config.ConnConfig, pool: pool}, nil
}

func checkServer(ctx context.Context, pool *pgxpool.Pool) error {
	var version int
	var encoding string
	err := pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding')`).
		Scan(&version, &encoding)
	switch {
	case err != nil:
		return err
	case version < oldestPostgres:
		return fmt.Errorf("PostgreSQL %d is too old: 13 is the oldest that works", version/10000)
	case encoding != "UTF8":
		return fmt.Errorf("the database has the encoding %s: create it with ENCODING 'UTF8'", encoding)
	}
	return nil
}

func (db *postgresDB) connect(ctx context.Context) (*pgx.Conn, error) {
	return connect(ctx, db.config.Copy(), planning)
}

func connect(ctx context.Context, config *pgx.ConnConfig, settings string) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, settings, pgx.QueryExecModeSimpleProtocol); err != nil {
		disconnect(conn)
		return nil, err
	}
	return conn, nil
}

// planning keeps the planner to plans that go by indexes, as the statements were
// written to: what it knows of tables that grow fast is minutes old, and from
// that it may conclude that reading all events is best (decision 0045). Its prices for plans that
// were switched off are so high that it would then compile them.
const planning = `
	SET enable_seqscan = off;
	SET enable_hashjoin = off;
	SET enable_mergejoin = off;
	SET random_page_cost = 1;
	SET jit = off;`

func (db *postgresDB) connections() int { return int(db.pool.Config().MaxConns) }

func (db *postgresDB) close() {
	if db.lock != nil {
		db.lock.release()
	}
	if db.writer != nil {
		disconnect(db.writer.conn)
	}
	db.mu.Lock()
	db.closed = true
	if db.control != nil {
		disconnect(db.control)
	}
	db.mu.Unlock()
	db.pool.Close()
}

func disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	_ = conn.Close(ctx)
}

// reserve has a connection of its own, so that it works inside of a group's
// function as well, and locks the row no longer than for one statement.
func (db *postgresDB) reserve(ctx context.Context, name string, n int64) (first int64, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reserving)
	defer cancel()
	db.mu.Lock()
	defer db.mu.Unlock()
	for range 3 {
		if db.closed {
			return 0, ErrClosed
		}
		if db.control == nil || db.control.IsClosed() {
			if db.control, err = db.connect(ctx); err != nil {
				return 0, err
			}
		}
		err = db.control.QueryRow(ctx, reserveIDs.source, name, n).Scan(&first)
		// Trying again is safe: a block reserved twice only leaves a gap.
		if err == nil || !isTransient(err) && !db.control.IsClosed() {
			break
		}
	}
	return first, err
}

func (db *postgresDB) prepare(ctx context.Context, stmt *Statement) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return prepareOn(ctx, conn.Conn(), stmt)
}

func (db *postgresDB) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil && ctx.Err() == nil {
		db.mu.Lock()
		defer db.mu.Unlock()
		if db.closed {
			return nil, ErrClosed
		}
	}
	return conn, err
}

// retry runs a function on a reading connection, and again on another if that
// one turns out to be broken, as all are after the server was restarted. If the
// function succeeds, it releases the connection.
func (db *postgresDB) retry(ctx context.Context, fn func(*pgxpool.Conn) error) error {
	for attempt := 1; ; attempt++ {
		conn, err := db.acquire(ctx)
		if err != nil {
			return err
		}
		if err = fn(conn); err == nil {
			return nil
		}
		if needsReconnect(err) {
			disconnect(conn.Conn())
		}
		broken := conn.Conn().IsClosed() && ctx.Err() == nil
		conn.Release()
		if !broken || attempt == readAttempts {
			return err
		}
		db.pool.Reset()
	}
}

func (db *postgresDB) query(ctx context.Context, stmt *Statement, args []any) (source rowSource, err error) {
	err = db.retry(ctx, func(conn *pgxpool.Conn) error {
		if err := prepareOn(ctx, conn.Conn(), stmt, args); err != nil {
			return err
		}
		rows, err := conn.Query(ctx, stmt.source, args...)
		if err != nil {
			return err
		}
		first, err := firstRow(rows, func() error { conn.Release(); return nil })
		if err != nil {
			return err
		}
		source = first
		return nil
	})
	return source, err
}

func (db *postgresDB) view(ctx context.Context, fn func(source) error) (err error) {
	view := &postgresView{db: db}
	defer func() { err = errors.Join(err, view.end(context.WithoutCancel(ctx))) }()
	return fn(view)
}

// postgresView is a snapshot, which begins with its first statement.
type postgresView struct {
	db   *postgresDB
	conn *pgxpool.Conn
}

func (v *postgresView) query(ctx context.Context, stmt *Statement, args []any) (source rowSource, err error) {
	run := func(conn *pgxpool.Conn) error {
		if err := prepareOn(ctx, conn.Conn(), stmt, args); err != nil {
			return err
		}
		batch := &pgx.Batch{}
		if v.conn == nil {
			batch.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
		}
		batch.Queue(stmt.source, args...)
		rows, _, err := sendBatch(ctx, conn.Conn(), batch, nil)
		if err != nil {
			return err
		}
		v.conn, source = conn, rows
		return nil
	}
	if v.conn != nil {
		err = run(v.conn)
	} else {
		err = v.db.retry(ctx, run)
	}
	return source, err
}

func (v *postgresView) end(ctx context.Context) error {
	if v.conn == nil {
		return nil
	}
	defer v.conn.Release()
	if v.conn.Conn().IsClosed() {
		return nil
	}
	_, err := v.conn.Exec(ctx, "COMMIT", pgx.QueryExecModeSimpleProtocol)
	return err
}
