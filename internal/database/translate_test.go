package database

import (
	"slices"
	"strings"
	"testing"
)

func TestTranslate(t *testing.T) {
	for _, c := range []struct{ postgres, sqlite string }{
		{`SELECT a FROM t WHERE b = $1 AND c = $2`, `SELECT a FROM t WHERE b = ? AND c = ?`},
		{`SELECT a FROM t WHERE b = $1 LIMIT $2 OFFSET $3`, `SELECT a FROM t WHERE b = ? LIMIT (0+?) OFFSET (0+?)`},
		{`SELECT a FROM t WHERE b = $2 AND c = $1`, `SELECT a FROM t WHERE b = ?2 AND c = ?1`},
		{`SELECT a FROM t WHERE b = $1 OR c = $1`, `SELECT a FROM t WHERE b = ?1 OR c = ?1`},
		{`SELECT a FROM t WHERE b = ANY($1)`, `SELECT a FROM t WHERE b IN (SELECT value FROM json_each(?))`},
		{`SELECT a FROM t WHERE b = any ( $1::bigint[] )`, `SELECT a FROM t WHERE b IN  (SELECT value FROM json_each( ? ))`},
		{`SELECT a FROM t WHERE b <> ALL($1) AND c != ALL($2)`,
			`SELECT a FROM t WHERE b NOT IN (SELECT value FROM json_each(?)) AND c NOT IN (SELECT value FROM json_each(?))`},
		{`SELECT a FROM t WHERE b=ANY($1)`, `SELECT a FROM t WHERE b IN (SELECT value FROM json_each(?))`},
		{`SELECT $1::text, $2::bytea, $3::int8`, `SELECT ?, ?, ?`},
		{`SELECT a FROM t FOR UPDATE`, `SELECT a FROM t `},
		{`SELECT a FROM t FOR NO KEY UPDATE OF t, u SKIP LOCKED`, `SELECT a FROM t      `},
		{`SELECT a FROM t FOR SHARE NOWAIT`, `SELECT a FROM t  `},
		{`SELECT a FROM t ORDER BY a COLLATE "C" DESC`, `SELECT a FROM t ORDER BY a  DESC`},
		{`SELECT '$1::text = ANY($1)', "FOR UPDATE" FROM t -- $2 GREATEST(`, `SELECT '$1::text = ANY($1)', "FOR UPDATE" FROM t -- $2 GREATEST(`},
		{`SELECT 'it''s' /* ON CONSTRAINT */, now, t.greatest FROM t`, `SELECT 'it''s' /* ON CONSTRAINT */, now, t.greatest FROM t`},
		{`SELECT a FROM t WHERE a IS NOT DISTINCT FROM $1 AND b IS DISTINCT FROM TRUE`,
			`SELECT a FROM t WHERE a IS NOT DISTINCT FROM ? AND b IS DISTINCT FROM TRUE`},
		{`SELECT a FROM t WHERE a LIKE '%' || $1 ESCAPE '\' AND b`, `SELECT a FROM t WHERE a LIKE '%' || ? ESCAPE '\' AND b`},
		{`SELECT 1.5e3, .5 UNION ALL SELECT 2`, `SELECT 1.5e3, .5 UNION ALL SELECT 2`},
		{`INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING a`,
			`INSERT INTO t (a) VALUES (?) ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING a`},
	} {
		got, err := translate(c.postgres)
		if squeeze(got) != squeeze(c.sqlite) || err != nil {
			t.Errorf("%s\nbecomes %s, %v\nwant    %s", c.postgres, got, err, c.sqlite)
		}
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// What the engines do not share must not get through.
func TestRefused(t *testing.T) {
	for _, sql := range []string{
		`SELECT DISTINCT ON (a) a FROM t`,
		`SELECT greatest(a, b) FROM t`,
		`SELECT LEAST (a, b) FROM t`,
		`WITH d AS (DELETE FROM t RETURNING a) SELECT a FROM d`,
		`WITH d AS NOT MATERIALIZED (INSERT INTO t VALUES (1) RETURNING a) SELECT a FROM d`,
		`SELECT nextval('s')`,
		`INSERT INTO t VALUES (1) ON CONFLICT ON CONSTRAINT k DO NOTHING`,
		`SELECT a FROM t WHERE a ILIKE $1`,
		`SELECT a FROM t WHERE a LIKE $1`,
		`SELECT a FROM t WHERE (a LIKE $1) AND b LIKE $1 ESCAPE '!'`,
		`SELECT a FROM t WHERE a LIKE $1 OR b LIKE $1 ESCAPE '!'`,
		`SELECT a FROM t WHERE a ~ 'x'`,
		`SELECT a -> 'x' FROM t`,
		`SELECT a ->> 'x' FROM t`,
		`SELECT a @> $1 FROM t`,
		`SELECT 2 ^ 3`,
		`SELECT a == b FROM t`,
		`SELECT a FROM t WHERE b = ?`,
		`SELECT a FROM t WHERE b > ANY($1)`,
		`SELECT a FROM t WHERE b = ANY(SELECT c FROM u)`,
		`SELECT a FROM t WHERE b = ANY(ARRAY[1, 2])`,
		`SELECT a FROM t WHERE b = ALL($1)`,
		`SELECT a::numeric FROM t`,
		`SELECT CAST(a AS TEXT) FROM t`,
		`SELECT now()`,
		`SELECT CURRENT_TIMESTAMP`,
		`SELECT interval '1 day'`,
		`SELECT a FROM unnest($1::bigint[]) AS a`,
		`SELECT a FROM t, LATERAL (SELECT 1) u`,
		`SELECT random()`,
		`SELECT $$text$$`,
		`SELECT $tag$text$tag$`,
		`SELECT E'\n'`,
		`SELECT U&'\0041'`,
		`SELECT x'00'`,
		`SELECT 'open`,
		`SELECT "open`,
		`SELECT /* open`,
		`SELECT /* a /* b */ */ 1`,
		`SELECT $open$ text`,
		`SELECT $`,
		`SELECT $1a`,
		"SELECT 'nul\x00'",
		"SELECT \x00",
	} {
		if got, err := translate(sql); err == nil {
			t.Errorf("%s\nbecomes %s", sql, got)
		}
	}
}

func TestInspect(t *testing.T) {
	for sql, want := range map[string]effect{
		`SELECT a FROM t`: reads,
		` -- note` + "\n" + `WITH u AS (SELECT 1) SELECT a FROM u`: reads,
		`VALUES (1)`:                         reads,
		`SELECT a FROM t FOR UPDATE`:         locks,
		`SELECT a FROM t FOR NO KEY UPDATE`:  locks,
		`SELECT a FROM t FOR SHARE`:          locks,
		`SELECT 'INSERT', "delete" FROM t`:   reads,
		`INSERT INTO t VALUES (1)`:           writes,
		`UPDATE t SET a = 1`:                 writes,
		`DELETE FROM t`:                      writes,
		`WITH u AS (SELECT 1) DELETE FROM t`: writes,
		`SELECT a INTO u FROM t`:             writes,
		`SELECT 'open`:                       writes,
	} {
		if got, _ := inspect(sql); got != want {
			t.Errorf("%s: effect %d, want %d", sql, got, want)
		}
	}
	if _, n := inspect(`SELECT $3, '$9', $1`); n != 3 {
		t.Errorf("highest placeholder is %d, want 3", n)
	}
}

func TestOnSQLite(t *testing.T) {
	s := (&Statement{source: `SELECT greatest($1, $2)`}).OnSQLite(`SELECT MAX($2, $1) || json('?')`)
	if got, err := s.Text(SQLite); got != `SELECT MAX(?2, ?1) || json('?')` || err != nil {
		t.Error(got, err)
	}
	if got, err := s.Text(PostgreSQL); got != s.String() || err != nil {
		t.Error(got, err)
	}
}

func FuzzTranslate(f *testing.F) {
	for _, sql := range []string{
		`SELECT a FROM t WHERE b = ANY($1::bigint[]) AND c <> ALL($2) FOR UPDATE OF t SKIP LOCKED`,
		`SELECT 'it''s', "q""q", $1::text -- end` + "\n" + `/* c */ WHERE a LIKE $2 ESCAPE '\'`,
		`CREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT COLLATE "C") /* WITHOUT ROWID */; -- only: sqlite` + "\n\n" + `x;`,
		`SELECT $tag$ ; $tag$; SELECT $$ $$`,
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		tokens, err := tokenize(sql)
		if err != nil {
			return
		}
		var joined strings.Builder
		for _, token := range tokens {
			if token.text == "" {
				t.Fatal("an empty token")
			}
			joined.WriteString(token.text)
		}
		if joined.String() != sql {
			t.Fatalf("the tokens join to %q", joined.String())
		}
		_, _ = inspect(sql)
		for _, engine := range []Engine{SQLite, PostgreSQL} {
			_, _ = schemaStatements(sql, engine)
		}
		translated, err := translate(sql)
		if err != nil {
			return
		}
		again, err := tokenize(translated)
		if err != nil {
			t.Fatalf("the translation %q is no SQL: %v", translated, err)
		}
		if !slices.Equal(stringsIn(tokens), stringsIn(again)) {
			t.Fatalf("the strings of %q changed in %q", sql, translated)
		}
	})
}

func stringsIn(tokens []token) (list []string) {
	for _, token := range tokens {
		if token.kind == tokenString {
			list = append(list, token.text)
		}
	}
	return list
}
