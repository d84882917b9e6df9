package homeserver

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/clientapi"
	"trestle/homeserver/exchange"
	"trestle/homeserver/federation"
	"trestle/homeserver/media"
	"trestle/homeserver/outbox"
	"trestle/homeserver/serverapi"
	"trestle/homeserver/storage"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/internal/discovery"
	"trestle/internal/matrix"
	"trestle/internal/outbound"
	"trestle/internal/telemetry"
)

// maxMediaRedirects is how many redirects lead to media that another server keeps elsewhere.
const maxMediaRedirects = 5

// peers is what this server needs for other homeservers. Its methods work without one, too.
type peers struct {
	transport *discovery.Transport
	client    *federation.Client
	keys      *federation.KeyRing
	remote    *federation.Remote
	rooms     *federation.Peers
	exchange  *exchange.Service
	history   *exchange.History
	outbox    *outbox.Service // nil until there are rooms to send from
}

// newPeers connects with other homeservers; nil if there are no addresses at which they reach this one.
func (s *Server) newPeers(key matrix.SigningKey, limiter *api.RateLimiter) (*peers, error) {
	if len(s.cfg.FederationListen) == 0 {
		return nil, nil
	}
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	c := s.cfg.Federation
	guard := outbound.New(outbound.Options{
		Allow: config.Ranges(c.AllowAddresses), Deny: config.Ranges(c.DenyAddresses), Authorities: roots, Redirects: maxMediaRedirects,
		Check: func(u *url.URL) error {
			if u.Scheme != "https" {
				return outbound.ErrRefused
			}
			return nil
		},
	})
	p := &peers{transport: discovery.NewTransport(discovery.Options{Guard: guard})}
	p.client = federation.NewClient(federation.ClientOptions{
		ServerName: s.cfg.ServerName, Key: key, Transport: p.transport, Allowed: c.Allowed, Heard: p.heard, Log: s.log,
	})
	o := federation.KeyOptions{
		ServerName: s.cfg.ServerName, Key: key, Client: p.client, DB: s.db, Store: storage.NewServerKeys(s.db),
		Notaries: c.Notaries(), Log: s.log,
	}
	for _, old := range c.OldKeys() {
		if old.ID != key.ID {
			o.Old = append(o.Old, storage.ServerKey{ID: old.ID, Public: old.Public, ValidUntil: old.Expired.UnixMilli()})
		}
	}
	if limiter != nil {
		o.Limiter = limiter
	}
	p.keys, p.remote = federation.NewKeyRing(o), federation.NewRemote(p.client, guard.Client())
	p.rooms = federation.NewPeers(p.client, p.keys)
	return p, nil
}

// relay has events of other servers sent on; nil where there are none.
func (s *Server) relay() func(context.Context, *database.Tx, int64) error {
	if s.peers == nil {
		return nil
	}
	return s.store.Outbox.Relay
}

// withhold has others send events of this one on; nil where there are none.
func (s *Server) withhold() func(context.Context, *database.Tx, int64) error {
	if s.peers == nil {
		return nil
	}
	return s.store.Outbox.Withhold
}

// connectRooms lets this server take part in rooms with others.
func (s *Server) connectRooms(key matrix.SigningKey) {
	if s.peers == nil {
		return
	}
	s.peers.exchange = exchange.New(exchange.Options{
		ServerName: s.cfg.ServerName, Key: key, Store: s.store, Rooms: s.rooms, Peers: s.peers.rooms, Directory: s.peers.remote, Log: s.log,
	})
	s.rooms.Connect(s.peers.exchange)
	s.peers.history = exchange.NewHistory(exchange.HistoryOptions{
		ServerName: s.cfg.ServerName, Store: s.store, Rooms: s.rooms, Peers: s.peers.rooms, Log: s.log,
	})
	s.sync.Older = s.peers.history
	s.peers.outbox = outbox.New(outbox.Options{
		ServerName: s.cfg.ServerName, Store: s.store, Rooms: s.rooms, Stream: s.notifier, Client: s.peers.client, Log: s.log,
	})
	s.peers.outbox.Register(s.metrics)
}

// routePeers makes what is served at the addresses for other servers: by others as well who ask whose an OpenID
// token is.
func (s *Server) routePeers(limiter *api.RateLimiter) {
	options := api.Options{Logger: s.log, Metrics: s.requests, TrustedProxies: s.cfg.Proxies(), BodyLimit: int64(s.cfg.MaxBody)}
	if limiter != nil {
		options.Limiter = limiter
	}
	if s.peers != nil {
		options.Servers = serverapi.Authenticator(s.peers.keys)
	}
	s.federationAPI = api.NewServer(options)
	s.federationAPI.Handle(clientapi.OpenIDRoutes(s.accounts))
	if s.peers != nil {
		s.federationAPI.Handle(serverapi.Routes(serverapi.Services{
			ServerName: s.cfg.ServerName, Version: telemetry.Build().Version, Keys: s.peers.keys, Accounts: s.accounts, Rooms: s.rooms, Media: s.media,
			Exchange: s.peers.exchange, Peers: s.peers.rooms,
		}))
	}
}

// FederationHandler serves the Server-Server API.
func (s *Server) FederationHandler() http.Handler { return s.federationAPI.Handler() }

// profiles asks other servers about their users.
func (p *peers) profiles() accounts.RemoteProfiles {
	if p == nil {
		return nil
	}
	return remoteProfiles{p.remote}
}

type remoteProfiles struct{ remote *federation.Remote }

// RemoteProfile implements accounts.RemoteProfiles.
func (r remoteProfiles) RemoteProfile(ctx context.Context, user matrix.UserID, field string) (accounts.Profile, error) {
	return r.remote.Profile(ctx, user, field)
}

// others asks other servers for their rooms.
func (p *peers) others() clientapi.OtherServers {
	if p == nil {
		return nil
	}
	return p.remote
}

// media asks other servers for their media.
func (p *peers) media() media.Remote {
	if p == nil {
		return nil
	}
	return p.remote
}

// heard has a server be sent what waits for it, as it is there.
func (p *peers) heard(server matrix.ServerName) {
	if p.outbox != nil {
		p.outbox.Heard(server)
	}
}

// start begins to send. It goes on until close.
func (p *peers) start(ctx context.Context) error {
	if p == nil {
		return nil
	}
	return p.outbox.Start(ctx)
}

// sends is what sends to other servers, or nil.
func (p *peers) sends() *outbox.Service {
	if p == nil {
		return nil
	}
	return p.outbox
}

func (p *peers) tidy(ctx context.Context) error {
	if p == nil {
		return nil
	}
	return p.keys.Tidy(ctx)
}

// lastAnswers is how long other servers may take to answer when this one ends.
const lastAnswers = 2 * time.Second

func (p *peers) close() {
	if p == nil {
		return
	}
	if p.outbox != nil {
		ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
		defer cancel()
		p.outbox.Close(ctx)
	}
	if p.exchange != nil {
		p.exchange.Close()
	}
	if p.history != nil {
		p.history.Close()
	}
	p.keys.Close()
	p.transport.CloseIdleConnections()
}
