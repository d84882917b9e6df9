package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"trestle/bridges/irc"
	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/database"
	"trestle/registration"
)

// A bundledIRC is the IRC bridge inside of the server's process. It is an
// application service like any other: it and the homeserver speak HTTP.
type bundledIRC struct {
	cfg      *config.Config
	log      *slog.Logger
	listener net.Listener
	service  *registration.Registration
}

// bundleIRC opens the bridge's listener. nil if no bridge is to run.
func bundleIRC(cfg *config.Config, log *slog.Logger) (*bundledIRC, error) {
	if cfg.NoBridges || len(cfg.AppServices) == 0 || !anyNetwork(cfg) {
		return nil, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the IRC bridge: %w", err)
	}
	return &bundledIRC{cfg: reachable(cfg), log: log.With("bridge", "irc"), listener: listener}, nil
}

// begin writes the registration, before the homeserver reads registrations: in
// the one process that has a bridge running.
func (b *bundledIRC) begin() (err error) {
	if b.service, err = writeRegistration(b.cfg, "http://"+b.listener.Addr().String()); err != nil {
		return fmt.Errorf("registration of the IRC bridge: %w", err)
	}
	return nil
}

func anyNetwork(cfg *config.Config) bool {
	for _, network := range cfg.Bridges.IRC.Networks {
		if network.Enabled {
			return true
		}
	}
	return false
}

// writeRegistration keeps the tokens of the registration that is there.
func writeRegistration(cfg *config.Config, url string) (*registration.Registration, error) {
	if err := os.MkdirAll(cfg.AppServices[0], 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(cfg.AppServices[0], "irc.yaml")
	service, err := registration.LoadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if service, err = irc.NewRegistration(cfg.Bridges.IRC, cfg.ServerName, url); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		service.URL = url
		if err := irc.Claim(service, cfg.Bridges.IRC, cfg.ServerName); err != nil {
			return nil, err
		}
	}
	return service, service.Write(path)
}

// run bridges until ctx ends. The homeserver answers by then.
func (b *bundledIRC) run(ctx context.Context, running homeserver.Running) error {
	bridge, err := irc.FromConfig(b.cfg, b.service)
	if err != nil {
		return err
	}
	bridge.HomeserverURL, err = loopbackURL(b.cfg, running.Addresses)
	if err != nil {
		return err
	}
	bridge.Logger, bridge.Metrics = b.log, running.Metrics
	bridge.Reload = func(context.Context) (irc.Config, error) { return b.reload(running) }
	service, err := b.open(ctx, bridge)
	if err != nil {
		return err
	}
	defer service.Close()
	running.Mount(irc.PublicPath, service.Public())
	defer running.Mount(irc.PublicPath, nil)
	defer rehashOnHangup(ctx, service, b.log)()
	server := &http.Server{Handler: service.Handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(b.listener) }()
	err = service.Run(ctx)
	err = errors.Join(err, server.Close())
	if cause := <-served; !errors.Is(cause, http.ErrServerClosed) {
		err = errors.Join(err, cause)
	}
	return err
}

// reload reads the configuration again. The homeserver is told of the names of new networks before
// the bridge uses them.
func (b *bundledIRC) reload(running homeserver.Running) (irc.Config, error) {
	cfg, err := b.cfg.Again()
	if err != nil {
		return irc.Config{}, err
	}
	cfg = reachable(cfg)
	next, err := irc.FromConfig(cfg, b.service)
	if err != nil {
		return irc.Config{}, err
	}
	next.Claim = func(ctx context.Context) error {
		if _, err := writeRegistration(cfg, b.service.URL); err != nil {
			return err
		}
		return running.Registrations(ctx)
	}
	return next, nil
}

// open makes the bridge. In a cluster, that of the leader before may still have
// the bridge's database: its process stands still.
func (b *bundledIRC) open(ctx context.Context, bridge irc.Config) (*irc.Service, error) {
	for {
		service, err := irc.New(ctx, bridge)
		if b.cfg.Cluster == "" || !errors.Is(err, database.ErrLocked) {
			return service, err
		}
		b.log.WarnContext(ctx, "the bridge waits for the one before it to end", "err", err)
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// close gives up a listener that run has not used.
func (b *bundledIRC) close() { _ = b.listener.Close() }

// reachable is a configuration with an address that the bridge can use: plain
// HTTP over TCP. If there is none, one is added that only this machine sees.
func reachable(cfg *config.Config) *config.Config {
	if slices.ContainsFunc(cfg.Listen, plain) {
		return cfg
	}
	more := *cfg
	more.Listen = append(slices.Clone(cfg.Listen), "127.0.0.1:0")
	return &more
}

func plain(address string) bool {
	return !strings.HasPrefix(address, "unix:") && !strings.HasPrefix(address, "tls:")
}

// loopbackURL is where this process reaches its own client API, which has been
// opened at these addresses.
func loopbackURL(cfg *config.Config, opened []string) (string, error) {
	host, port, err := net.SplitHostPort(opened[slices.IndexFunc(cfg.Listen, plain)])
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
