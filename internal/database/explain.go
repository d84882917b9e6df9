package database

import (
	"context"
	"database/sql/driver"

	"github.com/jackc/pgx/v5"
)

func (db *sqliteDB) explain(ctx context.Context, stmt *Statement, args []any) ([]string, error) {
	text, err := stmt.Text(SQLite)
	if err != nil {
		return nil, err
	}
	conn, err := db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer db.release(conn)
	prepared, err := conn.conn.Prepare("EXPLAIN QUERY PLAN " + text)
	if err != nil {
		return nil, err
	}
	defer prepared.Close()
	named, err := sqliteArgs(args)
	if err != nil {
		return nil, err
	}
	found, err := prepared.(driver.StmtQueryContext).QueryContext(ctx, named)
	if err != nil {
		return nil, err
	}
	rows := &sqliteRows{ctx: ctx, rows: found, values: make([]driver.Value, len(found.Columns()))}
	defer rows.close()
	var steps []string
	for rows.next() {
		var id, parent, unused int64
		var step string
		if err := rows.scan([]any{&id, &parent, &unused, &step}); err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, rows.err()
}

func (db *postgresDB) explain(ctx context.Context, stmt *Statement, args []any) ([]string, error) {
	conn, err := db.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, "EXPLAIN (COSTS OFF) "+stmt.source, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
