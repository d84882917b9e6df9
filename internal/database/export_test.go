package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// BackgroundPatience sets how long background functions wait for a quiet moment.
func (db *DB) BackgroundPatience(d time.Duration) {
	db.commits.mu.Lock()
	defer db.commits.mu.Unlock()
	db.commits.patience = d
}

// BackgroundWaiting is how many background functions wait for a quiet moment.
func (db *DB) BackgroundWaiting() int {
	db.commits.mu.Lock()
	defer db.commits.mu.Unlock()
	return len(db.commits.background)
}

// Flushing is the setting that decides whether the transaction's commit waits
// for the disk.
func (tx *Tx) Flushing(ctx context.Context) (level string, err error) {
	if w, ok := tx.group.writer.(*postgresWriter); ok {
		if err := w.flush(ctx); err != nil {
			return "", err
		}
		return level, w.conn.QueryRow(ctx, "SHOW synchronous_commit").Scan(&level)
	}
	w := tx.group.writer.(*sqliteWriter)
	rows, err := w.conn.conn.(driver.QueryerContext).QueryContext(ctx, "PRAGMA synchronous", nil)
	if err != nil {
		return "", err
	}
	values := make([]driver.Value, 1)
	err = rows.Next(values)
	return fmt.Sprint(values[0]), errors.Join(err, rows.Close())
}

// PreparedOn is on how many of the idle reading connections of an SQLite database a
// statement is prepared.
func (db *DB) PreparedOn(stmt *Statement) (n int) {
	lite := db.backend.(*sqliteDB)
	lite.mu.Lock()
	defer lite.mu.Unlock()
	for _, conn := range lite.free {
		if stmt.id < len(conn.stmts) && conn.stmts[stmt.id] != nil {
			n++
		}
	}
	return n
}

// HoldMigrations is a process that stands still while it looks at the schema, until the end.
func (db *DB) HoldMigrations(ctx context.Context, begun func(), end <-chan struct{}) error {
	return db.backend.(*postgresDB).migrate(ctx, func(migrationTx) (bool, error) {
		begun()
		<-end
		return false, nil
	})
}
