package sender_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"trestle/appservice/sender"
	"trestle/registration"
)

// A service whose hs_token was replaced is spoken to with the one that it
// knows, until it has learnt the new one or the time is over.
func TestTokensOfTheHomeserverAreRotated(t *testing.T) {
	var known atomic.Value
	known.Store("before")
	seen := make(chan string, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		seen <- token
		if token != "Bearer "+known.Load().(string) {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer srv.Close()
	reg := service(t, "irc", srv.URL)
	reg.HSToken, reg.QueryToken = "now", registration.QueryTokenNever
	reg.Previous = registration.Previous{HSToken: "before", Until: time.Now().Add(time.Hour)}
	s := start(t, newWorld(), sender.Options{Registry: registry(t, reg)})
	ping := func(good bool, want ...string) {
		t.Helper()
		_, err := s.Ping(t.Context(), "irc", "")
		var got []string
		for len(seen) > 0 {
			got = append(got, <-seen)
		}
		if (err == nil) != good || !slices.Equal(got, want) {
			t.Errorf("tokens %q, %v; want %q", got, err, want)
		}
	}
	ping(true, "Bearer now", "Bearer before")
	ping(true, "Bearer before") // what was found is remembered
	known.Store("now")
	ping(true, "Bearer before", "Bearer now")
	ping(true, "Bearer now")

	over := service(t, "irc", srv.URL)
	over.HSToken, over.QueryToken, over.Previous = "now", registration.QueryTokenNever, reg.Previous
	over.Previous.Until = time.Now().Add(-time.Second)
	known.Store("before")
	s = start(t, newWorld(), sender.Options{Registry: registry(t, over)})
	ping(false, "Bearer now")
}
