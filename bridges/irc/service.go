package irc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/identd"
	"trestle/bridges/links"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
	"trestle/migrations"
)

// stopWait bounds how long requests of the homeserver may hold up the end.
const stopWait = 5 * time.Second

// A Service is the IRC bridge: an application service with its networks.
type Service struct {
	config   Config
	log      *slog.Logger
	db       *database.DB
	inbox    *client.Inbox
	bridge   *bridge.Bridge
	journal  *journal
	networks networks
	metrics  *metrics
	signer   *links.Signer
	spoken   *lru.Cache[matrix.EventID, words] // what messages last said
	accounts *accounts
	plumbs   *plumbs
	sessions *sessions     // of the provisioning API
	foreign  chan struct{} // homeservers of others that are being asked who somebody is
	sources  *sources
	names    *userNames
	powers   powers
	choices  *choices
	kept     map[string]*keptNames // by network
	idents   *identd.Server        // nil: nobody may ask

	rehashing rehashing
	api       *client.Client
	encrypts  bool // some network's encryption is, or was, on; while the service runs, of who changes the configuration

	ctx    context.Context // of the bridge; it outlives the networks
	cancel context.CancelFunc
}

// Run runs the bridge until ctx ends.
func Run(ctx context.Context, config Config) error {
	s, err := New(ctx, config)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Run(ctx)
}

// New opens the bridge's database; it connects to nothing.
func New(ctx context.Context, config Config) (*Service, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	db, err := database.Open(ctx, config.Database, migrations.Bridges, database.Options{Log: config.Logger})
	if err != nil {
		return nil, fmt.Errorf("the bridge's database: %w", err)
	}
	s := &Service{config: config, log: config.Logger, db: db, sessions: newSessions(), foreign: make(chan struct{}, foreignAtOnce)}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.assemble(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Service) assemble() error {
	if err := s.db.LockServer(s.ctx); err != nil {
		return fmt.Errorf("the bridge's database: %w", err)
	}
	var err error
	if s.accounts, err = loadAccounts(s.ctx, s.db, s.config.KeyFile, s.log); err != nil {
		return err
	}
	if s.sources, err = loadSources(s.ctx, s.db); err != nil {
		return err
	}
	if s.names, err = loadUserNames(s.ctx, s.db); err != nil {
		return err
	}
	if s.plumbs, err = loadPlumbs(s.ctx, s.db); err != nil {
		return err
	}
	if s.choices, err = loadChoices(s.ctx, s.db); err != nil {
		return err
	}
	if s.kept, err = loadKept(s.ctx, s.db); err != nil {
		return err
	}
	if s.config.Identd != "" {
		s.idents = identd.New(s.log)
	}
	for _, config := range s.config.Networks {
		n, err := newNetwork(s, config)
		if err != nil {
			return fmt.Errorf("network %q: %w", config.ID, err)
		}
		s.networks.add(n)
	}
	if s.api, err = client.New(client.Config{
		HomeserverURL: s.config.HomeserverURL, ServerName: s.config.ServerName,
		ASToken: s.config.ASToken, SenderLocal: s.config.SenderLocal,
	}); err != nil {
		return err
	}
	s.inbox = client.NewInbox(s.db, s.log)
	s.spoken = lru.New[matrix.EventID](maxSpoken, func(w words) int { return len(w.text) + 200 })
	s.metrics = newMetrics()
	s.bridge, err = bridge.New(s.ctx, bridge.Options{
		Client: s.api, Inbox: s.inbox, DB: s.db, Remote: s, Prefix: "!irc", Commands: append(s.commands(), s.plumbCommands()...),
		Logger: s.log, Metrics: s.config.Metrics, Encryption: s.encryption(s.config.Networks),
	})
	if err != nil {
		return err
	}
	key, err := s.bridge.Secret(s.ctx, "link_key")
	if err != nil {
		return err
	}
	s.signer = links.NewSigner(key)
	if s.journal, err = openJournal(s.config.Journal, s.bridge.Instance(), s.log); err != nil {
		return err
	}
	s.metrics.register(s.config.Metrics, s)
	return nil
}

// Handler is what the homeserver talks to, at the URL of the registration.
func (s *Service) Handler() http.Handler {
	listener := &client.Listener{HSToken: s.config.HSToken, Inbox: s.inbox, Queries: s.bridge, Logger: s.log}
	return listener.Handler()
}

// withPublic is Handler, and Public beside it.
func (s *Service) withPublic() http.Handler {
	homeserver, public := s.Handler(), s.Public()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, PublicPath) {
			public.ServeHTTP(w, r)
			return
		}
		homeserver.ServeHTTP(w, r)
	})
}

// Run works until ctx ends, then says goodbye to the networks and finishes what it
// has begun.
func (s *Service) Run(ctx context.Context) error {
	server, failed, err := s.listen()
	if err != nil {
		return err
	}
	var work sync.WaitGroup
	var bridgeErr error
	work.Go(func() {
		defer s.cancel()
		bridgeErr = s.bridge.Run(s.ctx)
	})
	stopIdents, err := s.serveIdents()
	if err != nil {
		s.log.Error("identd cannot listen; networks take users for unidentified", "address", s.config.Identd, "err", err)
	}
	defer stopIdents()
	s.bridge.Settle(ctx)
	for _, n := range s.all() {
		n.start()
	}
	s.rehashing.begin(s.config.given)
	shutDoor, err := s.openDoor()
	if err != nil {
		s.log.Error("operators' commands are not heard", "err", err)
	}
	defer shutDoor()
	err = nil
	select {
	case <-ctx.Done():
	case <-s.ctx.Done(): // the bridge could not go on
	case err = <-failed:
	}
	// First nothing new from Matrix, then nothing new from IRC, then the rest.
	shutdown(server)
	s.rehashing.end()
	var goodbyes sync.WaitGroup
	for _, n := range s.all() {
		goodbyes.Go(func() { n.stop("The bridge is restarting") })
	}
	goodbyes.Wait()
	s.cancel()
	work.Wait()
	return errors.Join(err, bridgeErr)
}

// Close closes the database. Run has returned, or was never called.
func (s *Service) Close() {
	s.cancel()
	s.db.Close()
	if s.journal != nil {
		if err := s.journal.close(); err != nil {
			s.log.Warn("the journal was not closed", "err", err)
		}
	}
}

// serveIdents answers those who ask whose a connection is. The bridge works without.
func (s *Service) serveIdents() (stop func(), err error) {
	stop = func() {}
	if s.idents == nil {
		return stop, nil
	}
	listener, err := net.Listen("tcp", s.config.Identd)
	if err != nil {
		return stop, err
	}
	s.log.Info("identd listens", "address", listener.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() {
		if err := s.idents.Serve(ctx, listener); err != nil {
			s.log.Error("identd has ended", "err", err)
		}
	})
	return func() {
		cancel()
		served.Wait()
	}, nil
}

// listen serves the homeserver's requests if that is ours to do.
func (s *Service) listen() (*http.Server, <-chan error, error) {
	if s.config.Listen == "" {
		return nil, nil, nil
	}
	network, address := "tcp", s.config.Listen
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, nil, fmt.Errorf("remove the old socket: %w", err)
		}
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for the homeserver: %w", err)
	}
	server := &http.Server{Handler: s.withPublic(), ReadHeaderTimeout: 30 * time.Second}
	failed := make(chan error, 1)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve the homeserver: %w", err)
		}
	}()
	s.log.Info("listening for the homeserver", "address", listener.Addr().String())
	return server, failed, nil
}

func shutdown(server *http.Server) {
	if server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close()
	}
}

// Ghost implements bridge.Remote.
func (s *Service) Ghost(user matrix.UserID) (bridge.Ghost, bool) {
	if user.Server() != s.config.ServerName {
		return bridge.Ghost{}, false
	}
	for _, n := range s.all() {
		if nick, ok := n.templates.ghostNick(user.Localpart()); ok {
			return bridge.Ghost{ID: user, Name: n.now().templates.displayName(decode(nick))}, true
		}
	}
	return bridge.Ghost{}, false
}
