package database

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// foreignWait bounds the wait for another program's database to answer at all.
const foreignWait = 30 * time.Second

// A Foreign database is another program's, which is read as it was at one moment. Its statements are
// its own dialect, and are not declared.
type Foreign struct{ tx pgx.Tx }

// ReadForeign calls read with a PostgreSQL database that is not ours: nothing in it is changed, locked
// or prepared.
func ReadForeign(ctx context.Context, url string, read func(*Foreign) error) error {
	connecting, cancel := context.WithTimeout(ctx, foreignWait)
	defer cancel()
	conn, err := pgx.Connect(connecting, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	return read(&Foreign{tx})
}

// Each calls row with a scanner for each row of a query.
func (f *Foreign) Each(ctx context.Context, query string, row func(scan func(into ...any) error) error) error {
	rows, err := f.tx.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Has tells whether there is a table.
func (f *Foreign) Has(ctx context.Context, table string) (there bool, err error) {
	err = f.tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&there)
	return there, err
}
