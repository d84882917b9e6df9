package database

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// An Engine is a kind of database.
type Engine int

const (
	SQLite Engine = iota
	PostgreSQL
)

func (e Engine) String() string {
	if e == PostgreSQL {
		return "postgres"
	}
	return "sqlite"
}

// Options tune a database; the zero value is right for tests and tools.
type Options struct {
	// Readers is the number of connections that read: if zero, 4 on SQLite
	// and 16 on PostgreSQL (or pool_max_conns of the URL).
	Readers int
	// OnGroup is told of each committed group: how many functions it held,
	// and the time from its begin until it was durable.
	OnGroup func(functions int, took time.Duration)
	// OnLockLost is told, once, when the lock taken by LockServer or by a
	// Candidate is gone, because the connection to PostgreSQL broke: another
	// server may start now, so that this one has to stop.
	OnLockLost func(error)
	// Log is slog.Default() if nil.
	Log *slog.Logger
}

// A DB is an open database. It is safe for concurrent use.
type DB struct {
	engine  Engine
	backend backend
	commits *committer
	options Options
	closed  sync.Once
}

// backend is what differs between the engines.
type backend interface {
	// query runs a statement on any of the reading connections.
	source
	// view runs a function with one reading connection in one snapshot.
	view(ctx context.Context, fn func(source) error) error
	// write returns the connection for group commits, connected anew if the
	// last one broke.
	write(ctx context.Context) (writer, error)
	// reserve takes the next n IDs of a name, durably, inside a running
	// transaction or out of one, and returns the first.
	reserve(ctx context.Context, name string, n int64) (int64, error)
	// migrate runs a function in transactions that exclude all others like
	// them, until it says that there is no more.
	migrate(ctx context.Context, step func(migrationTx) (more bool, err error)) error
	lockServer(ctx context.Context, lost func(error)) error
	prepare(ctx context.Context, stmt *Statement) error
	explain(ctx context.Context, stmt *Statement, args []any) ([]string, error)
	// connections is how many can read at once.
	connections() int
	close()
}

// writer is the connection on which groups are committed.
type writer interface {
	source
	// begin begins a transaction, whose commit is durable or, if it need not
	// be, does not wait for the disk.
	begin(ctx context.Context, durable bool) error
	// commit runs what is queued and commits.
	commit(ctx context.Context) error
	rollback(ctx context.Context)
	savepoint(ctx context.Context) error
	release(ctx context.Context) error
	rollbackTo(ctx context.Context) error
	exec(ctx context.Context, stmt *Statement, args []any) (int64, error)
	execMany(ctx context.Context, stmt *Statement, argRows [][]any) error
	// queue runs a statement now or with a later call.
	queue(ctx context.Context, stmt *Statement, args []any) error
	// flush runs what is queued.
	flush(ctx context.Context) error
}

// Open connects to "postgres://…", or to an SQLite file given by its path or
// as "file:path", creates the file if needed, and applies the migrations
// (NNNN_name.sql in the root of migrations; nil for none). It refuses a
// database whose schema is newer than the migrations.
func Open(ctx context.Context, url string, migrations fs.FS, opts Options) (*DB, error) {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	for _, stmt := range declaredStatements() {
		if _, err := stmt.Text(SQLite); err != nil {
			return nil, err
		}
	}
	files, err := readMigrations(migrations)
	if err != nil {
		return nil, fmt.Errorf("migrate database: %w", err)
	}
	db := &DB{options: opts}
	if isPostgres(url) {
		db.engine = PostgreSQL
		db.backend, err = openPostgres(ctx, url, opts)
	} else {
		db.backend, err = openSQLite(strings.TrimPrefix(url, "file:"), opts)
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := db.applyMigrations(ctx, files); err != nil {
		db.backend.close()
		return nil, fmt.Errorf("migrate database: %w", err)
	}
	db.commits = newCommitter(db, nil)
	return db, nil
}

func isPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

// lost is whom the loss of the lock is told.
func (o Options) lost() func(error) {
	if o.OnLockLost != nil {
		return o.OnLockLost
	}
	return func(err error) { o.Log.Error("the lock on the database is lost", "error", err) }
}

// Engine tells which database it is.
func (db *DB) Engine() Engine { return db.engine }

// Readers is how many connections read at most.
func (db *DB) Readers() int { return db.backend.connections() }

// Close waits for all queued functions, then disconnects. Functions that come
// later get ErrClosed.
func (db *DB) Close() {
	db.closed.Do(func() {
		db.commits.close()
		db.backend.close()
	})
}

// LockServer takes the right to be the one server of this database until
// Close, or returns an error that wraps ErrLocked. Tools that write beside a
// running server do not take it.
func (db *DB) LockServer(ctx context.Context) error {
	return db.backend.lockServer(ctx, db.options.lost())
}

// CheckStatements prepares every statement of the program and returns the first
// error. If directories are named, only statements declared in files right
// below a directory of such a name count: homeserver and bridges have schemas of
// their own.
func CheckStatements(ctx context.Context, db *DB, directories ...string) error {
	for _, stmt := range declaredStatements() {
		directory, _, _ := strings.Cut(stmt.declared(), "/")
		if len(directories) > 0 && !slices.Contains(directories, directory) {
			continue
		}
		if err := db.backend.prepare(ctx, stmt); err != nil {
			return stmt.wrap(err)
		}
	}
	return nil
}

// Explain returns how the engine would run a statement, a step a line, without
// running it. PostgreSQL avoids sequential scans on all our connections, so that
// small tables show as well whether an index fits.
func Explain(ctx context.Context, db *DB, stmt *Statement, args ...any) (string, error) {
	plain, err := stmt.arguments(args)
	if err != nil {
		return "", stmt.wrap(err)
	}
	steps, err := db.backend.explain(ctx, stmt, plain)
	return strings.Join(steps, "\n"), stmt.wrap(err)
}
