package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trestle/appservice/dev"
	"trestle/internal/config"
	"trestle/registration"
)

func (c commands) appserviceDev() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run an application service that shows and keeps what it is sent",
		Example: "  trestle appservice dev --id mybot\n" +
			"  trestle appservice dev --id mybot --replay-to http://127.0.0.1:9000",
		Args: cobra.NoArgs,
	}
	id := cmd.Flags().String("id", "", "names the service; needed")
	address := cmd.Flags().String("at", "127.0.0.1:0", "listen for the homeserver here")
	folder := cmd.Flags().String("store", "", "keep the registration and transactions in this folder, else in dev/ID of the data folder")
	replay := cmd.Flags().String("replay-to", "", "send what has been kept to the service at this URL, and end")
	return c.operate(cmd, func(ctx context.Context, s session, _ []string) error {
		if *id == "" {
			return errors.New("--id is missing: it names the service")
		}
		if *folder == "" {
			*folder = filepath.Join(s.cfg.Data, "dev", localpartOf(*id))
		}
		store, err := dev.OpenStore(*folder)
		if err != nil {
			return err
		}
		own := filepath.Join(*folder, "registration.yaml")
		if *replay != "" {
			reg, err := registration.LoadFile(own)
			if err != nil {
				return err
			}
			return store.Replay(ctx, *replay, reg.HSToken, c.std.out)
		}
		if err := s.running(); err != nil {
			return err
		}
		listener, err := net.Listen("tcp", *address)
		if err != nil {
			return err
		}
		defer listener.Close()
		reg, err := s.registerDev(ctx, *id, own, "http://"+listener.Addr().String())
		if err != nil {
			return err
		}
		return c.serveDev(ctx, s, listener, dev.Options{Registration: reg, ServerName: s.cfg.ServerName, Store: store, Out: c.std.out}, own)
	})
}

// registerDev has the server know the service at its address of now. The tokens
// stay from one start to the next; a registration that is not ours is left alone.
func (s session) registerDev(ctx context.Context, id, own, address string) (*registration.Registration, error) {
	reg, err := registration.LoadFile(own)
	ours := err == nil
	var data []byte
	switch {
	case ours && reg.ID != id:
		return nil, fmt.Errorf("%s is of %q", own, reg.ID)
	case ours:
		reg.URL = address
		data, err = reg.Marshal()
	case errors.Is(err, fs.ErrNotExist):
		data, err = newRegistration(s.cfg, id, address, "", "")
	}
	if err != nil {
		return nil, err
	}
	if reg, err = registration.Parse(own, data); err != nil {
		return nil, err
	}
	body := map[string]any{"registration": string(data), "file": own, "replace": ours}
	if err := s.Do(ctx, "POST", adminOwn+"/appservices", body, nil); err != nil {
		return nil, err
	}
	return reg, registration.WriteFile(own, data)
}

// serveDev answers the homeserver until ctx ends.
func (c commands) serveDev(ctx context.Context, s session, listener net.Listener, options dev.Options, own string) error {
	base, client := ownHomeserver(s.cfg)
	defer client.CloseIdleConnections()
	options.Homeserver = &dev.Homeserver{URL: base, ASToken: options.Registration.ASToken, HTTP: client}
	service, err := dev.New(options)
	if err != nil {
		return err
	}
	reg := options.Registration
	fmt.Fprintf(c.std.out, "%s listens at %s as %s. Its registration is %s.\n", reg.ID, reg.URL, reg.Sender(s.cfg.ServerName), own)
	for _, space := range slices.Concat(reg.Namespaces.Users, reg.Namespaces.Aliases) {
		fmt.Fprintf(c.std.out, "It makes whoever and whatever is asked for: %s\n", space.Regex)
	}
	server := &http.Server{Handler: service.Handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = server.Shutdown(stopping)
	<-served
	fmt.Fprintf(c.std.out, "What happens from now on waits for the next start. %s ends that.\n", c.again("appservice remove "+reg.ID+" --reason done", s.cfg))
	return err
}

// ownHomeserver is how this machine reaches the client API of the server.
func ownHomeserver(cfg *config.Config) (string, *http.Client) {
	transport := &http.Transport{}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for _, address := range cfg.Listen {
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			}
			return "http://trestle", client
		}
		if plain(address) {
			if base, err := loopbackURL(cfg, cfg.Listen); err == nil {
				return base, client
			}
		}
	}
	return cfg.BaseURL(), client
}
