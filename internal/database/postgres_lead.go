package database

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// leadTime is how long PostgreSQL waits for a word on the connection that
	// holds the lock of a cluster before it ends it, and leadBeat how often there
	// is one. PostgreSQL's clock alone decides: a process that stands still, or
	// that nobody reaches any more, loses the lock while it knows of nothing.
	leadTime = 5 * time.Second
	leadBeat = time.Second
)

// leadSettings are those of such a connection, and of all on which the schema of
// a cluster is changed.
const leadSettings = `
	SET idle_session_timeout = '5s';
	SET idle_in_transaction_session_timeout = '5s';
	SET tcp_keepalives_idle = 2;
	SET tcp_keepalives_interval = 1;
	SET tcp_keepalives_count = 3;
	SET tcp_user_timeout = '5s'`

// ErrDeposed is the error of all writing once the lock is lost.
var ErrDeposed = errors.New("database: another server may lead by now")

// A lead is the time for which the writing connection holds the lock.
type lead struct {
	lost  func(error)
	once  sync.Once
	alive atomic.Pointer[time.Time] // when the connection was last known to live
}

func newLead(opts Options) *lead {
	l := &lead{lost: opts.lost()}
	l.saw(time.Now())
	return l
}

// saw notes that the server has answered something that was sent at a time.
func (l *lead) saw(sent time.Time) {
	if l != nil {
		l.alive.Store(&sent)
	}
}

// end notes that the connection is gone. Who has to stop is told once, and not
// waited for.
func (l *lead) end(err error) {
	if l != nil {
		l.once.Do(func() { go l.lost(err) })
	}
}

// connectLeader connects so that both ends notice soon when the other is gone.
func (db *postgresDB) connectLeader(ctx context.Context) (*pgx.Conn, error) {
	config := db.config.Copy()
	dialer := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3},
		Control:         giveUpAfter(leadTime),
	}
	config.DialFunc = dialer.DialContext
	return connect(ctx, config, planning+leadSettings)
}

// beat says something on the writing connection.
func (db *postgresDB) beat() {
	if db.writer.conn.IsClosed() {
		db.leads.end(ErrDeposed)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leadTime)
	defer cancel()
	sent := time.Now()
	if err := db.writer.conn.Ping(ctx); err != nil {
		disconnect(db.writer.conn)
		db.leads.end(err)
		return
	}
	db.leads.saw(sent)
}

// Leads reports whether nobody else can be the server of this database: its
// connection has been heard of so recently that PostgreSQL cannot have given the
// lock to another for silence. It is true for a database that is not shared.
func (db *DB) Leads() bool {
	shared, ok := db.backend.(*postgresDB)
	if !ok || shared.leads == nil {
		return true
	}
	alive := *shared.leads.alive.Load()
	// Of a machine that slept, only one of the clocks may know.
	return time.Since(alive) < leadTime && time.Since(alive.Round(0)) < leadTime
}
