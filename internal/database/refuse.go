package database

import (
	"fmt"
	"strings"
)

// refusedWords do not exist on SQLite or mean something else there; each with
// what to do instead.
var refusedWords = map[string]string{
	"ILIKE":             "store a folded column",
	"SIMILAR":           "use LIKE",
	"LATERAL":           "use a subquery",
	"CURRENT_TIMESTAMP": "pass the time",
	"CURRENT_DATE":      "pass the time",
	"CURRENT_TIME":      "pass the time",
	"LOCALTIMESTAMP":    "pass the time",
}

// refusedCalls are refused when a parenthesis, bracket or string follows:
// their names are good names for columns.
var refusedCalls = map[string]string{
	"GREATEST":        "use CASE",
	"LEAST":           "use CASE",
	"NEXTVAL":         "use IDs",
	"CURRVAL":         "use IDs",
	"LASTVAL":         "use IDs",
	"SETVAL":          "use IDs",
	"ARRAY":           "pass a slice",
	"ARRAY_AGG":       "read rows",
	"UNNEST":          "use ExecMany, or OnSQLite with json_each",
	"RANDOM":          "use Go's random numbers",
	"NOW":             "pass the time",
	"CLOCK_TIMESTAMP": "pass the time",
	"INTERVAL":        "pass milliseconds",
	"TIMESTAMP":       "pass milliseconds",
	"DATE":            "pass milliseconds",
}

// refusedSymbols are operators with another meaning on SQLite, or none.
var refusedSymbols = []string{"->>", "#>>", "!~*", "!~", "~*", "~", "->", "#>", "@>", "<@", "&&", "?|", "?&", "?", "@@", "^", "#", ":=", "=="}

// refuse reports the first construct that the two engines do not share.
func (t *sqlText) refuse() error {
	for n := range t.words {
		token := t.at(n)
		if token.kind == tokenString && token.text[0] == '$' {
			return fmt.Errorf("dollar-quoted strings have no equal in SQLite")
		}
		for _, symbol := range refusedSymbols {
			if token.is(symbol) {
				return fmt.Errorf("the operator %s is not shared by both engines", symbol)
			}
		}
		if token.kind != tokenWord || t.at(n-1).is(".") {
			continue
		}
		word := strings.ToUpper(token.text)
		advice, bad := refusedWords[word]
		if next := t.at(n + 1); !bad && (next.is("(") || next.is("[") || next.kind == tokenString) {
			advice, bad = refusedCalls[word]
		}
		if bad {
			return fmt.Errorf("%s is not shared by both engines: %s", word, advice)
		}
		if err := t.refuseAt(n); err != nil {
			return err
		}
	}
	return nil
}

// refuseAt judges constructs of more than one word.
func (t *sqlText) refuseAt(n int) error {
	switch {
	case t.matches(n, "DISTINCT", "ON"):
		return fmt.Errorf("DISTINCT ON is not shared by both engines: use a window function or GROUP BY")
	case t.matches(n, "ON", "CONSTRAINT"):
		return fmt.Errorf("ON CONSTRAINT is not shared by both engines: name the columns")
	case t.matches(n, "CAST", "("):
		return fmt.Errorf("CAST converts differently on the two engines: use :: to tell PostgreSQL a type")
	case t.at(n).is("LIKE"):
		return t.refuseLike(n)
	case t.at(n).is("AS"):
		body := n + 1
		if t.at(body).is("NOT") {
			body++
		}
		if t.at(body).is("MATERIALIZED") {
			body++
		}
		if !t.at(body).is("(") {
			return nil
		}
		for _, verb := range []string{"INSERT", "UPDATE", "DELETE", "MERGE"} {
			if t.at(body + 1).is(verb) {
				return fmt.Errorf("a WITH clause that changes data is not shared by both engines: use two statements")
			}
		}
	}
	return nil
}

// refuseLike demands an ESCAPE clause: without one, the backslash escapes on
// PostgreSQL and is a letter on SQLite.
func (t *sqlText) refuseLike(n int) error {
	depth := 0
	for n++; n < len(t.words); n++ {
		switch token := t.at(n); {
		case token.is("("):
			depth++
		case token.is(")"):
			depth--
		case depth == 0 && token.is("ESCAPE"):
			return nil
		case depth == 0 && (token.is("AND") || token.is("OR")):
			depth = -1
		}
		if depth < 0 {
			break
		}
	}
	return fmt.Errorf(`LIKE needs an ESCAPE clause, such as ESCAPE '\'`)
}
