package database

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ownTables are this package's tables. They are made before any migration and
// never change.
const ownTables = `
CREATE TABLE IF NOT EXISTS schema_migrations (
	version BIGINT PRIMARY KEY,
	name TEXT NOT NULL,
	checksum TEXT NOT NULL,
	applied_at BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS stream (
	id BIGINT PRIMARY KEY CHECK (id = 1),
	position BIGINT NOT NULL
);

INSERT INTO stream (id, position)
VALUES (1, 0)
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS id_blocks (
	name TEXT PRIMARY KEY,
	next BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS leader (
	id BIGINT PRIMARY KEY CHECK (id = 1),
	epoch BIGINT NOT NULL,
	address TEXT NOT NULL,
	secret TEXT NOT NULL,
	identity TEXT NOT NULL
);
`

// A migration is one file.
type migration struct {
	version  int64
	name     string // of the file
	text     string
	checksum string
}

// migrationTx is the transaction in which a migration runs, alone on the
// database.
type migrationTx interface {
	// script runs the statements of an engine's own text.
	script(ctx context.Context, statements []string) error
	applied(ctx context.Context) ([]migration, error)
	record(ctx context.Context, m migration, at int64) error
}

var migrationName = regexp.MustCompile(`^([0-9]{4})_[a-z0-9_]+\.sql$`)

// readMigrations returns the files in the order of their numbers.
func readMigrations(files fs.FS) ([]migration, error) {
	if files == nil {
		return nil, nil
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var migrations []migration
	for _, name := range names {
		match := migrationName.FindStringSubmatch(name)
		if match == nil {
			return nil, fmt.Errorf("migration %s: the name is not NNNN_name.sql", name)
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		version, _ := strconv.ParseInt(match[1], 10, 64)
		if n := len(migrations); n > 0 && migrations[n-1].version == version {
			return nil, fmt.Errorf("migrations %s and %s have the same number", migrations[n-1].name, name)
		}
		// A checkout that turns line ends around changes nothing.
		text := strings.ReplaceAll(string(content), "\r\n", "\n")
		sum := sha256.Sum256([]byte(text))
		migrations = append(migrations, migration{version, name, text, hex.EncodeToString(sum[:])})
	}
	return migrations, nil
}

// applyMigrations brings the schema up to the newest migration. A new database
// gets all of them in one transaction; in one that is in use each is committed
// by itself, so that what has taken long is not done again.
func (db *DB) applyMigrations(ctx context.Context, migrations []migration) error {
	own, err := schemaStatements(ownTables, db.engine)
	if err != nil {
		return err
	}
	return db.backend.migrate(ctx, func(tx migrationTx) (more bool, err error) {
		if err := tx.script(ctx, own); err != nil {
			return false, err
		}
		own = nil
		// Another process may have gone on in the meantime.
		done, err := compareMigrations(ctx, tx, migrations)
		if err != nil {
			return false, err
		}
		next := migrations[done:]
		if done > 0 && len(next) > 0 {
			next = next[:1]
		}
		for _, m := range next {
			if err := m.apply(ctx, tx, db.engine); err != nil {
				return false, fmt.Errorf("migration %s: %w", m.name, err)
			}
		}
		return done+len(next) < len(migrations), nil
	})
}

// prepareSchema makes this package's tables and sees whether this program knows
// the migrations that have been applied.
func prepareSchema(ctx context.Context, b backend, engine Engine, migrations []migration) error {
	own, err := schemaStatements(ownTables, engine)
	if err != nil {
		return err
	}
	return b.migrate(ctx, func(tx migrationTx) (more bool, err error) {
		if err := tx.script(ctx, own); err != nil {
			return false, err
		}
		_, err = compareMigrations(ctx, tx, migrations)
		return false, err
	})
}

func (m migration) apply(ctx context.Context, tx migrationTx, engine Engine) error {
	statements, err := schemaStatements(m.text, engine)
	if err != nil {
		return err
	}
	if err := tx.script(ctx, statements); err != nil {
		return err
	}
	return tx.record(ctx, m, time.Now().UnixMilli())
}

// compareMigrations checks that what is applied is a beginning of what is
// known, and returns how long it is.
func compareMigrations(ctx context.Context, tx migrationTx, known []migration) (int, error) {
	applied, err := tx.applied(ctx)
	if err != nil {
		return 0, err
	}
	for i, a := range applied {
		switch {
		case i >= len(known):
			return 0, schemaErrorf("the database has the migration %s, which this program does not know: it belongs to a newer version", a.name)
		case a.version > known[i].version:
			return 0, schemaErrorf("migration %s is new, but %s has been applied already: migrations only go forward", known[i].name, a.name)
		case a.version < known[i].version:
			return 0, schemaErrorf("the database has the migration %s, which this program does not know", a.name)
		case a.checksum != known[i].checksum:
			return 0, schemaErrorf("migration %s has changed since it was applied to this database as %s", known[i].name, a.name)
		}
	}
	return len(applied), nil
}

// A schemaError says that a database does not fit this program.
type schemaError string

func (e schemaError) Error() string { return string(e) }

func schemaErrorf(format string, args ...any) error { return schemaError(fmt.Sprintf(format, args...)) }
