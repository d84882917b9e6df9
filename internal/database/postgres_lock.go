package database

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5"
)

// lockPing is how often an idle lock's connection is tried.
const lockPing = 15 * time.Second

// lockPatience is how long the lock of a server that has just stopped may stay.
const lockPatience = 2 * time.Second

// postgresLock is a session's advisory lock and the goroutine that watches the
// session.
type postgresLock struct {
	conn   *pgx.Conn
	cancel context.CancelFunc
	done   chan struct{}
}

// lockKey distinguishes databases, which PostgreSQL does by itself, schemas in
// one database, and what the lock is for.
func lockKey(schema, purpose string) int64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "trestle\x00%s\x00%s", schema, purpose)
	return int64(h.Sum64())
}

// currentSchema is where new tables go.
func currentSchema(ctx context.Context, conn *pgx.Conn) (string, error) {
	var schema *string
	if err := conn.QueryRow(ctx, "SELECT current_schema()").Scan(&schema); err != nil {
		return "", err
	}
	if schema == nil {
		return "", errors.New("the search path names no schema that exists")
	}
	return *schema, nil
}

func (db *postgresDB) lockServer(ctx context.Context, lost func(error)) error {
	if db.lock != nil {
		return nil
	}
	conn, err := db.connect(ctx)
	if err != nil {
		return err
	}
	var locked bool
	schema, err := currentSchema(ctx, conn)
	// PostgreSQL takes a moment to notice that a server has gone.
	for deadline := time.Now().Add(lockPatience); err == nil && !locked; {
		err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", lockKey(schema, "serve")).Scan(&locked)
		if time.Now().After(deadline) {
			break
		}
		if err == nil && !locked {
			time.Sleep(lockPatience / 40)
		}
	}
	if err == nil && !locked {
		err = fmt.Errorf("database %s, schema %s: %w", conn.Config().Database, schema, ErrLocked)
	}
	if err != nil {
		_ = conn.Close(ctx)
		return err
	}
	watch, cancel := context.WithCancel(context.Background())
	db.lock = &postgresLock{conn: conn, cancel: cancel, done: make(chan struct{})}
	go db.lock.watch(watch, lost)
	return nil
}

// watch waits for the connection to end. A closed one is noticed at once, a
// silent one by a ping without an answer.
func (l *postgresLock) watch(ctx context.Context, lost func(error)) {
	defer close(l.done)
	for {
		idle, cancel := context.WithTimeout(ctx, lockPing)
		_, err := l.conn.WaitForNotification(idle)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil || !l.conn.IsClosed() {
			ping, cancel := context.WithTimeout(ctx, lockPing)
			err = l.conn.Ping(ping)
			cancel()
		}
		if err != nil && ctx.Err() == nil {
			lost(err)
			return
		}
	}
}

// release gives the lock back and waits for the watcher.
func (l *postgresLock) release() {
	l.cancel()
	<-l.done
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = l.conn.Close(ctx)
}
