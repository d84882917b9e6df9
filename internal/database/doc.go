// Package database runs SQL on SQLite and PostgreSQL: one text for both
// engines, writes committed in groups, migrations, and the numbers that order
// everything (stream positions and IDs). It knows nothing about Matrix, and
// nobody else may import a database driver.
//
// # Statements
//
// Statements are package-level variables, written in PostgreSQL's dialect
// beside the method that uses them, and are translated for SQLite at start.
// Columns are BIGINT, INTEGER, TEXT, BYTEA or BOOLEAN; arguments and scan
// targets are the Go types of those, named types of the same kind, pointers for
// NULL, and []int64 or []string for "= ANY($1)".
//
// What is spelled alike but means something else on the two engines is refused
// (see translate.go); one difference cannot be seen in the text: NULL sorts
// last on PostgreSQL and first on SQLite, so ordering by a nullable column
// needs NULLS FIRST or NULLS LAST.
//
// # Migrations
//
// A migration is a file NNNN_name.sql, applied in one transaction, once, and
// never changed afterwards. It is written in PostgreSQL's dialect too. On
// PostgreSQL, TEXT columns become TEXT COLLATE "C", so that both engines compare
// and sort by bytes; on SQLite, tables become STRICT, so that both refuse values
// of the wrong type, and a BIGINT PRIMARY KEY is the rowid.
//
// A line "-- only: sqlite" or "-- only: postgres" limits what follows, up to the
// next empty line, to one engine, in its own dialect. The comment
// "/* WITHOUT ROWID */" behind the columns of a table counts on SQLite: right
// for narrow tables whose key is a text or more than one column.
//
// # Writing
//
// All writing goes through DB.Update or DB.Enqueue: one goroutine takes the
// waiting functions, runs them in one transaction, commits once and answers
// each. A thousand durable writes a second cost a few dozen disk flushes.
package database
