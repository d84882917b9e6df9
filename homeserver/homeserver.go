// Package homeserver puts the homeserver together: every service is made and
// connected here, and nowhere else.
package homeserver

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trestle/appservice/sender"
	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/clientapi"
	"trestle/homeserver/encryption"
	"trestle/homeserver/ephemeral"
	"trestle/homeserver/media"
	"trestle/homeserver/notifier"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/internal/listeners"
	"trestle/internal/matrix"
	"trestle/internal/telemetry"
	"trestle/migrations"
	"trestle/registration"
)

// A Server is a homeserver that is put together, and not yet listening.
type Server struct {
	cfg      *config.Config
	log      *slog.Logger
	db       *database.DB
	store    *storage.Store
	registry *registration.Registry
	watch    *watch
	notifier *notifier.Notifier
	accounts *accounts.Service
	rooms    *rooms.Service
	sync     *syncer.Service
	sender   *sender.Service

	encryption *encryption.Service
	ephemeral  *ephemeral.Service
	media      *media.Service
	api        *api.Server
	metrics    *prometheus.Registry
	health     telemetry.Health
	lost       chan error // the database belongs to another server now
}

// Open opens the database and connects the services. Close the Server.
func Open(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, log: log, metrics: telemetry.NewRegistry(), lost: make(chan error, 1)}
	key, _, err := config.SigningKey(cfg.SigningKey)
	if err != nil {
		return nil, err
	}
	if err := s.openStorage(ctx); err != nil {
		return nil, err
	}
	if err := s.connect(ctx, key); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) openStorage(ctx context.Context) error {
	groups := newGroupMetrics(s.metrics)
	db, err := database.Open(ctx, s.cfg.Database.Reveal(), migrations.Homeserver, database.Options{
		Log: s.log, OnGroup: groups.observe, OnLockLost: func(err error) { s.lost <- err },
	})
	if err != nil {
		return err
	}
	s.db, s.store = db, storage.New(db)
	if err := db.LockServer(ctx); err != nil {
		db.Close()
		return fmt.Errorf("one server at a time may use a database: %w", err)
	}
	s.health.Add("database", s.store.Ping)
	return nil
}

// connect makes the services, from the lowest up.
func (s *Server) connect(ctx context.Context, key matrix.SigningKey) error {
	set, err := loadRegistrations(s.cfg)
	if err != nil {
		return err
	}
	s.registry = registration.NewRegistry(set)
	s.watch = newWatch(s.cfg.AppServices)
	position, err := s.store.Position(ctx)
	if err != nil {
		return err
	}
	s.notifier = notifier.New(s.store.Members, position)
	limiter := s.limiter()
	s.accounts = accounts.New(s.accountOptions(key, limiter))
	stream := &eventStream{store: s.store, notifier: s.notifier, server: s.cfg.ServerName}
	s.sender = sender.New(sender.Options{
		Registry: s.registry, Store: storage.NewAppServices(s.db), Stream: stream, Rooms: stream, Logger: s.log,
	})
	s.metrics.MustRegister(s.sender.Collector())
	services := directory{s.registry, s.sender, s.store, s.accounts}
	listeners := &roomListeners{s.notifier, streamWaker{s.sender}}
	s.rooms = rooms.New(rooms.Options{
		Store: s.store, ServerName: s.cfg.ServerName, Key: key, DefaultVersion: s.cfg.Rooms.DefaultVersion,
		Listener: listeners, Profiles: s.accounts, Directory: services,
	})
	stream.rooms = s.rooms
	keys := storage.NewEncryption(s.db)
	s.encryption = encryption.New(encryption.Options{ServerName: s.cfg.ServerName, Store: s.store, Keys: keys, Notifier: s.notifier})
	s.ephemeral = ephemeral.New(ephemeral.Options{
		Store: s.store, Receipts: storage.NewReceipts(s.db), DeviceLists: keys.DeviceLists,
		Rooms: s.rooms, AccountData: s.accounts, Notifier: s.notifier, Log: s.log,
	})
	*listeners = append(*listeners, s.ephemeral)
	s.sync = syncer.New(syncer.Options{
		Rooms: s.rooms, Store: s.store, Notifier: s.notifier, AccountData: s.accounts,
		Ephemeral: s.ephemeral, Keys: s.encryption,
	})
	follow := follower{s.accounts, s.rooms, s.store}
	s.accounts.Observe(accounts.Observers{
		Users: userSource{services}, Devices: []accounts.DeviceObserver{s.encryption},
		Profiles: []accounts.ProfileObserver{follow}, Deactivations: []accounts.DeactivationObserver{follow, s.encryption},
	})
	if s.media, err = s.newMedia(); err != nil {
		return err
	}
	s.route(limiter)
	return s.sender.Start(ctx)
}

func (s *Server) accountOptions(key matrix.SigningKey, limiter *api.RateLimiter) accounts.Options {
	secret := sha256.Sum256(append([]byte("account tokens\x00"), key.Private.Seed()...))
	o := accounts.Options{
		ServerName: s.cfg.ServerName, DB: s.db, Store: storage.NewAccounts(s.db), AppServices: s.registry,
		Notifier: accountWaker{s.notifier}, Secret: secret[:], Log: s.log,
		OpenRegistration: s.cfg.OpenRegistration, Guests: s.cfg.Registration.Guests,
		SharedSecret: s.cfg.RegistrationSharedSecret.Reveal(),
		Passwords: accounts.PasswordOptions{
			Bcrypt: s.cfg.Passwords.Hash == "bcrypt", BcryptCost: s.cfg.Passwords.BcryptCost,
			Memory: uint32(s.cfg.Passwords.Memory >> 10), Iterations: uint32(s.cfg.Passwords.Iterations),
			AtOnce: s.cfg.Passwords.AtOnce, MinLength: s.cfg.Passwords.MinLength,
		},
	}
	for _, token := range s.cfg.Registration.Tokens {
		o.RegistrationTokens = append(o.RegistrationTokens, token.Reveal())
	}
	if limiter != nil {
		o.Limiter = limiter
	}
	return o
}

func (s *Server) limiter() *api.RateLimiter {
	if s.cfg.NoRateLimits {
		return nil
	}
	rates := map[string]api.Rate{}
	for name, limit := range s.cfg.RateLimits {
		rates[name] = api.Rate{PerSecond: limit.PerSecond, Burst: limit.Burst}
	}
	return api.NewRateLimiter(rates, time.Now)
}

func (s *Server) route(limiter *api.RateLimiter) {
	options := api.Options{
		Authenticator: clientapi.Authenticator(s.accounts), Logger: s.log,
		Metrics: telemetry.NewRequests(s.metrics), TrustedProxies: s.cfg.Proxies(), BodyLimit: int64(s.cfg.MaxBody),
	}
	if limiter != nil {
		options.Limiter = limiter
	}
	s.api = api.NewServer(options)
	s.api.Handle(clientapi.Routes(clientapi.Services{
		ServerName: s.cfg.ServerName, Accounts: s.accounts, Rooms: s.rooms, Keys: s.encryption, Ephemeral: s.ephemeral, Sync: s.sync,
		Media: s.media, Users: s.store.Directory, Services: s.sender,
		Account: clientapi.AccountConfig{BaseURL: s.cfg.BaseURL(), RoomVersion: s.cfg.Rooms.DefaultVersion},
		Forgot:  s.forgot,
	}))
}

// forgot takes a room that a user has forgotten out of what /sync knows.
func (s *Server) forgot(ctx context.Context, user matrix.UserID, room matrix.RoomID) {
	if info, err := s.rooms.Info(ctx, room); err == nil {
		s.notifier.Forgot(user, info.NID)
	}
}

// Handler serves the client API, health and, for direct callers, metrics.
func (s *Server) Handler() http.Handler {
	client := s.api.Handler()
	own := map[string]http.Handler{"/health": &s.health}
	if s.cfg.Metrics.Enabled && s.cfg.Metrics.Listen == "" {
		own[s.cfg.Metrics.Path] = telemetry.DirectOnly(telemetry.MetricsHandler(s.metrics))
	}
	// A ServeMux would redirect what is not a clean path, and in Matrix paths
	// there are names that look like "a//b" or "..".
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := own[r.URL.Path]; h != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			h.ServeHTTP(w, r)
			return
		}
		client.ServeHTTP(w, r)
	})
}

// Close ends what Open began.
func (s *Server) Close() {
	if s.sender != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.sender.Close(ctx); err != nil {
			s.log.Error("close the sender to application services", "err", err)
		}
	}
	s.db.Close()
}

// Run serves until ctx ends, then stops gracefully. It calls ready once all
// listeners are open.
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger, ready func()) error {
	s, err := Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.serve(ctx, ready)
}

func (s *Server) serve(ctx context.Context, ready func()) error {
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
	federation, err := s.federation(secure)
	if err != nil {
		return err
	}
	tasks = append(tasks, federation...)
	if s.cfg.Metrics.Enabled && s.cfg.Metrics.Listen != "" {
		tasks = append(tasks, s.serveMetrics)
	}
	tasks = append(tasks, s.jobs, s.ephemeral.Run, func(ctx context.Context) error {
		select {
		case err := <-s.lost:
			return fmt.Errorf("the lock on the database is lost: %w", err)
		case <-ctx.Done():
			return nil
		}
	})
	s.health.SetReady(true)
	s.log.InfoContext(ctx, "serving", "addresses", clients.Addresses())
	ready()
	return runAll(ctx, cancel, tasks)
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
}

func (s *Server) serveMetrics(ctx context.Context) error {
	group, err := listeners.Open([]string{s.cfg.Metrics.Listen}, nil)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+s.cfg.Metrics.Path, telemetry.MetricsHandler(s.metrics))
	mux.Handle("GET /health", &s.health)
	return group.Serve(ctx, mux, listeners.Options{Logger: s.log, Grace: time.Second})
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

// federation opens the federation listeners. What they serve comes with the
// Server-Server API; until then every path is unrecognized.
func (s *Server) federation(secure *tls.Config) ([]func(context.Context) error, error) {
	if len(s.cfg.FederationListen) == 0 {
		return nil, nil
	}
	group, err := listeners.Open(secured(s.cfg.FederationListen, secure), secure)
	if err != nil {
		return nil, err
	}
	empty := api.NewServer(api.Options{Logger: s.log})
	return []func(context.Context) error{func(ctx context.Context) error {
		return group.Serve(ctx, empty.Handler(), listeners.Options{Logger: s.log, Grace: time.Second})
	}}, nil
}
