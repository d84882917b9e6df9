// Package homeserver puts the homeserver together: every service is made and
// connected here, and nowhere else.
package homeserver

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trestle/appservice/sender"
	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/clientapi"
	"trestle/homeserver/console/record"
	"trestle/homeserver/delayed"
	"trestle/homeserver/encryption"
	"trestle/homeserver/ephemeral"
	"trestle/homeserver/identity"
	"trestle/homeserver/invites"
	"trestle/homeserver/ledger"
	"trestle/homeserver/mail"
	"trestle/homeserver/media"
	"trestle/homeserver/media/preview"
	"trestle/homeserver/notifier"
	"trestle/homeserver/oauth"
	"trestle/homeserver/pushers"
	"trestle/homeserver/registrar"
	"trestle/homeserver/relations"
	"trestle/homeserver/reports"
	"trestle/homeserver/rooms"
	"trestle/homeserver/search"
	"trestle/homeserver/sso"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
	"trestle/homeserver/syncer/sliding"
	"trestle/homeserver/unread"
	"trestle/internal/config"
	"trestle/internal/database"
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

	registrar *registrar.Service

	notifier *notifier.Notifier
	accounts *accounts.Service
	mailer   *mail.Relay // nil: no mails are sent
	mails    map[string]*mail.Template
	identity *identity.Client // nil: no identity server is trusted
	rooms    *rooms.Service
	related  *relations.Service
	oauth    *oauth.Service // nil: off
	sync     *syncer.Service
	sliding  *sliding.Service
	search   *search.Service
	reports  *reports.Service
	delayed  *delayed.Service
	invites  *invites.Service
	sender   *sender.Service
	unread   *unread.Service
	pushers  *pushers.Service
	asides   *asides
	sso      *sso.Service
	record   *record.Service // of the console
	ledger   *ledger.Service // of what operators do

	encryption *encryption.Service
	ephemeral  *ephemeral.Service
	media      *media.Service
	previews   *preview.Service // nil: off

	peers       *peers // nil: this server has nothing to do with others
	key         matrix.SigningKey
	operatorKey []byte
	api         *api.Server
	// federationAPI is what other servers reach, and those who ask whose an OpenID token is.
	federationAPI *api.Server
	requests      *telemetry.Requests
	mounts        mounts
	metrics       *prometheus.Registry
	health        *telemetry.Health
	lost          chan error // the database belongs to another server now
}

// Open opens the database and connects the services. Close the Server.
func Open(ctx context.Context, cfg *config.Config, log *slog.Logger) (*Server, error) {
	s, err := newServer(cfg, log)
	if err != nil {
		return nil, err
	}
	db, err := s.openAlone(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx, db); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// newServer makes a Server without a database.
func newServer(cfg *config.Config, log *slog.Logger) (*Server, error) {
	key, _, err := config.SigningKey(cfg.SigningKey)
	if err != nil {
		return nil, err
	}
	return &Server{
		cfg: cfg, log: log, key: key, operatorKey: operatorKey(key),
		metrics: telemetry.NewRegistry(), health: &telemetry.Health{}, lost: make(chan error, 1),
	}, nil
}

// openAlone opens a database that no other server may use.
func (s *Server) openAlone(ctx context.Context) (*database.DB, error) {
	db, err := database.Open(ctx, s.cfg.Database.Reveal(), migrations.Homeserver, s.databaseOptions())
	if err != nil {
		return nil, err
	}
	if err := db.LockServer(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("one server at a time may use a database, unless all have the setting cluster: %w", err)
	}
	return db, nil
}

func (s *Server) databaseOptions() database.Options {
	groups := newGroupMetrics(s.metrics)
	return database.Options{Log: s.log, OnGroup: groups.observe, OnLockLost: func(err error) { s.lost <- err }}
}

// begin connects the services to a database, which is theirs from then on. Close the
// Server also where that fails.
func (s *Server) begin(ctx context.Context, db *database.DB) error {
	s.db, s.store = db, storage.New(db)
	s.health.Add("database", s.store.Ping)
	if err := checkName(ctx, s.cfg.ServerName, storage.NewAccounts(db)); err != nil {
		return err
	}
	return s.connect(ctx, s.key)
}

// connect makes the services, from the lowest up.
func (s *Server) connect(ctx context.Context, key matrix.SigningKey) error {
	s.watch = newWatch(s.cfg.AppServices)
	set, err := registrar.Load(s.cfg.ServerName, s.cfg.AppServices)
	if err != nil {
		return err
	}
	s.registry = registration.NewRegistry(set)
	s.registrar = s.newRegistrar()
	position, err := s.store.Position(ctx)
	if err != nil {
		return err
	}
	board := sliding.NewBoard(s.store.Rooms, s.store.Members)
	s.notifier = notifier.New(board, position)
	if err := s.connectOutside(key); err != nil {
		return err
	}
	limiter := s.limiter()
	if s.peers, err = s.newPeers(key, limiter); err != nil {
		return err
	}
	s.accounts = accounts.New(s.accountOptions(key, limiter))
	if err := s.accounts.LoadErased(ctx); err != nil {
		return err
	}
	keys := storage.NewEncryption(s.db)
	stream, keyCounts := s.connectSender(keys, position)
	services := directory{s.registry, s.sender, s.store, s.accounts}
	listeners := &roomListeners{board, s.notifier, streamWaker{s.sender}}
	s.rooms = rooms.New(rooms.Options{
		Store: s.store, ServerName: s.cfg.ServerName, Key: key, DefaultVersion: s.cfg.Rooms.DefaultVersion,
		HumanIDs: s.cfg.Registration.HumanIDs, Erased: s.accounts.Erased, IsGuest: s.accounts.IsGuest,
		Listener: listeners, Profiles: s.accounts, Directory: services, Settings: s.accounts, Log: s.log,
		NoticesUser: s.noticesUser(), Forgotten: s.notifier.Forgot, Removed: s.notifier.Removed,
		Relay: s.relay(), Withhold: s.withhold(),
	})
	stream.rooms = s.rooms
	s.related = relations.New(relations.Options{Rooms: s.rooms, Store: s.store, AccountData: s.accounts, Position: position})
	*listeners = append(roomListeners{s.related}, *listeners...) // before whoever wakes readers
	s.encryption = encryption.New(encryption.Options{
		ServerName: s.cfg.ServerName, Store: s.store, Keys: keys, Notifier: s.asides, AppServices: s.asides,
	})
	keyCounts.encryption = s.encryption
	s.ephemeral = ephemeral.New(ephemeral.Options{
		Store: s.store, Receipts: storage.NewReceipts(s.db), DeviceLists: keys.DeviceLists,
		Rooms: s.rooms, AccountData: s.accounts, Notifier: s.asides, Log: s.log,
		NoPresence: !s.cfg.Presence.Enabled, IdleAfter: s.cfg.Presence.IdleAfter.Std(),
	})
	s.asides.ephemeral = s.ephemeral
	*listeners = append(*listeners, s.ephemeral)
	s.unread = s.newUnread()
	s.sync = syncer.New(syncer.Options{
		Rooms: s.rooms, Store: s.store, Notifier: s.notifier, AccountData: s.accounts,
		Ephemeral: s.ephemeral, Keys: s.encryption, Relations: s.related, Unread: s.unread,
	})
	s.sliding = sliding.New(sliding.Options{Sync: s.sync, Board: board, Threads: s.unread})
	s.connectSearch()
	s.connectRooms(key)
	s.delayed, s.invites, s.pushers = s.newDelayed(limiter), s.newInvites(), s.newPushers(key)
	follow := follower{s.accounts, s.rooms, s.store, s.registry}
	s.accounts.Observe(accounts.Observers{
		Users: userSource{services}, Devices: []accounts.DeviceObserver{s.encryption, s.pushers},
		Profiles: []accounts.ProfileObserver{follow}, Deactivations: []accounts.DeactivationObserver{follow, s.encryption, s.delayed, s.unread, s.pushers, s.search},
		Bindings: s.invites, Addresses: []accounts.AddressObserver{s.pushers}, Remote: s.peers.profiles(),
	})
	if s.media, err = s.newMedia(); err != nil {
		return err
	}
	s.previews = s.newPreviews()
	s.oauth = s.newOAuth(key)
	if s.sso, err = s.newSSO(key); err != nil {
		return err
	}
	s.connectConsole()
	s.route(limiter)
	for _, start := range []func(context.Context) error{s.rooms.Start, s.pushers.Start, s.unread.Start, s.peers.start} {
		if err := start(ctx); err != nil {
			return err
		}
	}
	s.delayed.Start(ctx)
	return s.sender.Start(ctx)
}

func (s *Server) route(limiter *api.RateLimiter) {
	s.requests = telemetry.NewRequests(s.metrics)
	options := api.Options{
		Authenticator: s.authenticator(clientapi.Authenticator(s.accounts)), Logger: s.log,
		Metrics: s.requests, TrustedProxies: s.cfg.Proxies(), BodyLimit: int64(s.cfg.MaxBody),
	}
	if limiter != nil {
		options.Limiter = limiter
	}
	s.api = api.NewServer(options)
	routes := clientapi.Routes(clientapi.Services{
		Limiter:    options.Limiter,
		ServerName: s.cfg.ServerName, Accounts: s.accounts, Rooms: s.rooms, Keys: s.encryption, Ephemeral: s.ephemeral, Sync: s.sync, Sliding: s.sliding,
		Media: s.media, Previews: s.clientPreviews(), Relations: s.related, Search: s.search, Reports: s.reports, Users: s.store.Directory, Others: s.peers.others(), Services: s.sender, Delayed: s.delayed, Invites: s.invites, Unread: s.unread, Pushers: s.pushers,
		Account: s.accountConfig(),
		OAuth:   s.oauth,
		Forgot:  s.forgot,
		Calls:   s.calls(),
		SSO:     s.sso, Registrar: s.registrar,
	})
	s.api.Handle(routes)
	s.api.Handle(s.legacy(routes))
	s.api.Handle(s.adminRoutes())
	s.api.Handle(s.consoleRoutes(limiter))
	s.routePeers(limiter)
}

// forgot takes a room that a user has forgotten out of what /sync knows.
func (s *Server) forgot(ctx context.Context, user matrix.UserID, room matrix.RoomID) {
	if info, err := s.rooms.Info(ctx, room); err == nil {
		s.notifier.Forgot(user, info.NID)
	}
}

// Handler serves the client API, health and, for direct callers, metrics.
func (s *Server) Handler() http.Handler {
	return s.pages(s.clientHandler())
}

// pages adds to the client API what is about this process.
func (s *Server) pages(client http.Handler) http.Handler {
	own := map[string]http.Handler{"/health": s.health}
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

// clientHandler is the client API, and what bundled bridges show beside it.
func (s *Server) clientHandler() http.Handler {
	client := s.api.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := s.mounts.of(r.URL.Path); h != nil {
			h.ServeHTTP(w, r)
			return
		}
		client.ServeHTTP(w, r)
	})
}

// Close ends what Open began.
func (s *Server) Close() {
	if s.delayed != nil {
		s.delayed.Close()
	}
	if s.rooms != nil {
		s.rooms.Stop()
	}
	if s.unread != nil {
		s.unread.Close()
	}
	s.closePushers()
	s.peers.close()
	if s.sender != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.sender.Close(ctx); err != nil {
			s.log.Error("close the sender to application services", "err", err)
		}
	}
	s.db.Close()
}
