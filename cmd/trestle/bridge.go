package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"trestle/bridges/irc"
	"trestle/internal/config"
	"trestle/registration"
)

func (c commands) bridge() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bridge",
		Short: "Run a bridge beside a homeserver, ours or another",
	}
	cmd.AddCommand(c.bridgeIRC())
	return cmd
}

// A besideOptions says how a bridge and a homeserver that are two processes
// find each other.
type besideOptions struct {
	homeserver   string
	registration string
	url          string
	listen       string
	generate     bool
}

func (c commands) bridgeIRC() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "irc",
		Short: "Run the IRC bridge",
		Long: "Run the IRC bridge as an application service of its own, beside any homeserver.\n" +
			"The configuration is that of the homeserver: server_name and bridges.irc count.\n\n" +
			"First write a registration, give it to the homeserver, and then start the bridge:\n\n" +
			"  trestle bridge irc --config irc.yaml --registration irc-reg.yaml \\\n" +
			"      --generate-registration --url http://127.0.0.1:9009\n" +
			"  trestle bridge irc --config irc.yaml --registration irc-reg.yaml \\\n" +
			"      --homeserver http://127.0.0.1:8008",
		Args: cobra.NoArgs,
	}
	src := c.addConfigFlags(cmd)
	cmd.AddCommand(c.ircCommands()...)
	var o besideOptions
	cmd.Flags().StringVar(&o.homeserver, "homeserver", "http://127.0.0.1:8008", "where the bridge reaches the homeserver")
	cmd.Flags().StringVar(&o.registration, "registration", "", "the registration's file")
	cmd.Flags().StringVar(&o.url, "url", "", "where the homeserver reaches the bridge, for a new registration")
	cmd.Flags().StringVar(&o.listen, "bridge-listen", "", "listen for the homeserver here: host:port or unix:/path; else at the registration's url")
	cmd.Flags().BoolVar(&o.generate, "generate-registration", false, "write the registration, with the tokens that it has if it is there already, and end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := c.load(src)
		if err != nil {
			return err
		}
		if o.registration == "" {
			return errors.New("--registration is missing: the file that the homeserver has too")
		}
		if o.generate {
			return c.generateIRC(cfg, o)
		}
		return c.runIRC(cmd.Context(), cfg, o)
	}
	return cmd
}

func (c commands) generateIRC(cfg *config.Config, o besideOptions) error {
	if o.url == "" {
		return errors.New("--url is missing: where the homeserver will reach the bridge")
	}
	r, err := registration.LoadFile(o.registration)
	kept := err == nil
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r, err = irc.NewRegistration(cfg.Bridges.IRC, cfg.ServerName, o.url)
	case kept:
		r.URL = o.url
		err = irc.Claim(r, cfg.Bridges.IRC, cfg.ServerName)
	}
	if err != nil {
		return err
	}
	if err := r.Write(o.registration); err != nil {
		return err
	}
	tokens := ""
	if kept {
		tokens = " with the ID, user and tokens that it had"
	}
	_, err = fmt.Fprintf(c.std.out, "%s is written%s. Give it to the homeserver.\n", o.registration, tokens)
	return err
}

func (c commands) runIRC(ctx context.Context, cfg *config.Config, o besideOptions) error {
	r, err := registration.LoadFile(o.registration)
	if err != nil {
		return err
	}
	log, err := c.logger(ctx, cfg)
	if err != nil {
		return err
	}
	bridge, err := irc.FromConfig(cfg, r)
	if err != nil {
		return err
	}
	bridge.HomeserverURL, bridge.Listen, bridge.Logger = o.homeserver, o.listen, log
	if bridge.Listen == "" {
		if bridge.Listen, err = listenAt(r.URL); err != nil {
			return fmt.Errorf("%s: %w", o.registration, err)
		}
	}
	if cfg.PublicBaseURL == "" && cfg.Bridges.IRC.Links.PublicURL == "" {
		bridge.PublicURL = r.URL // where the bridge itself serves them
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	bridge.Reload = func(context.Context) (irc.Config, error) { return reloadIRC(cfg, o) }
	service, err := irc.New(ctx, bridge)
	if err != nil {
		return err
	}
	defer service.Close()
	defer rehashOnHangup(ctx, service, log)()
	return service.Run(ctx)
}

// reloadIRC reads the configuration again, and the registration, which has to claim the names of new
// networks: the homeserver would not let the bridge have them.
func reloadIRC(cfg *config.Config, o besideOptions) (irc.Config, error) {
	next, err := cfg.Again()
	if err != nil {
		return irc.Config{}, err
	}
	r, err := registration.LoadFile(o.registration)
	if err != nil {
		return irc.Config{}, err
	}
	if missing := irc.Unclaimed(r, next.Bridges.IRC, next.ServerName); missing != "" {
		return irc.Config{}, fmt.Errorf("%s does not claim %s: write it again with --generate-registration, and give it to the homeserver", o.registration, missing)
	}
	return irc.FromConfig(next, r)
}

// rehashOnHangup has the bridge read its configuration again at each SIGHUP, until stop is called.
func rehashOnHangup(ctx context.Context, service *irc.Service, log *slog.Logger) (stop func()) {
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-received:
			case <-ctx.Done():
				return
			}
			if _, err := service.Rehash(ctx); err != nil {
				log.ErrorContext(ctx, "the bridge's configuration was not changed", "err", err)
			}
		}
	})
	return func() {
		signal.Stop(received)
		cancel()
		work.Wait()
	}
}

// listenAt is the address of a registration's URL.
func listenAt(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Port() == "" {
		return "", errors.New("its url has no port to listen at; use --bridge-listen")
	}
	return u.Host, nil
}
