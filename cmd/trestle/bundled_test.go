package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/internal/config"
)

// The bundled bridge runs beside a homeserver that people reach by a socket
// only, and its figures are among the homeserver's.
func TestTheBundledBridgeNeedsNoAddressOfTheOperators(t *testing.T) {
	folder := t.TempDir()
	if _, err := config.Init(folder, nil); err != nil {
		t.Fatal(err)
	}
	// The path of a socket is short.
	short, err := os.MkdirTemp("", "trestle")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	socket := filepath.Join(short, "api")
	cfg, err := config.Load(config.Source{Environ: []string{
		"TRESTLE_DATA=" + folder, "TRESTLE_LISTEN=unix:" + socket, "TRESTLE_IRC_NETWORK=local=127.0.0.1:1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	ready := make(chan func(context.Context) (bool, error), 1)
	go func() {
		ended <- server{}.Run(ctx, cfg, slog.New(slog.DiscardHandler), func(nobody func(context.Context) (bool, error)) { ready <- nobody })
	}()
	var nobody func(context.Context) (bool, error)
	select {
	case nobody = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	client := http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) },
	}}
	figures := ""
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(figures, `trestle_irc_network_up{network="local"} 0`); {
		if time.Now().After(deadline) {
			t.Fatalf("the bridge's figures are not among\n%s", figures)
		}
		res, err := client.Get("http://trestle/metrics")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		figures = string(raw)
	}
	// The bridge's bot is not a person.
	if unused, err := nobody(ctx); err != nil || !unused {
		t.Errorf("nobody has an account: %v, %v", unused, err)
	}
	if _, err := (server{}).CreateUser(ctx, cfg, slog.New(slog.DiscardHandler), NewUser{Localpart: "alice", Password: "correct horse battery"}); err != nil {
		t.Fatal(err)
	}
	if unused, err := nobody(ctx); err != nil || unused {
		t.Errorf("nobody has an account, but alice: %v, %v", unused, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
