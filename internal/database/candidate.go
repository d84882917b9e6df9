package database

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// candidatePause lies between two looks for the lock, candidateRest between
	// two at a database that does not answer.
	candidatePause = 200 * time.Millisecond
	candidateRest  = time.Second
	// candidateTime bounds one look.
	candidateTime = 5 * time.Second
	// oldestCluster is the first version with idle_session_timeout.
	oldestCluster = 140000
)

// A Leader is what the one server of a database tells those who stand by.
type Leader struct {
	Epoch    int64  // counts leaders; 0: there has been none
	Address  string // where the others reach it; empty: it is about to stop
	Secret   string // shows that a request comes from one of them
	Identity string // what must be the same for all
}

// The leader's row is written on the connection that holds the lock, and read by
// who waits for it.
var announceLeader = SQL(`
	INSERT INTO leader (id, epoch, address, secret, identity)
	VALUES (1, 1, $1, $2, $3)
	ON CONFLICT (id) DO UPDATE
	SET epoch = leader.epoch + 1, address = excluded.address, secret = excluded.secret, identity = excluded.identity
	RETURNING epoch`)

// lookForLock tries the lock, if $2, and reads who has it otherwise. It does not
// wait: a statement that waits for days keeps dead rows from being cleaned up.
const lookForLock = `
	SELECT CASE WHEN $2 THEN pg_try_advisory_lock($1) ELSE FALSE END,
		COALESCE(l.epoch, 0), COALESCE(l.address, ''), COALESCE(l.secret, ''), COALESCE(l.identity, '')
	FROM (SELECT 1) one
	LEFT JOIN leader l ON l.id = 1`

// A Candidate waits until it may be the one server of a PostgreSQL database that
// several processes share. It changes nothing there before. It is for one
// goroutine.
type Candidate struct {
	db         *postgresDB
	migrations []migration
	options    Options
	conn       *pgx.Conn // that looks for the lock; nil: to be connected
	key        int64
	leader     Leader // as seen last
	known      bool
	outdated   bool // the schema is too new to lead
	silent     bool // the database does not answer
	opened     bool
}

// Stand prepares to wait. It refuses what cannot lead: another engine than
// PostgreSQL, a version before 14, a schema that is newer than the migrations.
// Close the Candidate.
func Stand(ctx context.Context, url string, migrations fs.FS, opts Options) (*Candidate, error) {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if !isPostgres(url) {
		return nil, errors.New("only PostgreSQL can be shared by several servers")
	}
	files, err := readMigrations(migrations)
	if err != nil {
		return nil, err
	}
	backend, err := openPostgres(ctx, url, opts)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	c := &Candidate{db: backend, migrations: files, options: opts}
	if err := c.examine(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Candidate) examine(ctx context.Context) error {
	var version int
	if err := c.db.pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if version < oldestCluster {
		return fmt.Errorf("PostgreSQL %d is too old for several servers: 14 is the oldest that works", version/10000)
	}
	if err := prepareSchema(ctx, c.db, PostgreSQL, c.migrations); err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	return nil
}

// Wait returns nil once the lock is this candidate's. Meanwhile seen is told of
// each leader, beginning with the one that is there; its error ends the wait. A
// database that does not answer is asked again, for as long as it takes.
func (c *Candidate) Wait(ctx context.Context, seen func(Leader) error) error {
	for {
		locked, leader, err := c.look(ctx)
		wait := candidatePause
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.disconnect()
			if !c.silent {
				c.options.Log.WarnContext(ctx, "the database does not answer; waiting for it", "err", err)
			}
			c.silent, wait = true, candidateRest
		case locked:
			return nil
		default:
			if c.silent = false; c.known && leader == c.leader {
				break
			}
			c.leader, c.known = leader, true
			if err := seen(leader); err != nil {
				return err
			}
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

func (c *Candidate) look(ctx context.Context) (locked bool, leader Leader, err error) {
	ctx, cancel := context.WithTimeout(ctx, candidateTime)
	defer cancel()
	if c.conn == nil {
		if err := c.connect(ctx); err != nil {
			return false, leader, err
		}
	}
	err = c.conn.QueryRow(ctx, lookForLock, c.key, !c.outdated).
		Scan(&locked, &leader.Epoch, &leader.Address, &leader.Secret, &leader.Identity)
	if err == nil && !locked && !c.outdated && c.known && leader.Epoch != c.leader.Epoch {
		err = c.examineAgain(ctx)
	}
	return locked, leader, err
}

func (c *Candidate) connect(ctx context.Context) error {
	conn, err := c.db.connectLeader(ctx)
	if err != nil {
		return err
	}
	schema, err := currentSchema(ctx, conn)
	if err != nil {
		disconnect(conn)
		return err
	}
	c.conn, c.key = conn, lockKey(schema, "serve")
	return nil
}

func (c *Candidate) disconnect() {
	if c.conn != nil {
		disconnect(c.conn)
		c.conn = nil
	}
}

// examineAgain sees whether a new leader has brought a new schema. Who is too old
// for that leads no more, and can still forward.
func (c *Candidate) examineAgain(ctx context.Context) error {
	err := c.examine(ctx)
	if _, mismatch := errors.AsType[schemaError](err); !mismatch {
		return err
	}
	c.outdated = true
	c.options.Log.ErrorContext(ctx, "this server cannot lead any more; upgrade it", "err", err)
	return nil
}

// Open begins to lead, after Wait: it applies the migrations and returns the
// database, which takes the place of the Candidate. The lock is held by the
// connection that writes, so that nobody who has lost it can commit anything.
func (c *Candidate) Open(ctx context.Context) (*DB, error) {
	if c.conn == nil {
		return nil, errors.New("the candidate has not got the lock")
	}
	c.db.leads = newLead(c.options)
	c.db.writer = &postgresWriter{db: c.db, conn: c.conn}
	c.opened = true
	db := &DB{engine: PostgreSQL, backend: c.db, options: c.options}
	// From here on the connection is used all the time, or it would be ended.
	db.commits = newCommitter(db, c.db.beat)
	if err := db.applyMigrations(ctx, c.migrations); err != nil {
		db.Close()
		return nil, fmt.Errorf("migrate database: %w", err)
	}
	return db, nil
}

// Close ends the wait. What Open has returned is closed by itself.
func (c *Candidate) Close() {
	if c.opened {
		return
	}
	c.opened = true
	c.disconnect()
	c.db.close()
}

// Announce tells those who stand by of a leader, this one, and returns its
// epoch. Without an address it says that it is about to stop.
func (db *DB) Announce(ctx context.Context, leader Leader) (epoch int64, err error) {
	err = db.Update(ctx, func(tx *Tx) error {
		return tx.QueryRow(ctx, announceLeader, leader.Address, leader.Secret, leader.Identity).Scan(&epoch)
	})
	return epoch, err
}
