package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"modernc.org/sqlite"
)

// sqliteConn is a connection and its prepared statements. It drives the driver
// directly: database/sql's pool and conversions would cost as much as a small
// statement itself.
type sqliteConn struct {
	conn  driver.Conn
	stmts []driver.Stmt // by Statement.id
	fixed map[string]driver.Stmt
}

func openSQLiteConn(dsn string) (*sqliteConn, error) {
	conn, err := (&sqlite.Driver{}).Open(dsn)
	if err != nil {
		return nil, err
	}
	return &sqliteConn{conn: conn, fixed: make(map[string]driver.Stmt)}, nil
}

func (c *sqliteConn) close() {
	for _, stmt := range c.stmts {
		if stmt != nil {
			_ = stmt.Close()
		}
	}
	for _, stmt := range c.fixed {
		_ = stmt.Close()
	}
	_ = c.conn.Close()
}

// run executes a fixed text, such as COMMIT.
func (c *sqliteConn) run(sql string) error {
	stmt := c.fixed[sql]
	if stmt == nil {
		var err error
		if stmt, err = c.conn.Prepare(sql); err != nil {
			return err
		}
		c.fixed[sql] = stmt
	}
	_, err := stmt.(driver.StmtExecContext).ExecContext(context.Background(), nil)
	return err
}

// script executes a text that may change the schema.
func (c *sqliteConn) script(sql string) error {
	_, err := c.conn.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return err
}

func (c *sqliteConn) prepared(stmt *Statement) (driver.Stmt, error) {
	if stmt.id < len(c.stmts) && c.stmts[stmt.id] != nil {
		return c.stmts[stmt.id], nil
	}
	text, err := stmt.Text(SQLite)
	if err != nil {
		return nil, err
	}
	prepared, err := c.conn.Prepare(text)
	if err != nil {
		return nil, err
	}
	for len(c.stmts) <= stmt.id {
		c.stmts = append(c.stmts, nil)
	}
	c.stmts[stmt.id] = prepared
	return prepared, nil
}

func (c *sqliteConn) exec(stmt *Statement, args []any) (int64, error) {
	prepared, err := c.prepared(stmt)
	if err != nil {
		return 0, err
	}
	named, err := sqliteArgs(args)
	if err != nil {
		return 0, err
	}
	result, err := prepared.(driver.StmtExecContext).ExecContext(context.Background(), named)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// query steps to the first row; the end of the context interrupts that, and the
// steps that follow.
func (c *sqliteConn) query(ctx context.Context, stmt *Statement, args []any) (*sqliteRows, error) {
	prepared, err := c.prepared(stmt)
	if err != nil {
		return nil, err
	}
	named, err := sqliteArgs(args)
	if err != nil {
		return nil, err
	}
	rows, err := prepared.(driver.StmtQueryContext).QueryContext(ctx, named)
	if err != nil {
		return nil, err
	}
	return &sqliteRows{ctx: ctx, rows: rows, values: make([]driver.Value, len(rows.Columns()))}, nil
}

func sqliteArgs(args []any) ([]driver.NamedValue, error) {
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case bool:
			arg = int64(0)
			if v {
				arg = int64(1)
			}
		case []int64, []string:
			text, err := jsonArray(v)
			if err != nil {
				return nil, err
			}
			arg = text
		}
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	return named, nil
}

// sqliteRows are the rows of a prepared statement, which is free again when they
// are closed.
type sqliteRows struct {
	ctx    context.Context
	rows   driver.Rows // nil when closed
	values []driver.Value
	failed error
	closed func()
}

func (r *sqliteRows) next() bool {
	if r.rows == nil || r.failed != nil {
		return false
	}
	if r.failed = r.ctx.Err(); r.failed != nil {
		return false
	}
	err := r.rows.Next(r.values)
	if err != nil && !errors.Is(err, io.EOF) {
		r.failed = err
	}
	return err == nil
}

func (r *sqliteRows) scan(dest []any) error {
	if len(dest) != len(r.values) {
		return fmt.Errorf("scan %d columns into %d targets", len(r.values), len(dest))
	}
	for i, d := range dest {
		if err := assign(d, r.values[i]); err != nil {
			return fmt.Errorf("scan column %d: %w", i+1, err)
		}
	}
	return nil
}

func (r *sqliteRows) err() error { return r.failed }

func (r *sqliteRows) close() {
	if r.rows == nil {
		return
	}
	if err := r.rows.Close(); err != nil && r.failed == nil {
		r.failed = err
	}
	r.rows = nil
	if r.closed != nil {
		r.closed()
	}
}
