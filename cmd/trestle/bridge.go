package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

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
	var o besideOptions
	cmd.Flags().StringVar(&o.homeserver, "homeserver", "http://127.0.0.1:8008", "where the bridge reaches the homeserver")
	cmd.Flags().StringVar(&o.registration, "registration", "", "the registration's file")
	cmd.Flags().StringVar(&o.url, "url", "", "where the homeserver reaches the bridge, for a new registration")
	cmd.Flags().StringVar(&o.listen, "bridge-listen", "", "listen for the homeserver here: host:port or unix:/path; else at the registration's url")
	cmd.Flags().BoolVar(&o.generate, "generate-registration", false, "write a new registration and end")
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
	r, err := irc.NewRegistration(cfg.Bridges.IRC, cfg.ServerName, o.url)
	if err != nil {
		return err
	}
	if err := r.Write(o.registration); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.std.out, "%s is written. Give it to the homeserver.\n", o.registration)
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
		bridge.PublicURL = o.homeserver
	}
	return irc.Run(ctx, bridge)
}

// listenAt is the address of a registration's URL.
func listenAt(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Port() == "" {
		return "", errors.New("its url has no port to listen at; use --bridge-listen")
	}
	return u.Host, nil
}
