package database_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

// Broken connections are replaced, and a group whose transaction broke runs
// again.
func TestBrokenConnections(t *testing.T) {
	url := testkit.Postgres(t) + "&application_name=" + t.Name()
	db := open(t, url, database.Options{})
	ctx := t.Context()
	ids := db.NewIDs("thing")
	if _, err := ids.Next(ctx); err != nil {
		t.Fatal(err)
	}
	addNote(t, db, 1, "one")
	terminate(t, url, "TRUE")
	addNote(t, db, 2, "two")
	if n := noteCount(t, db); n != 2 {
		t.Errorf("%d notes", n)
	}

	runs := 0
	var position int64
	err := db.Update(ctx, func(tx *database.Tx) error {
		runs++
		if err := insert(ctx, 3, "three", &position)(tx); err != nil {
			return err
		}
		if runs == 1 {
			terminate(t, url, "state LIKE 'idle in transaction%'")
		}
		return nil
	})
	if err != nil || runs != 2 || position != 1 {
		t.Errorf("after %d runs the position is %d, %v", runs, position, err)
	}

	terminate(t, url, "TRUE")
	for range 1000 { // until a block has to be reserved
		if _, err := ids.Next(ctx); err != nil {
			t.Fatal(err)
		}
	}
	err = db.View(ctx, func(q database.Querier) error {
		var n int64
		return q.QueryRow(ctx, countNotes).Scan(&n)
	})
	if err != nil {
		t.Error(err)
	}
}

// Another process changes a column while the statements that read it are
// prepared.
func TestSchemaChangesMeanwhile(t *testing.T) {
	url := testkit.Postgres(t)
	db := open(t, url, database.Options{})
	ctx := t.Context()
	addNote(t, db, 1, "one")
	check := func() {
		t.Helper()
		var id int64
		var name string
		if err := db.Read().QueryRow(ctx, selectAll).Scan(&id, &name, new(*int64)); err != nil {
			t.Error(err)
		}
		err := db.Update(ctx, func(tx *database.Tx) error {
			return tx.QueryRow(ctx, selectAll).Scan(&id, &name, new(*int64))
		})
		if err != nil {
			t.Error(err)
		}
	}
	check()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "ALTER TABLE notes ALTER COLUMN position TYPE INTEGER"); err != nil {
		t.Fatal(err)
	}
	check()
}

// The connection breaks while COMMIT is under way: what happened is found out.
func TestCommitInDoubt(t *testing.T) {
	for _, arrives := range []bool{true, false} {
		t.Run(fmt.Sprintf("arrives=%v", arrives), func(t *testing.T) {
			server, err := url.Parse(testkit.Postgres(t))
			if err != nil {
				t.Fatal(err)
			}
			relay := newRelay(t, server.Host)
			server.Host = relay.Addr().String()
			query := server.Query()
			query.Set("sslmode", "disable")
			server.RawQuery = query.Encode()
			db := open(t, server.String(), database.Options{})
			ctx, runs, told := t.Context(), 0, 0
			var position int64
			// Once without trouble, so that the statements are prepared.
			if err := db.Update(ctx, insert(ctx, 1, "one", nil)); err != nil {
				t.Fatal(err)
			}
			err = db.Update(ctx, func(tx *database.Tx) error {
				runs++
				tx.OnCommit(func() { told++ })
				if err := insert(ctx, 2, "two", &position)(tx); err != nil {
					return err
				}
				if runs == 1 {
					relay.cut(arrives)
				}
				return nil
			})
			want := 1
			if !arrives {
				want = 2
			}
			if err != nil || runs != want || told != 1 || noteCount(t, db) != 2 || position != 2 {
				t.Errorf("%d runs, told %d times, position %d, %d notes, %v", runs, told, position, noteCount(t, db), err)
			}
		})
	}
}

// relay stands between client and server and can cut their connections.
type relay struct {
	net.Listener
	server string
	wg     sync.WaitGroup
	mode   atomic.Int32
}

const (
	relayOpen    = iota
	relayForward // the next request goes through, its answer does not
	relayDrop    // the next request does not arrive
)

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: listener, server: server}
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		listener.Close()
		r.wg.Wait()
	})
	return r
}

// cut breaks the next connection that is written to.
func (r *relay) cut(arrives bool) {
	if arrives {
		r.mode.Store(relayForward)
	} else {
		r.mode.Store(relayDrop)
	}
}

func (r *relay) accept() {
	for {
		client, err := r.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", r.server)
		if err != nil {
			client.Close()
			continue
		}
		var doomed atomic.Bool
		r.wg.Go(func() {
			r.pump(server, client, func() bool {
				if r.mode.CompareAndSwap(relayForward, relayOpen) {
					doomed.Store(true)
				}
				return r.mode.CompareAndSwap(relayDrop, relayOpen)
			})
		})
		r.wg.Go(func() { r.pump(client, server, doomed.Load) })
	}
}

// pump copies until an end closes, or stop says so about the bytes at hand.
func (r *relay) pump(to, from net.Conn, stop func() bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || stop() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
