package database

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrNoRows is what Row.Scan returns when the statement found nothing.
	ErrNoRows = errors.New("database: no rows")
	// ErrClosed is returned by all methods after Close.
	ErrClosed = errors.New("database: closed")
	// ErrLocked is returned by LockServer when another process serves the
	// same database.
	ErrLocked = errors.New("database: another server uses it")
	// ErrText is the error of a text argument with a NUL or invalid UTF-8.
	ErrText = errors.New("database: text with a NUL character or invalid UTF-8")
	// ErrRowsOpen is returned by a statement inside View or Update while the
	// rows of an earlier one have not been read to their end or closed.
	ErrRowsOpen = errors.New("database: rows of an earlier statement are still open")
)

// PostgreSQL's SQLSTATE codes that are looked at, and the place in its source
// that reports "cached plan must not change result type", in any language.
const (
	pgStalePlan = "RevalidateCachedQuery"

	pgUniqueViolation      = "23505"
	pgSerializationFailure = "40001"
	pgDeadlockDetected     = "40P01"
	pgInvalidStatementName = "26000"
	pgReadOnlyTransaction  = "25006" // after a failover
)

// IsUnique reports whether a statement broke a primary key or unique index.
func IsUnique(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgUniqueViolation
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		switch lite.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
			return true
		}
	}
	return false
}

// isTransient reports whether the same work may well succeed on a second try,
// given that nothing of it has been committed.
func isTransient(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		if pg.Code == pgSerializationFailure || pg.Code == pgDeadlockDetected {
			return true
		}
	}
	_, lost := errors.AsType[*lostError](err)
	return lost || isBusy(err)
}

// needsReconnect reports that PostgreSQL will not get over an error on the same
// connection: a prepared statement is gone, or has other columns since another
// process migrated the database, or the server has become a mere copy.
func needsReconnect(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == pgInvalidStatementName || pg.Code == pgReadOnlyTransaction || pg.Routine == pgStalePlan)
}

// isBusy reports whether another process kept the SQLite file locked.
func isBusy(err error) bool {
	lite, ok := errors.AsType[*sqlite.Error](err)
	return ok && lite.Code()&0xff == sqlite3.SQLITE_BUSY
}

// failsAlone reports whether a failed statement leaves the transaction as it
// was before it: so SQLite treats broken constraints.
func failsAlone(err error) bool {
	lite, ok := errors.AsType[*sqlite.Error](err)
	return ok && lite.Code()&0xff == sqlite3.SQLITE_CONSTRAINT
}

// A statementError tells where the statement of an error was declared.
type statementError struct {
	declared string
	err      error
}

func (e *statementError) Error() string { return "statement at " + e.declared + ": " + e.err.Error() }
func (e *statementError) Unwrap() error { return e.err }

// wrap adds where the statement was declared, unless the error belongs to
// another one, which was sent along with it.
func (s *Statement) wrap(err error) error {
	if err == nil || errors.Is(err, ErrNoRows) {
		return err
	}
	if _, ok := errors.AsType[*statementError](err); ok {
		return err
	}
	return &statementError{s.declared(), err}
}
