package homeserver

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trestle/homeserver/cluster"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/internal/listeners"
	"trestle/migrations"
)

// The roles of a process, as /health shows them.
const (
	standsBy = "standby"
	leads    = "leader"
)

// A member is one of several processes that share a database. It passes on what
// it is asked until it leads, and then is a server like any other; when it does
// not lead any more, it ends.
type member struct {
	*Server   // without a database until it leads
	hooks     Hooks
	identity  string
	candidate *database.Candidate
	forward   *cluster.Forwarder
	gate      cluster.Gate
	leading   prometheus.Gauge

	clients, others *listeners.Group
	serving         atomic.Pointer[map[cluster.Entrance]http.Handler] // nil: stands by
	deposed         atomic.Bool
	left            sync.Once
	begun           bool // the Server has a database; read when all tasks have ended
}

// runMember serves, one way or the other, until ctx ends.
func runMember(ctx context.Context, cfg *config.Config, log *slog.Logger, hooks Hooks) error {
	s, err := newServer(cfg, log)
	if err != nil {
		return err
	}
	m := &member{Server: s, hooks: hooks, leading: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "trestle_cluster_leading", Help: "1 if this process leads, 0 if it stands by.",
	})}
	s.metrics.MustRegister(m.leading)
	m.identity = memberIdentity(s)
	m.forward = cluster.NewForwarder(cluster.Options{Log: log, Metrics: s.metrics})
	defer m.forward.Close()
	options := s.databaseOptions()
	options.OnLockLost = m.lose
	if m.candidate, err = database.Stand(ctx, cfg.Database.Reveal(), migrations.Homeserver, options); err != nil {
		return err
	}
	defer m.candidate.Close()
	signal.Ignore(syscall.SIGHUP) // there are no registrations to read again until it leads
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tasks, err := m.open()
	if err != nil {
		return err
	}
	defer m.clients.Close()
	defer m.others.Close()
	s.health.Add("leader", m.forward.Check)
	s.health.SetRole(standsBy)
	s.health.SetReady(true)
	err = runAll(ctx, cancel, append(tasks, m.campaign))
	if m.begun {
		s.Close() // and with it, the lock is free
	}
	return err
}

// memberIdentity is what must be the same for all: two servers of different names, or
// that sign with different keys, would be taken for one.
func memberIdentity(s *Server) string {
	public, _ := s.key.Private.Public().(ed25519.PublicKey)
	return fmt.Sprintf("%s %s %s", s.cfg.ServerName, s.key.ID, base64.RawStdEncoding.EncodeToString(public))
}

// open opens all listeners, for as long as the process runs.
func (m *member) open() (tasks []func(context.Context) error, err error) {
	secure, err := m.tls()
	if err != nil {
		return nil, err
	}
	if m.clients, err = listeners.Open(m.cfg.Listen, secure); err != nil {
		return nil, err
	}
	if m.others, err = listeners.Open([]string{m.cfg.Cluster}, nil); err != nil {
		m.clients.Close()
		return nil, err
	}
	tasks, err = m.federation(secure, m.handler(cluster.Federation))
	metrics, metricsErr := m.serveMetrics(secure)
	if err = errors.Join(err, metricsErr); err != nil {
		m.clients.Close()
		m.others.Close()
		return nil, err
	}
	tasks = append(tasks, metrics...)
	grace := m.cfg.ShutdownTimeout.Std()
	tasks = append(tasks, func(ctx context.Context) error {
		return m.clients.Serve(ctx, m.pages(m.handler(cluster.Clients)), listeners.Options{Logger: m.log, Drain: m.drain, Grace: grace})
	}, func(ctx context.Context) error {
		ctx, cancel := m.farewell(ctx)
		defer cancel()
		return m.others.Serve(ctx, &m.gate, listeners.Options{Logger: m.log, Drain: m.drain, Grace: grace})
	})
	return tasks, nil
}

// handler serves what comes in at a listener, here or by the leader.
func (m *member) handler(entrance cluster.Entrance) http.Handler {
	through := m.forward.Through(entrance)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch own := m.serving.Load(); {
		case m.deposed.Load():
			cluster.Unavailable(w)
		case own != nil && !m.sure(r.Context()):
			cluster.Unavailable(w)
		case own != nil:
			(*own)[entrance].ServeHTTP(w, r)
		default:
			through.ServeHTTP(w, r)
		}
	})
}

// sure waits until it is known whether this process leads. One that stood still has its memory of before, while another one has
// written since: it would answer a client with the past.
func (m *member) sure(ctx context.Context) bool {
	if m.db.Leads() {
		return !m.deposed.Load()
	}
	ctx, cancel := context.WithTimeout(ctx, unsure)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !m.deposed.Load() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
		if m.db.Leads() {
			return !m.deposed.Load()
		}
	}
	return false
}

// unsure is how long a request waits for that. PostgreSQL is asked each second.
const unsure = 10 * time.Second

// drain begins the end. What the others pass on is refused from now on, and
// waits there for the next leader.
func (m *member) drain() {
	m.left.Do(func() {
		m.health.SetReady(false)
		m.forward.Drain()
		if m.serving.Load() != nil {
			m.gate.Close()
			m.resign()
			m.Server.drain()
		}
	})
}

// lastWords is how long a leader that ends keeps its connections with the others:
// longer than they take to hear of it.
const lastWords = 400 * time.Millisecond

// farewell is a context that ends a little later, so that no connection is closed
// on which a request is on its way.
func (m *member) farewell(ctx context.Context) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		m.drain()
		if m.serving.Load() != nil && !m.deposed.Load() {
			time.AfterFunc(lastWords, cancel)
			return
		}
		cancel()
	})
	return later, cancel
}

// campaign waits until this process leads, and leads until ctx ends.
func (m *member) campaign(ctx context.Context) error {
	if err := m.candidate.Wait(ctx, m.follow); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	m.log.InfoContext(ctx, "this process leads now")
	if err := m.lead(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	return runAll(ctx, cancel, m.background())
}

// follow forwards to another leader, if that is one of the same server.
func (m *member) follow(leader database.Leader) error {
	if leader.Address != "" && leader.Identity != m.identity {
		return errors.New("the leader of this database has another server_name or another signing key; copy both from the process at " + leader.Address)
	}
	m.log.Info("standing by", "leader", leader.Address)
	m.forward.Follow(known(leader))
	return nil
}

func known(leader database.Leader) cluster.Leader {
	return cluster.Leader{Epoch: leader.Epoch, Address: leader.Address, Secret: leader.Secret}
}

// lead starts the server as if it were alone, and then lets the others in.
func (m *member) lead(ctx context.Context) error {
	started := time.Now()
	if err := m.hooks.Begin(); err != nil {
		return err
	}
	db, err := m.candidate.Open(ctx)
	if err != nil {
		return err
	}
	if err := m.beginRehearsed(ctx, db); err != nil {
		return err
	}
	m.begun = true
	handlers := map[cluster.Entrance]http.Handler{cluster.Clients: m.clientHandler(), cluster.Federation: m.FederationHandler()}
	leader := database.Leader{Address: m.address(), Secret: rand.Text(), Identity: m.identity}
	m.gate.Leads = m.sure
	m.gate.Open(leader.Secret, handlers)
	if leader.Epoch, err = db.Announce(ctx, leader); err != nil {
		return err
	}
	m.serving.Store(&handlers)
	m.forward.Follow(known(leader)) // requests that wait come in like those of others
	m.leading.Set(1)
	m.health.SetRole(leads)
	m.log.InfoContext(ctx, "serving", "addresses", m.clients.Addresses(), "took", time.Since(started))
	m.hooks.Ready(m.running(m.clients.Addresses()))
	return nil
}

// address is where the others reach this process: the host of the configuration,
// and the port that was opened.
func (m *member) address() string {
	host, _, _ := net.SplitHostPort(m.cfg.Cluster)
	_, port, _ := net.SplitHostPort(m.others.Addresses()[0])
	return net.JoinHostPort(host, port)
}

// resign has requests wait for the next leader instead of coming here.
func (m *member) resign() {
	if m.deposed.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := m.db.Announce(ctx, database.Leader{Identity: m.identity}); err != nil {
		m.log.WarnContext(ctx, "the others have not been told of the end", "err", err)
	}
}

// lose ends the time of a leader that has lost the lock: nothing can be written
// any more, and nothing more is read.
func (m *member) lose(err error) {
	m.deposed.Store(true)
	m.gate.Close()
	m.health.SetReady(false)
	m.leading.Set(0)
	m.lost <- err
}
