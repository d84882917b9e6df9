package api_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/api"
)

func TestRateLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	limiter := api.NewRateLimiter(map[string]api.Rate{"login": {PerSecond: 0.5, Burst: 3}, "default": {PerSecond: 100, Burst: 100}}, func() time.Time { return now })
	s := api.NewServer(api.Options{Authenticator: people, Limiter: limiter})
	s.Handle([]api.Route{
		api.Endpoint("POST", "/login", api.None, nothing[struct{}], api.Limit("login")),
		api.Endpoint("POST", "/other", api.User, nothing[struct{}]),
		api.Endpoint("POST", "/as", api.User, nothing[struct{}], api.Limit("login")),
	})
	h := s.Handler()
	for i := range 3 {
		if status, body := call(h, "POST", "/login", "", ""); status != 200 {
			t.Fatalf("request %d of the burst: %d %s", i, status, body)
		}
	}
	status, body := call(h, "POST", "/login", "", "")
	if status != 429 || !strings.Contains(body, `"retry_after_ms":2001`) {
		t.Errorf("after the burst: %d %s", status, body)
	}
	if status, _ := call(h, "POST", "/other", "alice", ""); status != 200 {
		t.Errorf("another bucket and caller: %d", status)
	}
	if status, _ := call(h, "POST", "/login", "irc", ""); status != 200 {
		t.Errorf("an application service at an endpoint for all: %d", status)
	}
	if status, _ := call(h, "POST", "/login", "alice", ""); status != 429 {
		t.Errorf("a user's token at an endpoint for all: %d", status)
	}
	now = now.Add(2 * time.Second)
	if status, _ := call(h, "POST", "/login", "", ""); status != 200 {
		t.Errorf("after waiting: %d", status)
	}
	for range 20 {
		if status, _ := call(h, "POST", "/as", "irc", ""); status != 200 {
			t.Fatalf("a caller without limits: %d", status)
		}
	}
	same := func(a, b string) bool {
		l := api.NewRateLimiter(map[string]api.Rate{"x": {PerSecond: 1, Burst: 1}}, func() time.Time { return now })
		return l.Allow("x", api.Caller{RemoteAddr: a}) == nil && l.Allow("x", api.Caller{RemoteAddr: b}) != nil
	}
	if !same("2001:db8::1", "2001:db8::ffff:2") || same("2001:db8::1", "2001:db8:0:1::1") || same("192.0.2.1", "192.0.2.2") {
		t.Error("addresses are not told apart by IPv4 address and IPv6 /64")
	}
}

// The limiter forgets callers whose buckets are full again.
func TestRateLimiterForgets(t *testing.T) {
	now := time.Unix(1000, 0)
	limiter := api.NewRateLimiter(map[string]api.Rate{"default": {PerSecond: 1, Burst: 2}}, func() time.Time { return now })
	measure := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := measure()
	for i := range 300_000 {
		now = now.Add(time.Millisecond)
		if err := limiter.AllowKey("default", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if grown := int64(measure()) - int64(before); grown > 20<<20 {
		t.Errorf("%d bytes are kept for callers of long ago", grown)
	}
	runtime.KeepAlive(limiter)
}
