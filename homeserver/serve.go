package homeserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trestle/homeserver/storage"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/internal/listeners"
	"trestle/internal/telemetry"
)

// Running is a server that answers.
type Running struct {
	Addresses []string // of the client API, one for each in the configuration
	Metrics   prometheus.Registerer
	// Mount has a handler answer below a path of the client API's listeners, which
	// begins and ends with a slash, from now on; nil ends that.
	Mount func(path string, handler http.Handler)
	// Registrations reads the registrations of application services again.
	Registrations func(context.Context) error
	// Nobody says whether no person has an account yet.
	Nobody func(context.Context) (bool, error)
}

// Hooks are called once each, when a process begins to serve.
type Hooks struct {
	// Begin may be nil. It comes before registrations are read.
	Begin func() error
	// Ready comes when requests are answered.
	Ready func(Running)
}

// Run serves until ctx ends, then stops gracefully. One process of several that
// share a database waits until it is its turn, and forwards meanwhile.
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger, hooks Hooks) error {
	if hooks.Begin == nil {
		hooks.Begin = func() error { return nil }
	}
	if cfg.Cluster != "" {
		return runMember(ctx, cfg, log, hooks)
	}
	if err := hooks.Begin(); err != nil {
		return err
	}
	s, err := newServer(cfg, log)
	if err != nil {
		return err
	}
	db, err := s.openAlone(ctx)
	if err != nil {
		return err
	}
	if err := s.beginRehearsed(ctx, db); err != nil {
		return err
	}
	defer s.Close()
	return s.serve(ctx, hooks.Ready)
}

func (s *Server) serve(ctx context.Context, ready func(Running)) error {
	secure, err := s.tls()
	if err != nil {
		return err
	}
	clients, err := listeners.Open(s.cfg.Listen, secure)
	if err != nil {
		return err
	}
	defer clients.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var tasks []func(context.Context) error
	tasks = append(tasks, func(ctx context.Context) error {
		return clients.Serve(ctx, s.Handler(), listeners.Options{Logger: s.log, Drain: s.drain, Grace: s.cfg.ShutdownTimeout.Std()})
	})
	federation, err := s.federation(secure, s.FederationHandler())
	if err != nil {
		return err
	}
	tasks = append(tasks, federation...)
	metrics, err := s.serveMetrics(secure)
	if err != nil {
		return err
	}
	tasks = append(tasks, metrics...)
	tasks = append(tasks, s.background()...)
	s.health.SetReady(true)
	s.log.InfoContext(ctx, "serving", "addresses", clients.Addresses())
	ready(s.running(clients.Addresses()))
	return runAll(ctx, cancel, tasks)
}

// running is what others may ask of a server that answers.
func (s *Server) running(addresses []string) Running {
	return Running{
		Addresses: addresses, Metrics: s.metrics, Mount: s.mounts.set,
		Registrations: s.ReloadRegistrations, Nobody: storage.NewAccounts(s.db).Nobody,
	}
}

// background is what a server does besides answering, until the database is
// another's.
func (s *Server) background() []func(context.Context) error {
	return []func(context.Context) error{s.jobs, s.hangups(), s.ephemeral.Run, s.search.Run, func(ctx context.Context) error {
		select {
		case err := <-s.lost:
			return fmt.Errorf("the lock on the database is lost: %w", err)
		case <-ctx.Done():
			return nil
		}
	}}
}

// rehearsing bounds how long a start waits for the rehearsal.
const rehearsing = 2 * time.Second

// beginRehearsed begins, and makes the first answers quick meanwhile: a start
// computes, and a database beside it has nothing to do.
func (s *Server) beginRehearsed(ctx context.Context, db *database.DB) error {
	begun, rehearsed := make(chan struct{}), make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, rehearsing)
		defer cancel()
		rehearsed <- storage.Rehearse(ctx, db, begun)
	}()
	err := s.begin(ctx, db)
	close(begun)
	failed := <-rehearsed
	if err != nil {
		s.Close() // which waits for whoever uses the database
		return err
	}
	if failed != nil {
		s.log.WarnContext(ctx, "first answers will be slow", "err", failed)
	}
	return nil
}

// runAll runs tasks until one fails or the context ends, and waits for all.
func runAll(ctx context.Context, cancel context.CancelCauseFunc, tasks []func(context.Context) error) error {
	ended := make(chan error, len(tasks))
	for _, task := range tasks {
		go func() { ended <- task(ctx) }()
	}
	var all error
	for range tasks {
		err := <-ended
		if err != nil && !errors.Is(err, context.Canceled) {
			all = errors.Join(all, err)
			cancel(err)
		}
	}
	return all
}

func (s *Server) drain() {
	s.health.SetReady(false)
	s.api.Drain()
	s.federationAPI.Drain()
}

// serveMetrics opens the metrics' own listener, if they have one.
func (s *Server) serveMetrics(secure *tls.Config) ([]func(context.Context) error, error) {
	if !s.cfg.Metrics.Enabled || s.cfg.Metrics.Listen == "" {
		return nil, nil
	}
	group, err := listeners.Open([]string{s.cfg.Metrics.Listen}, secure)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+s.cfg.Metrics.Path, telemetry.MetricsHandler(s.metrics))
	mux.Handle("GET /health", s.health)
	return []func(context.Context) error{func(ctx context.Context) error {
		return group.Serve(ctx, mux, listeners.Options{Logger: s.log, Grace: time.Second})
	}}, nil
}

// tls is the configured certificate, or nil.
func (s *Server) tls() (*tls.Config, error) {
	if s.cfg.TLSCert == "" {
		return nil, nil
	}
	return listeners.TLS(s.cfg.TLSCert, s.cfg.TLSKey, time.Now)
}

// secured makes TCP addresses use the certificate, if there is one.
func secured(addresses []string, secure *tls.Config) []string {
	if secure == nil {
		return addresses
	}
	list := slices.Clone(addresses)
	for i, address := range list {
		if !strings.HasPrefix(address, "unix:") && !strings.HasPrefix(address, "tls:") {
			list[i] = "tls:" + address
		}
	}
	return list
}

// federation opens the federation listeners.
func (s *Server) federation(secure *tls.Config, handler http.Handler) ([]func(context.Context) error, error) {
	if len(s.cfg.FederationListen) == 0 {
		return nil, nil
	}
	group, err := listeners.Open(secured(s.cfg.FederationListen, secure), secure)
	if err != nil {
		return nil, err
	}
	return []func(context.Context) error{func(ctx context.Context) error {
		return group.Serve(ctx, handler, listeners.Options{Logger: s.log, Grace: time.Second})
	}}, nil
}
