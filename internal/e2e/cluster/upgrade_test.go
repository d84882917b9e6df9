package cluster_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// A newer program is what the next version does to the database: it waits for its turn,
// leads, and brings a migration.
func (w *world) newer() *database.Candidate {
	w.t.Helper()
	files := fstest.MapFS{"9001_newer.sql": {Data: []byte("ALTER TABLE events ADD COLUMN newer BIGINT")}}
	names, err := fs.Glob(migrations.Homeserver, "*.sql")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(migrations.Homeserver, name)
		if err != nil {
			w.t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	c, err := database.Stand(w.t.Context(), w.database, files, database.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// sees waits until a newer program knows who leads before it.
func (w *world) sees(c *database.Candidate) (found database.Leader) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	enough := errors.New("enough")
	err := c.Wait(ctx, func(leader database.Leader) error {
		if found = leader; leader.Identity != "" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		w.t.Fatalf("there is no leader: %v", err)
	}
	return found
}

// leads waits until a newer program leads.
func (w *world) leads(c *database.Candidate) *database.DB {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := c.Wait(ctx, func(database.Leader) error { return nil }); err != nil {
		w.t.Fatal(err)
	}
	db, err := c.Open(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(db.Close)
	return db
}

// events is how many there are.
func (w *world) events(db *database.DB) (n int) {
	w.t.Helper()
	if err := db.Read().QueryRow(w.t.Context(), database.SQL(`SELECT COUNT(*) FROM events WHERE newer IS NULL`)).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// takeOver has the newer program lead after the leader, rather than the other one.
func (w *world) takeOver() (db *database.DB, before database.Leader, led, other *process) {
	w.t.Helper()
	led = w.leader(nil)
	other = w.processes[1-led.number]
	alice := w.person("alice")
	if w.do("POST", v3+"/createRoom", alice, map[string]any{})["room_id"] == nil {
		w.t.Fatal("there is no room")
	}
	newer := w.newer()
	before = w.sees(newer)
	other.Freeze()
	led.Stop()
	return w.leads(newer), before, led, other
}

// refused starts a process of the old version, which ends and says why.
func (w *world) refused(p *process) {
	w.t.Helper()
	args := []string{"serve", "--data", w.data, "--database", w.database, "--cluster", "127.0.0.1:0", "--listen", p.Addr}
	output, err := exec.CommandContext(w.t.Context(), testkit.Binary(w.t), args...).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "9001_newer.sql") || !strings.Contains(string(output), "belongs to a newer version") {
		w.t.Errorf("the old version starts on the newer database: %v:\n%s", err, output)
	}
}

// While a newer version leads, a process of the old one passes on to it, and leads no
// more when it is gone. What is in the database stays as it is.
func TestAnOldVersionPassesOnToANewer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	db, before, led, other := w.takeOver()
	passed := make(chan string, 1)
	leader := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case passed <- r.URL.Path:
		default:
		}
		_, _ = rw.Write([]byte("{}"))
	}))
	defer leader.Close()
	before.Address = strings.TrimPrefix(leader.URL, "http://")
	if _, err := db.Announce(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	count := w.events(db)
	other.Thaw()
	w.passes(other, passed)
	w.until("says that it is too old", func() bool { return strings.Contains(other.Log(), "cannot lead any more; upgrade it") })
	w.refused(led)
	db.Close()
	w.refused(led)
	next := w.leads(w.newer()) // the old one has not taken the place
	if n := w.events(next); n != count || count == 0 {
		t.Errorf("of %d events there are %d", count, n)
	}
	if status, role := w.health(other); role == "leader" {
		t.Errorf("the old version leads: %d", status)
	}
}

// passes waits until a process has passed on a request.
func (w *world) passes(p *process, passed <-chan string) {
	w.t.Helper()
	w.until("passes on what it is asked", func() bool {
		_, _ = w.once(w.t.Context(), p, "", "GET", "/_matrix/client/versions", nil, new(map[string]any))
		select {
		case path := <-passed:
			return path == "/_matrix/client/versions"
		default:
			return false
		}
	})
}

func (w *world) until(what string, met func() bool) {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !met(); {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("the old version never %s", what)
		}
	}
}

// A newer version that dies before anybody has heard of it leaves a database that the old
// one does not touch, either: it says why, and ends if it would lead. It stands by if it has learnt that before the
// newer one's lock was free.
func TestAnOldVersionRefusesANewersDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	db, _, led, other := w.takeOver()
	count := w.events(db)
	db.Close()
	other.Thaw()
	w.until("says that it is too old", func() bool { return strings.Contains(other.Log(), "belongs to a newer version") })
	w.refused(led)
	next := w.leads(w.newer())
	if n := w.events(next); n != count || count == 0 {
		t.Errorf("of %d events there are %d", count, n)
	}
}
