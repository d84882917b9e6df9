package database_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

const theHolder = "EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.granted)"

// within ends with the test, or when it has taken too long.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func stand(t *testing.T, url string, files fs.FS, opts database.Options) *database.Candidate {
	t.Helper()
	c, err := database.Stand(t.Context(), url, files, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func nobody(database.Leader) error { return nil }

// lead waits until a candidate leads.
func lead(t *testing.T, c *database.Candidate) *database.DB {
	t.Helper()
	if err := c.Wait(within(t), nobody); err != nil {
		t.Fatal(err)
	}
	db, err := c.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// announced waits until a candidate sees the address of a leader.
func announced(t *testing.T, c *database.Candidate, address string) (found database.Leader) {
	t.Helper()
	enough := errors.New("enough")
	err := c.Wait(within(t), func(leader database.Leader) error {
		if found = leader; leader.Address == address {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatalf("no leader at %q, but %+v: %v", address, found, err)
	}
	return found
}

func TestOneOfTheCandidatesLeads(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	first := lead(t, stand(t, url, schema, database.Options{}))
	second := stand(t, url, schema, database.Options{})
	announced(t, second, "")
	epoch, err := first.Announce(t.Context(), database.Leader{Address: "a:1", Secret: "s", Identity: "i"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := announced(t, second, "a:1"), (database.Leader{Epoch: epoch, Address: "a:1", Secret: "s", Identity: "i"}); got != want {
		t.Errorf("the leader is %+v, not %+v", got, want)
	}
	if alone := open(t, url, database.Options{}); !errors.Is(alone.LockServer(t.Context()), database.ErrLocked) {
		t.Error("a server that is no candidate runs beside the leader")
	}
	addNote(t, first, 1, "one")
	if !first.Leads() {
		t.Error("the leader does not know that it leads")
	}
	first.Close()
	db := lead(t, second)
	if n := noteCount(t, db); n != 1 {
		t.Errorf("%d notes", n)
	}
	if later, err := db.Announce(t.Context(), database.Leader{}); err != nil || later != epoch+1 {
		t.Errorf("epoch %d comes after %d, %v", later, epoch, err)
	}
}

// Who has lost the lock writes nothing, not even what it has begun.
func TestADeposedLeaderWritesNothing(t *testing.T) {
	for name, pause := range map[string]string{"at rest": "", "in a transaction": "state LIKE 'idle in transaction%'"} {
		t.Run(name, func(t *testing.T) {
			url := testkit.Postgres(t) + "&application_name=" + strings.ReplaceAll(t.Name(), " ", "_")
			lost := make(chan error, 1)
			old := lead(t, stand(t, url, schema, database.Options{OnLockLost: func(err error) { lost <- err }}))
			addNote(t, old, 1, "one")
			next := stand(t, url, schema, database.Options{})
			if pause == "" {
				terminate(t, url, theHolder)
			}
			var begun error
			if pause != "" {
				begun = old.Update(t.Context(), func(tx *database.Tx) error {
					if err := insert(t.Context(), 2, "never", new(int64))(tx); err != nil {
						return err
					}
					terminate(t, url, theHolder+" AND "+pause)
					return nil
				})
				if begun == nil {
					t.Error("a transaction was committed without the lock")
				}
			}
			db := lead(t, next)
			select {
			case <-lost:
			case <-within(t).Done():
				t.Fatal("the old leader has not been told")
			}
			err := old.Update(t.Context(), insert(t.Context(), 3, "late", new(int64)))
			if !errors.Is(err, database.ErrDeposed) {
				t.Errorf("the old leader writes: %v", err)
			}
			if n := noteCount(t, db); n != 1 {
				t.Errorf("%d notes", n)
			}
			addNote(t, db, 2, "two")
		})
	}
}

// PostgreSQL itself ends the time of a leader that says nothing, in the middle of
// a transaction as well.
func TestALeaderThatStandsStillLosesTheLock(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	lost := make(chan error, 1)
	old := lead(t, stand(t, url, schema, database.Options{OnLockLost: func(err error) { lost <- err }}))
	next := stand(t, url, schema, database.Options{})
	var db *database.DB
	err := old.Update(t.Context(), func(tx *database.Tx) error {
		if err := insert(t.Context(), 1, "never", new(int64))(tx); err != nil {
			return err
		}
		db = lead(t, next) // while this transaction stands still
		return nil
	})
	if err == nil {
		t.Error("the old leader has committed")
	}
	select {
	case <-lost:
	case <-within(t).Done():
		t.Fatal("the old leader has not been told")
	}
	if old.Leads() {
		t.Error("the old leader believes that it leads")
	}
	if n := noteCount(t, db); n != 0 {
		t.Errorf("%d notes", n)
	}
}

func TestTheSchemaOfAClusterGoesForward(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	newer := fstest.MapFS{}
	maps.Copy(newer, schema)
	newer["0002_more.sql"] = &fstest.MapFile{Data: []byte("CREATE TABLE more (id BIGINT PRIMARY KEY)")}
	old := lead(t, stand(t, url, schema, database.Options{}))
	behind := stand(t, url, schema, database.Options{})
	announced(t, behind, "")
	upgraded := stand(t, url, newer, database.Options{})
	stand(t, url, schema, database.Options{}) // who waits has changed nothing
	old.Close()
	db := lead(t, upgraded)
	if _, err := db.Announce(t.Context(), database.Leader{Address: "new:1"}); err != nil {
		t.Fatal(err)
	}
	announced(t, behind, "new:1")
	db.Close()
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := behind.Wait(short, nobody); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an old server leads a newer database: %v", err)
	}
	_, err := database.Stand(t.Context(), url, schema, database.Options{})
	if err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("an old server stands by: %v", err)
	}
}

func TestOnlyPostgresIsShared(t *testing.T) {
	if _, err := database.Stand(t.Context(), testkit.SQLite(t), schema, database.Options{}); err == nil {
		t.Error("SQLite is shared")
	}
}

// Who waits goes on when PostgreSQL comes back.
func TestACandidateOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t) + "&application_name=" + t.Name()
	first := lead(t, stand(t, url, schema, database.Options{}))
	second := stand(t, url, schema, database.Options{})
	announced(t, second, "")
	terminate(t, url, "NOT "+theHolder)
	if _, err := first.Announce(t.Context(), database.Leader{Address: "a:1"}); err != nil {
		t.Fatal(err)
	}
	announced(t, second, "a:1")
	first.Close()
	lead(t, second)
}

// Who stands still while it looks at the schema holds up no newer version.
func TestNobodyHoldsUpMigrationsForEver(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	still, err := database.Open(t.Context(), url, schema, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	begun, end, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() { ended <- still.HoldMigrations(t.Context(), func() { close(begun) }, end) }()
	<-begun
	still.Close()
	c := stand(t, url, schema, database.Options{})
	if err := c.Wait(within(t), nobody); err != nil {
		t.Fatal(err)
	}
	db, err := c.Open(within(t))
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	close(end)
	if err := <-ended; err == nil {
		t.Error("what stood still has changed the schema after all")
	}
}
