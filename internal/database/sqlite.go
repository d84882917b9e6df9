package database

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// sqliteReaders is the usual number of reading connections.
const sqliteReaders = 4

// sqliteDB is a file: one connection that writes and a few that read.
type sqliteDB struct {
	path   string
	writer *sqliteWriter
	count  int
	turns  chan struct{} // as many as there are free readers
	closed chan struct{}
	lock   *sqliteConn

	mu sync.Mutex
	// free readers, the one used last at the end: it knows the schema, the
	// statements and the pages that are wanted.
	free []*sqliteConn
}

// openSQLite opens the file, and creates it, readable to its owner only: it
// holds password hashes and keys. The WAL inherits its mode.
func openSQLite(path string, opts Options) (*sqliteDB, error) {
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, fmt.Errorf("%q is not the path of a file", path)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	db := &sqliteDB{path: path, count: opts.Readers, closed: make(chan struct{})}
	if db.count == 0 {
		db.count = sqliteReaders
	}
	conn, err := connectSQLite(path, writerPragmas)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db.writer = &sqliteWriter{conn: conn}
	db.turns = make(chan struct{}, db.count)
	for range db.count {
		conn, err := connectSQLite(path, readerPragmas)
		if err != nil {
			db.count = len(db.free)
			db.close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		db.release(conn)
	}
	return db, nil
}

const (
	// connectTime is how long another process may be in the way of a new
	// connection, and connectPause how long each wait for it is.
	connectTime  = 10 * time.Second
	connectPause = 5 * time.Millisecond
)

// connectSQLite opens a connection. While another process makes the file one
// with a WAL, SQLite says at once that it is locked, whatever busy_timeout is.
func connectSQLite(path string, pragmas []string) (*sqliteConn, error) {
	for deadline := time.Now().Add(connectTime); ; time.Sleep(connectPause) {
		conn, err := openSQLiteConn(sqliteURL(path, pragmas))
		if !isBusy(err) || time.Now().After(deadline) {
			return conn, err
		}
	}
}

// The WAL is copied back only every 16,000 pages, because each copy costs two
// flushes. Another process waits busy_timeout milliseconds for its turn.
var (
	sharedPragmas = []string{
		"busy_timeout(5000)", "journal_mode(WAL)", "foreign_keys(ON)", "case_sensitive_like(ON)", "temp_store(MEMORY)",
	}
	writerPragmas = append(sharedPragmas[:len(sharedPragmas):len(sharedPragmas)],
		"synchronous(FULL)", "wal_autocheckpoint(16000)", "cache_size(-32768)")
	readerPragmas = append(sharedPragmas[:len(sharedPragmas):len(sharedPragmas)],
		"query_only(ON)", "cache_size(-8192)")
)

// sqliteURL names a file and the settings of a connection to it. Double quotes
// are for names only, as on PostgreSQL.
func sqliteURL(path string, pragmas []string) string {
	settings := url.Values{"_dqs": {"0"}, "_pragma": pragmas}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + settings.Encode()
}

func (db *sqliteDB) connections() int { return db.count }

// close waits for the readers that are in use.
func (db *sqliteDB) close() {
	close(db.closed)
	for range db.count {
		<-db.turns
		db.take().close()
	}
	db.writer.close()
	if db.lock != nil {
		db.lock.close()
	}
}

// acquire takes a free reading connection; release gives it back.
func (db *sqliteDB) acquire(ctx context.Context) (*sqliteConn, error) {
	select {
	case <-db.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case <-db.turns:
		return db.take(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-db.closed:
		return nil, ErrClosed
	}
}

// take is for whoever has a turn.
func (db *sqliteDB) take() *sqliteConn {
	db.mu.Lock()
	defer db.mu.Unlock()
	last := len(db.free) - 1
	conn := db.free[last]
	db.free = db.free[:last]
	return conn
}

func (db *sqliteDB) release(conn *sqliteConn) {
	db.mu.Lock()
	db.free = append(db.free, conn)
	db.mu.Unlock()
	db.turns <- struct{}{}
}

func (db *sqliteDB) query(ctx context.Context, stmt *Statement, args []any) (rowSource, error) {
	conn, err := db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := conn.query(ctx, stmt, args)
	if err != nil {
		db.release(conn)
		return nil, err
	}
	rows.closed = func() { db.release(conn) }
	return rows, nil
}

// sqliteSource is a connection as a source of rows.
type sqliteSource struct{ conn *sqliteConn }

func (s sqliteSource) query(ctx context.Context, stmt *Statement, args []any) (rowSource, error) {
	rows, err := s.conn.query(ctx, stmt, args)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func (db *sqliteDB) view(ctx context.Context, fn func(source) error) (err error) {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer db.release(conn)
	if err := conn.run("BEGIN"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.run("COMMIT")) }()
	return fn(sqliteSource{conn})
}

func (db *sqliteDB) write(context.Context) (writer, error) { return db.writer, nil }

func (db *sqliteDB) prepare(ctx context.Context, stmt *Statement) error {
	conn, err := db.acquire(ctx)
	if err != nil {
		return err
	}
	defer db.release(conn)
	_, err = conn.prepared(stmt)
	return err
}

// lockServer holds an exclusive lock on an empty database beside the real one:
// the operating system drops it when the process dies, and SQLite knows how to
// lock on every system.
func (db *sqliteDB) lockServer(context.Context, func(error)) error {
	if db.lock != nil {
		return nil
	}
	conn, err := openSQLiteConn(sqliteURL(db.path+"-server", nil))
	if err != nil {
		return err
	}
	if err := conn.run("BEGIN EXCLUSIVE"); err != nil {
		conn.close()
		if isBusy(err) {
			return fmt.Errorf("%s: %w", db.path, ErrLocked)
		}
		return err
	}
	db.lock = conn
	return nil
}
