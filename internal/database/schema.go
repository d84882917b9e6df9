package database

import (
	"fmt"
	"strings"
)

// schemaStatements splits a migration into statements of an engine's dialect;
// the package's description has the rules.
func schemaStatements(text string, engine Engine) ([]string, error) {
	blocks, err := splitSchema(text)
	if err != nil {
		return nil, err
	}
	var statements []string
	for _, block := range blocks {
		sql := block.text
		switch block.only {
		case "":
			if sql, err = schemaStatement(sql, engine); err != nil {
				return nil, inStatement(block.text, err)
			}
		case engine.String():
		default:
			continue
		}
		statements = append(statements, sql)
	}
	return statements, nil
}

// schemaBlock is a statement of a migration and the engine it is limited to.
type schemaBlock struct {
	text string
	only string
}

func splitSchema(text string) ([]schemaBlock, error) {
	tokens, err := tokenize(text)
	if err != nil {
		return nil, err
	}
	var blocks []schemaBlock
	var current strings.Builder
	only, empty := "", true
	for _, token := range append(tokens, token{tokenSymbol, ";"}) {
		switch {
		case token.is(";"):
			if !empty {
				blocks = append(blocks, schemaBlock{strings.TrimSpace(current.String()), only})
			}
			current.Reset()
			empty = true
			continue
		case !token.isSpace():
			empty = false
		case token.kind == tokenSpace && empty && strings.Count(token.text, "\n") > 1:
			only = ""
		case strings.HasPrefix(token.text, "-- only:"):
			only = strings.TrimSpace(strings.TrimPrefix(token.text, "-- only:"))
			if !empty || only != SQLite.String() && only != PostgreSQL.String() {
				return nil, fmt.Errorf("misplaced or unknown limit %q", token.text)
			}
		}
		current.WriteString(token.text)
	}
	return blocks, nil
}

// schemaStatement translates a statement for an engine.
func schemaStatement(sql string, engine Engine) (string, error) {
	lite, err := translate(sql)
	if err != nil {
		return "", err
	}
	if engine == SQLite {
		sql = lite
	}
	t, err := parseText(sql)
	if err != nil {
		return "", err
	}
	switch {
	case t.matches(0, "CREATE", "TABLE"):
		err = t.createTable(engine)
	case t.matches(0, "ALTER", "TABLE") && t.at(3).is("ADD"):
		column := 4
		if t.at(column).is("COLUMN") {
			column++
		}
		err = t.columnType(column, engine)
	}
	return t.String(), err
}

// createTable translates the types of all columns.
func (t *sqlText) createTable(engine Engine) error {
	n := 2
	if t.matches(n, "IF", "NOT", "EXISTS") {
		n += 3
	}
	if !t.at(n + 1).is("(") {
		return fmt.Errorf("CREATE TABLE needs a list of columns")
	}
	if err := t.columnType(n+2, engine); err != nil {
		return err
	}
	depth := 0
	for n++; n < len(t.words); n++ {
		switch token := t.at(n); {
		case token.is("("):
			depth++
		case token.is(")"):
			depth--
		case depth == 1 && token.is(","):
			if err := t.columnType(n+1, engine); err != nil {
				return err
			}
		}
		if depth == 0 {
			break
		}
	}
	if n != len(t.words)-1 {
		return fmt.Errorf("text after the columns of a table")
	}
	if engine == SQLite {
		options := ") STRICT"
		for _, token := range t.tokens[t.words[n]+1:] {
			if token.text == "/* WITHOUT ROWID */" {
				options = ") STRICT, WITHOUT ROWID"
			}
		}
		t.set(n, options)
	}
	return nil
}

// sqliteTypes are the types of columns. BIGINT becomes INTEGER rather than
// SQLite's INT, so that a primary key is the rowid itself.
var sqliteTypes = map[string]string{
	"BIGINT": "INTEGER", "INTEGER": "INTEGER", "SMALLINT": "INTEGER", "BOOLEAN": "INTEGER",
	"TEXT": "TEXT", "BYTEA": "BLOB", "DOUBLE": "REAL",
}

// columnType translates the type of the column whose definition begins at n, if
// it is one and no constraint of the table.
func (t *sqlText) columnType(n int, engine Engine) error {
	for _, constraint := range []string{"CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK"} {
		if t.at(n).is(constraint) {
			return nil
		}
	}
	typ := strings.ToUpper(t.at(n + 1).text)
	lite, known := sqliteTypes[typ]
	double := t.matches(n+1, "DOUBLE", "PRECISION")
	if !known || double != (typ == "DOUBLE") || t.at(n+2).is("[") {
		return fmt.Errorf("column %s: %s is not a type of both engines", t.at(n).text, typ)
	}
	switch {
	case engine == SQLite:
		if double {
			t.remove(n+2, n+3)
		}
		t.set(n+1, lite)
	case typ == "TEXT" && !t.at(n+2).is("COLLATE"):
		t.set(n+1, `TEXT COLLATE "C"`)
	}
	return nil
}

// inStatement adds the beginning of a statement to its error.
func inStatement(sql string, err error) error {
	const most = 120
	if len(sql) > most {
		sql = strings.ToValidUTF8(sql[:most], "") + "…"
	}
	return fmt.Errorf("%w in: %s", err, sql)
}
