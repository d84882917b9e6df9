package database

import (
	"context"

	"github.com/jackc/pgx/v5"
)

var (
	selectMigrations = SQL(`
		SELECT version, name, checksum
		FROM schema_migrations
		ORDER BY version`)
	insertMigration = SQL(`
		INSERT INTO schema_migrations (version, name, checksum, applied_at)
		VALUES ($1, $2, $3, $4)`)
)

// migrate holds an advisory lock for each transaction, so that processes that
// start together take turns. One connection is enough for all. Who stands still with the lock
// loses it after the time after which a leader loses its own: else nobody else could lead a newer version.
func (db *postgresDB) migrate(ctx context.Context, step func(migrationTx) (more bool, err error)) error {
	connect := db.connect
	if db.leads != nil {
		connect = db.connectLeader
	}
	conn, err := connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	schema, err := currentSchema(ctx, conn)
	if err != nil {
		return err
	}
	for more := true; more; {
		if more, err = migrateStep(ctx, conn, lockKey(schema, "migrate"), step); err != nil {
			return err // closing the connection rolls back
		}
	}
	return nil
}

func migrateStep(ctx context.Context, conn *pgx.Conn, key int64, step func(migrationTx) (more bool, err error)) (more bool, err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = '5s'"); err != nil {
		return false, err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", key); err != nil {
		return false, err
	}
	if more, err = step(postgresMigration{tx}); err != nil {
		return false, err
	}
	return more, tx.Commit(ctx)
}

type postgresMigration struct{ tx pgx.Tx }

func (m postgresMigration) script(ctx context.Context, statements []string) error {
	for _, sql := range statements {
		if _, err := m.tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return inStatement(sql, err)
		}
	}
	return nil
}

func (m postgresMigration) applied(ctx context.Context) ([]migration, error) {
	rows, err := m.tx.Query(ctx, selectMigrations.source)
	if err != nil {
		return nil, err
	}
	return collectMigrations(&postgresRows{rows: rows})
}

func (m postgresMigration) record(ctx context.Context, done migration, at int64) error {
	_, err := m.tx.Exec(ctx, insertMigration.source, done.version, done.name, done.checksum, at)
	return err
}

// migrate runs before the database is shared with anybody in this process;
// BEGIN IMMEDIATE keeps other processes out.
func (db *sqliteDB) migrate(_ context.Context, step func(migrationTx) (more bool, err error)) error {
	conn := db.writer.conn
	for more := true; more; {
		if err := conn.run("BEGIN IMMEDIATE"); err != nil {
			return err
		}
		var err error
		if more, err = step(sqliteMigration{conn}); err != nil {
			_ = conn.run("ROLLBACK")
			return err
		}
		if err := conn.run("COMMIT"); err != nil {
			return err
		}
	}
	return nil
}

type sqliteMigration struct{ conn *sqliteConn }

func (m sqliteMigration) script(_ context.Context, statements []string) error {
	for _, sql := range statements {
		if err := m.conn.script(sql); err != nil {
			return inStatement(sql, err)
		}
	}
	return nil
}

func (m sqliteMigration) applied(ctx context.Context) ([]migration, error) {
	rows, err := m.conn.query(ctx, selectMigrations, nil)
	if err != nil {
		return nil, err
	}
	return collectMigrations(rows)
}

func (m sqliteMigration) record(_ context.Context, done migration, at int64) error {
	_, err := m.conn.exec(insertMigration, []any{done.version, done.name, done.checksum, at})
	return err
}

func collectMigrations(rows rowSource) ([]migration, error) {
	defer rows.close()
	var list []migration
	for rows.next() {
		var m migration
		if err := rows.scan([]any{&m.version, &m.name, &m.checksum}); err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, rows.err()
}
