package homeserver_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"

	"maunium.net/go/mautrix/id"

	"trestle/appservice"
	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// A service that was down while keys were used up, before and after the homeserver was
// started anew, learns in the end how many there are.
func TestKeyCountsAreRightAfterARestart(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newService(t, "irc", keeper)
		var down atomic.Bool
		down.Store(true)
		s.Answer = func(testkit.Attempt) int {
			if down.Load() {
				return http.StatusBadGateway
			}
			return http.StatusOK
		}
		cfg := settings(t, database, func(cfg *config.Config) { cfg.AppServices = []string{t.TempDir()} })
		if err := s.registration.Write(filepath.Join(cfg.AppServices[0], "irc.yaml")); err != nil {
			t.Fatal(err)
		}
		run := func() (stop func()) {
			t.Helper()
			server, err := homeserver.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			listener := httptest.NewServer(server.Handler())
			s.base = listener.URL
			return func() { listener.Close(); server.Close() }
		}
		stop := run()
		alice := login(t, s.base, "alice")
		var ghosts []id.UserID
		for n := range 3 {
			ghost := s.register(fmt.Sprint("irc_g", n))
			device := s.device(ghost.UserID, "BRIDGE")
			device.DeviceID = "BRIDGE"
			uploadKeys(t, device, 0, 5)
			ghosts = append(ghosts, ghost.UserID)
		}
		claim := func(ghost id.UserID, times int) {
			t.Helper()
			for range times {
				if claimOne(t, alice, ghost, "BRIDGE") == "" {
					t.Fatal("there is no key")
				}
			}
		}
		s.UntilAttempt(t, 1) // with what was at the beginning
		claim(ghosts[0], 1)
		claim(ghosts[1], 6) // one more than there are
		stop()
		stop = run()
		defer func() { stop() }()
		moved, err := url.Parse(s.base)
		if err != nil {
			t.Fatal(err)
		}
		alice.HomeserverURL = moved
		claim(ghosts[0], 2)
		stop()
		stop = run() // and once more, with nothing in between
		down.Store(false)
		want := map[id.UserID]int{ghosts[0]: 2, ghosts[1]: 0, ghosts[2]: 5}
		s.UntilSeen(t, fmt.Sprint("the counts ", want), func(txns []*appservice.Transaction) bool {
			for ghost, count := range want {
				user, told := matrix.UserID(ghost), -1
				for n, txn := range txns {
					if txn.OneTimeKeyCounts[user] != nil {
						told = n
					}
				}
				if told < 0 || txns[told].OneTimeKeyCounts[user]["BRIDGE"]["signed_curve25519"] != count {
					return false
				}
				if unused := len(txns[told].FallbackKeyTypes[user]["BRIDGE"]) == 1; unused != (count > 0) {
					return false
				}
			}
			return true
		})
	})
}
