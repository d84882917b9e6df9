package database_test

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func files(texts map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{"README.md": {Data: []byte("not SQL")}}
	for name, text := range texts {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

var twoSteps = map[string]string{
	"0001_a.sql": "CREATE TABLE a (id BIGINT PRIMARY KEY, name TEXT NOT NULL);\r\n\r\nINSERT INTO a (id, name) VALUES (1, 'semi;colon');\r\n",
	"0002_b.sql": `
-- A comment; with a semicolon.
ALTER TABLE a ADD COLUMN ready BOOLEAN NOT NULL DEFAULT TRUE;

-- only: postgres
CREATE FUNCTION engine() RETURNS TEXT LANGUAGE sql AS $$ SELECT 'postgres'; $$;
CREATE TABLE engine AS SELECT engine() AS name;

-- only: sqlite
CREATE TABLE engine (name TEXT);
INSERT INTO engine VALUES ('sqlite');

CREATE TABLE pairs (
	one BIGINT NOT NULL,
	two TEXT NOT NULL REFERENCES texts (id) ON DELETE CASCADE,
	real DOUBLE PRECISION,
	PRIMARY KEY (one, two),
	UNIQUE (two),
	CHECK (one > 0)
) /* WITHOUT ROWID */;
`,
	"0003_c.sql": "CREATE INDEX a_name ON a (name) WHERE ready",
}

func init() {
	twoSteps["0002_b.sql"] = "CREATE TABLE texts (id TEXT PRIMARY KEY);\n" + twoSteps["0002_b.sql"]
}

var (
	selectEngine = database.SQL(`
		SELECT e.name, a.name, a.ready
		FROM engine e, a`)
)

func TestMigrate(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		step := func(names ...string) (*database.DB, error) {
			texts := map[string]string{}
			for _, name := range names {
				texts[name] = twoSteps[name]
			}
			return database.Open(ctx, url, files(texts), database.Options{})
		}
		db, err := step("0001_a.sql")
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
		if _, err := step("0001_a.sql", "0003_c.sql"); err == nil {
			t.Error("0003 works without 0002")
		}
		db, err = step("0001_a.sql", "0002_b.sql", "0003_c.sql")
		if err != nil {
			t.Fatal(err)
		}
		var engine, name string
		var ready bool
		if err := db.Read().QueryRow(ctx, selectEngine).Scan(&engine, &name, &ready); err != nil {
			t.Fatal(err)
		}
		if engine != db.Engine().String() || name != "semi;colon" || !ready {
			t.Error(engine, name, ready)
		}
		db.Close()
		if _, err := step("0001_a.sql", "0002_b.sql"); err == nil || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("with an unknown newest migration: %v", err)
		}
		if _, err := step("0001_a.sql", "0003_c.sql"); err == nil || !strings.Contains(err.Error(), "0002_b.sql") {
			t.Errorf("with an unknown migration: %v", err)
		}
		changed := files(twoSteps)
		changed["0002_b.sql"].Data = append(changed["0002_b.sql"].Data, ' ')
		if _, err := database.Open(ctx, url, changed, database.Options{}); err == nil || !strings.Contains(err.Error(), "has changed") {
			t.Errorf("with a changed migration: %v", err)
		}
		late := maps.Clone(changed)
		delete(late, "0002_b.sql")
		unix := files(twoSteps)
		unix["0001_a.sql"].Data = []byte(strings.ReplaceAll(twoSteps["0001_a.sql"], "\r\n", "\n"))
		db, err = database.Open(ctx, url, unix, database.Options{})
		if err != nil {
			t.Fatalf("other line ends: %v", err)
		}
		db.Close()
	})
}

func TestMigrationsOutOfOrder(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		one, three := "CREATE TABLE a (id BIGINT PRIMARY KEY)", "CREATE TABLE c (id BIGINT PRIMARY KEY)"
		db, err := database.Open(t.Context(), url, files(map[string]string{"0001_a.sql": one, "0003_c.sql": three}), database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
		_, err = database.Open(t.Context(), url, files(map[string]string{"0001_a.sql": one, "0002_b.sql": "SELECT 1", "0003_c.sql": three}), database.Options{})
		if err == nil || !strings.Contains(err.Error(), "only go forward") {
			t.Errorf("error is %v", err)
		}
	})
}

// A migration that fails leaves nothing behind.
func TestMigrationFails(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		bad := files(map[string]string{"0001_a.sql": "CREATE TABLE a (id BIGINT PRIMARY KEY); INSERT INTO missing VALUES (1);"})
		if _, err := database.Open(t.Context(), url, bad, database.Options{}); err == nil || !strings.Contains(err.Error(), "0001_a.sql") {
			t.Errorf("error is %v", err)
		}
		good := files(map[string]string{"0001_a.sql": "CREATE TABLE a (id BIGINT PRIMARY KEY);"})
		db, err := database.Open(t.Context(), url, good, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
	})
}

func TestBadMigrations(t *testing.T) {
	for what, fsys := range map[string]fstest.MapFS{
		"name":          files(map[string]string{"1_a.sql": ""}),
		"same number":   files(map[string]string{"0001_a.sql": "", "0001_b.sql": ""}),
		"type":          files(map[string]string{"0001_a.sql": "CREATE TABLE a (id JSONB)"}),
		"serial":        files(map[string]string{"0001_a.sql": "CREATE TABLE a (n TEXT, id BIGSERIAL)"}),
		"array":         files(map[string]string{"0001_a.sql": "CREATE TABLE a (id TEXT[])"}),
		"added column":  files(map[string]string{"0001_a.sql": "CREATE TABLE a (id TEXT);\n\nALTER TABLE a ADD b TIMESTAMPTZ"}),
		"as":            files(map[string]string{"0001_a.sql": "CREATE TABLE a AS SELECT 1"}),
		"options":       files(map[string]string{"0001_a.sql": "CREATE TABLE a (id TEXT) STRICT"}),
		"engine":        files(map[string]string{"0001_a.sql": "-- only: mysql\nSELECT 1"}),
		"inside":        files(map[string]string{"0001_a.sql": "SELECT\n-- only: sqlite\n1"}),
		"open string":   files(map[string]string{"0001_a.sql": "SELECT '"}),
		"not a dialect": files(map[string]string{"0001_a.sql": "UPDATE a SET b = now()"}),
	} {
		testkit.Databases(t, func(t *testing.T, url string) {
			db, err := database.Open(t.Context(), url, fsys, database.Options{})
			if err == nil {
				db.Close()
				t.Errorf("%s: no error", what)
			}
		})
	}
}

func TestProcessesStartTogether(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				db, err := database.Open(t.Context(), url, files(twoSteps), database.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				db.Close()
			})
		}
		wg.Wait()
	})
}

// The types of the columns are kept on both engines.
func TestWrongTypes(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		for what, args := range map[string][]any{
			"text as number":  {"one", "n", nil, false, nil},
			"number as bytes": {1, "n", int64(5), false, nil},
			"NULL name":       {1, nil, nil, false, nil},
			"too few":         {1, "n"},
			"too many":        {1, "n", nil, false, nil, nil},
		} {
			err := db.Update(ctx, func(tx *database.Tx) error { return tx.Queue(ctx, insertNote, args...) })
			if err == nil || database.IsUnique(err) || errors.Is(err, database.ErrClosed) {
				t.Errorf("%s: error is %v", what, err)
			}
		}
	})
}

func TestSchemas(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
	})
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Bridges, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
	})
}

func TestBadURLs(t *testing.T) {
	for _, url := range []string{"", ":memory:", t.TempDir() + "/no/such/directory.db", t.TempDir(), "postgres://%zz", "postgres://127.0.0.1:1/x?connect_timeout=1"} {
		if db, err := database.Open(t.Context(), url, nil, database.Options{}); err == nil {
			db.Close()
			t.Errorf("%q: no error", url)
		}
	}
	db, err := database.Open(t.Context(), "file:"+t.TempDir()+"/odd name?#%.db", nil, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
}
