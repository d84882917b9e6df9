package homeserver_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/registration"
)

// A journal is a log that can be waited for.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case j.more <- struct{}{}:
	default:
	}
	return j.text.Write(p)
}

// until waits for a line with all of these words, and forgets what came before.
func (j *journal) until(t *testing.T, words ...string) {
	t.Helper()
	for deadline := time.After(2 * time.Minute); ; {
		j.mu.Lock()
		all := j.text.String()
		for line := range strings.Lines(all) {
			found := 0
			for _, w := range words {
				if strings.Contains(line, w) {
					found++
				}
			}
			if found == len(words) {
				j.text.Reset()
				j.mu.Unlock()
				return
			}
		}
		j.mu.Unlock()
		select {
		case <-j.more:
		case <-deadline:
			t.Fatalf("no %q in\n%s", words, all)
		}
	}
}

// A server that cannot start ends and says why, whatever it has begun.
func TestAStartThatFailsEnds(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		cfg := settings(t, url, func(c *config.Config) { c.Listen = []string{"127.0.0.1:0"} })
		if err := os.MkdirAll(cfg.AppServices[0], 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cfg.AppServices[0], "tea.yaml"), []byte("id: 7\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			ended <- homeserver.Run(t.Context(), cfg, slog.New(slog.DiscardHandler), homeserver.Hooks{Ready: func(homeserver.Running) {}})
		}()
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), "tea.yaml:1:") {
				t.Errorf("it ends with %v", err)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("it does not end")
		}
	})
}

func TestSIGHUPReadsRegistrationsAgain(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		cfg := settings(t, url, func(c *config.Config) { c.Listen = []string{"127.0.0.1:0"} })
		log := &journal{more: make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		ended, ready := make(chan error, 1), make(chan struct{})
		go func() {
			ended <- homeserver.Run(ctx, cfg, slog.New(slog.NewTextHandler(log, nil)), homeserver.Hooks{Ready: func(homeserver.Running) { close(ready) }})
		}()
		select {
		case <-ready:
		case err := <-ended:
			t.Fatal(err)
		}
		hangup := func() {
			t.Helper()
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		hangup()
		log.until(t, "registrations read again", "appservices=0", "changes=0")
		reg := registration.Generate("tea", "", "tea_bot")
		path := filepath.Join(cfg.AppServices[0], "tea.yaml")
		if err := reg.Write(path); err != nil {
			t.Fatal(err)
		}
		hangup()
		log.until(t, "appservice=tea", "change=added")
		if err := os.WriteFile(path, []byte("id: 7\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		hangup()
		log.until(t, "registrations are refused", "stay as they were", "tea.yaml:1:")
		reg.RateLimited = true
		if err := reg.Write(path); err != nil {
			t.Fatal(err)
		}
		hangup()
		log.until(t, "appservice=tea", "change=changed", "rate_limited")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
